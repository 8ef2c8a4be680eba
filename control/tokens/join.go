package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/wire"
)

// Signer is the cluster's certificate authority, as far as one coordinator has it:
// the key never leaves it.
type Signer interface {
	// Authority is the SHA-256 of the authority that signs here. Errors: unavailable
	// (its key is not here), conflict (coordinators show no certificates here).
	Authority() ([sha256.Size]byte, error)
	// Trusts reports whether an authority, by its SHA-256, is trusted here.
	Trusts(authority [sha256.Size]byte) bool
	// Sign makes a certificate for the coordinator of an id. Of the request, in PEM,
	// only the key and the hosts are taken. Errors: invalid, unavailable.
	Sign(id string, request []byte) (wire.SignedCertificate, error)
}

// CreateJoinToken makes a token by which the coordinator of an id gets one certificate,
// and tells it, once: only its hash is kept. It names the authority that signs, so that
// its bearer knows the cluster. With an idempotency key a repeat by the same bearer
// within the hour answers the same token. Errors: invalid (with the field), conflict (the
// cluster's level has no tokens; coordinators have no certificates; the key was used for
// another id, or its token is used up or has expired), busy (there are too many), unavailable (no coordinator that is reached can sign),
// unknown (repeat with the same key).
func (k *Tokens) CreateJoinToken(ctx context.Context, who control.Principal, in wire.NewJoinToken, key string) (wire.JoinToken, error) {
	if err := k.Authorize(who, control.Admin, control.Thing{ID: in.ID}); err != nil {
		return wire.JoinToken{}, err
	}
	ttl, err := k.checkJoin(who, in, key)
	if err != nil {
		return wire.JoinToken{}, err
	}
	signs, err := k.authority(ctx)
	if err != nil {
		return wire.JoinToken{}, err
	}
	token, err := k.newJoinToken(ctx, who, signs, key)
	if err != nil {
		return wire.JoinToken{}, err
	}
	row, index, err := propose.Do[access.JoinToken](ctx, k.Proposer(), access.KindCreateJoinToken, who.Author(control.Admin, ""), access.CreateJoinToken{
		Hash: control.HashToken(token), ID: in.ID, CreatedBy: by(who), Expires: k.Now().Add(ttl).UTC().Truncate(time.Second),
	})
	if err != nil {
		return wire.JoinToken{}, err
	}
	if row.Use != "" || !k.Now().Before(row.Expires) {
		return wire.JoinToken{}, wire.Refuse(wire.CodeConflict, "the join token of that Idempotency-Key was used, or has expired: ask with another key")
	}
	return wire.JoinToken{ID: row.ID, Token: token, Expires: row.Expires, Index: index}, nil
}

// checkJoin checks every field of a new join token.
func (k *Tokens) checkJoin(who control.Principal, in wire.NewJoinToken, key string) (ttl time.Duration, err error) {
	if err := k.atLevel(); err != nil {
		return 0, err
	}
	if err := checkKey(who, key); err != nil {
		return 0, err
	}
	if !authority.IsMemberID(in.ID) {
		return 0, wire.Invalid("id", "%.80q is no id of a coordinator: %s", in.ID, authority.MemberIDRule)
	}
	switch ttl = time.Duration(in.TTL); {
	case ttl == 0:
		ttl = wire.DefaultJoinTTL
	case ttl < time.Second || ttl > wire.MaxJoinTTL:
		return 0, wire.Invalid("ttl", "ttl is from 1s to %v, not %v", wire.MaxJoinTTL, ttl)
	}
	return ttl, nil
}

// newJoinToken is the join token to be made: of a repeat, the one that there is, also over
// the turn of the hour. A further one is refused where there are too many. Errors: busy,
// unavailable.
func (k *Tokens) newJoinToken(ctx context.Context, who control.Principal, signs [sha256.Size]byte, key string) (string, error) {
	view, _, err := k.View(ctx, control.Read{Consistency: "strict"})
	if err != nil {
		return "", err
	}
	hour := k.Now().UTC().Truncate(time.Hour)
	if key != "" {
		for _, asked := range []time.Time{hour, hour.Add(-time.Hour)} {
			token := wire.FormatJoinToken(signs, joinSecret(who, key, asked))
			if _, repeat := view.Access.JoinToken(control.HashToken(token)); repeat {
				return token, nil
			}
		}
	}
	if err := view.Access.CheckJoinTokenRoom(); err != nil {
		return "", err
	}
	return wire.FormatJoinToken(signs, joinSecret(who, key, hour)), k.GrowthRefused()
}

// joinSecret is that of a new join token: with a key the one that it stands for, when
// the same bearer uses it in that hour. Its row is kept for longer than that, see
// access.KeepJoinToken, so that a secret that was used up never is a new token again.
func joinSecret(who control.Principal, key string, hour time.Time) string {
	if key == "" {
		return encode(random())
	}
	seed := who.Seed()
	return encode(control.Digest("folkmoot join token secret v1", key, string(seed[:]), hour.Format(time.RFC3339)))
}

// SignCertificate makes the certificate that a join token is for. The token is used up
// in the state before anything is signed, and only once it is certain that what is asked
// for can be signed. A coordinator without the authority's key has another do all of
// this. Errors: unauthorized, forbidden (no join token, or not a good one), invalid (csr),
// conflict (the authority was changed since), unavailable (nothing was used up),
// unknown and internal (it may be, or is: another token is needed).
func (k *Tokens) SignCertificate(ctx context.Context, who control.Principal, in wire.SignCertificate) (wire.SignedCertificate, error) {
	token, err := k.AuthorizeJoin(who)
	if err != nil {
		return wire.SignedCertificate{}, err
	}
	if err := k.Recordable(); err != nil {
		return wire.SignedCertificate{}, err
	}
	if _, _, err := authority.ParseRequest([]byte(in.CSR)); err != nil {
		return wire.SignedCertificate{}, wire.Invalid("csr", "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	signed, err := k.signSomewhere(ctx, signAt{Token: token, CSR: in.CSR, ID: in.ID, Remote: who.Remote()})
	if wire.CodeOf(err) == wire.CodeUnknown {
		err = wire.Refuse(wire.CodeUnknown, "there is no certificate, and it is not known whether the join token is used up: try it once more, "+
			"and if it is refused then, have another made (raftctl tokens join): %v", err)
	}
	return signed, err
}

// signSomewhere signs here, or else has another coordinator sign.
func (k *Tokens) signSomewhere(ctx context.Context, in signAt) (wire.SignedCertificate, error) {
	switch _, err := k.ownAuthority(); wire.CodeOf(err) {
	case "":
		return k.sign(ctx, in)
	case wire.CodeUnavailable:
		return askSigner[wire.SignedCertificate](ctx, k, methodSign, in)
	default:
		return wire.SignedCertificate{}, err
	}
}

// sign uses a join token up and signs, with the key that is here.
func (k *Tokens) sign(ctx context.Context, in signAt) (wire.SignedCertificate, error) {
	var none wire.SignedCertificate
	if _, err := k.ownAuthority(); err != nil {
		return none, err
	}
	row, err := k.JoinToken(ctx, in.Token)
	if err != nil {
		return none, err
	}
	if in.ID != "" && in.ID != row.ID {
		return none, wire.Refuse(wire.CodeUnauthorized, "the join token is for %s, not for %.80q, and was not used up", row.ID, in.ID)
	}
	if named, err := wire.ParseJoinToken(in.Token); err != nil || !k.signer.Trusts(named) {
		return none, wire.Refuse(wire.CodeConflict, "the cluster's authority was changed since the join token for %s was made: have another made (raftctl tokens join)", row.ID)
	}
	if _, _, err := authority.ParseRequest([]byte(in.CSR)); err != nil {
		return none, wire.Invalid("csr", "%v", err)
	}
	if err := k.useUp(ctx, row, in.Remote); err != nil {
		return none, err
	}
	signed, err := k.signer.Sign(row.ID, []byte(in.CSR))
	if err != nil {
		k.Log().Error("a join token is used up, and no certificate was signed", "id", row.ID, "remote", in.Remote, "error", err)
		return none, wire.Refuse(wire.CodeInternal, "the join token for %s is used up, and nothing was signed: %v; have another made (raftctl tokens join)", row.ID, err)
	}
	k.Log().Info("signed a certificate by a join token", "id", row.ID, "made_by", row.CreatedBy, "remote", in.Remote)
	return signed, nil
}

// useTries is how often it is tried to use a join token up: a repeat of the same use is
// the same use.
const useTries = 3

// useUp uses a join token up. Errors: unauthorized (somebody else has), unavailable,
// unknown.
func (k *Tokens) useUp(ctx context.Context, row access.JoinToken, remote string) (err error) {
	use := random()
	command := access.UseJoinToken{Hash: row.Hash, ID: row.ID, Use: hex.EncodeToString(use[:16])}
	unknown := false
	for range useTries {
		_, _, err = propose.Do[access.JoinToken](ctx, k.Proposer(), access.KindUseJoinToken, propose.Author{By: remote}, command)
		if wire.CodeOf(err) != wire.CodeUnknown {
			break
		}
		unknown = true
	}
	if unknown && err != nil { // what the last try was told says nothing of those before
		return wire.Unknown(err)
	}
	return err
}
