// Package tokens holds the use cases about the tokens in the state: to make, list, show and revoke them.
package tokens

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/wire"
)

// Tokens is what doors call. Its methods are safe for concurrent use and return
// *wire.Error for everything a caller can act on.
type Tokens struct {
	*control.Core
	signer Signer // nil: nobody signs here
}

// New returns the use cases, and registers the peer methods "tokens.*". signer signs
// certificates here; nil is nobody.
func New(core *control.Core, signer Signer) *Tokens {
	k := &Tokens{core, signer}
	if core.Peers() != nil {
		k.handlePeers()
	}
	return k
}

// openKey is how long a key is at least while no token is asked for: then it alone
// stands for the secret.
const openKey = 32

// CreateToken makes a token and tells its secret, once: only its hash is kept.
// With an idempotency key a repeat by the same bearer answers the same token and
// secret. The first one of a cluster that asks for none must be of admin, since
// tokens are asked for from then on. Errors: invalid (with the field), conflict
// (the cluster's level has no tokens; the key was used for another), busy (there
// are too many), unavailable, unknown (repeat with the same key).
func (k *Tokens) CreateToken(ctx context.Context, who control.Principal, in wire.NewToken, key string) (wire.Token, error) {
	if err := k.Authorize(who, control.Admin, control.Thing{}); err != nil {
		return wire.Token{}, err
	}
	grants, err := k.check(who, in, key)
	if err != nil {
		return wire.Token{}, err
	}
	id, secret := mint(who, key)
	row := access.Create{ID: id, Hash: control.HashToken(secret), Name: in.Name, Grants: grants, CreatedBy: by(who)}
	if in.TTL > 0 {
		row.Expires = k.Now().Add(time.Duration(in.TTL)).UTC().Truncate(time.Second)
	}
	if err := k.room(ctx, id); err != nil {
		return wire.Token{}, err
	}
	made, index, err := propose.Do[access.Token](ctx, k.Proposer(), access.KindCreate, who.Author(control.Admin, ""), row)
	if err != nil {
		return wire.Token{}, err
	}
	out := wireToken(made)
	out.Token, out.Index = secret, index
	return out, nil
}

// check checks every field of a new token, and that there may be one.
func (k *Tokens) check(who control.Principal, in wire.NewToken, key string) (access.Grants, error) {
	if err := k.atLevel(); err != nil {
		return nil, err
	}
	if err := checkKey(who, key); err != nil {
		return nil, err
	}
	grants, err := access.ParseGrants(in.Grants)
	if err != nil {
		return nil, err
	}
	switch ttl := time.Duration(in.TTL); {
	case ttl < 0 || ttl > access.MaxTTL:
		return nil, wire.Invalid("ttl", "ttl is at most %v, not %v", access.MaxTTL, ttl)
	case ttl > 0 && ttl < time.Second:
		return nil, wire.Invalid("ttl", "ttl is at least 1s, not %v", ttl)
	case !control.PlainText(in.Name, access.MaxTokenName):
		return nil, wire.Invalid("name", "a name is at most %d bytes of plain text", access.MaxTokenName)
	}
	if who.Token() == "" && !grants.Allow(control.Admin, "") {
		return nil, wire.Refuse(wire.CodeConflict, "this is the first token, and tokens are asked for from then on: its grants must have admin, or nobody could make another")
	}
	return grants, nil
}

// checkKey checks the idempotency key of a new secret. Errors: invalid.
func checkKey(who control.Principal, key string) error {
	if err := control.CheckKey(key); err != nil {
		return err
	}
	if who.Token() == "" && key != "" && len(key) < openKey {
		return wire.Invalid("Idempotency-Key", "while no token is asked for, the key alone stands for the secret: at least %d random characters", openKey)
	}
	return nil
}

// atLevel refuses what the cluster's level does not have. Errors: conflict.
func (k *Tokens) atLevel() error {
	if level := k.State().Level; level < access.Level {
		return wire.Refuse(wire.CodeConflict, "the cluster is at level %d, and tokens come with level %d: once all coordinators know it, raftctl level raise", level, access.Level)
	}
	return nil
}

// room refuses a further token where there are too many; a repeat takes no room.
// Errors: busy, unavailable.
func (k *Tokens) room(ctx context.Context, id string) error {
	return k.Admit(ctx, func(view *fsm.State) (bool, error) {
		if _, repeat := view.Access.Token(id); repeat {
			return false, nil
		}
		return true, view.Access.CheckRoom()
	})
}

// mint returns the id and the secret of a new token: with a key those that it
// stands for, when the same bearer uses it.
func mint(who control.Principal, key string) (id, secret string) {
	if key == "" {
		return access.IDPrefix + encodeHex(random())[:16], wire.TokenPrefix + encode(random())
	}
	seed := who.Seed()
	name := control.Digest("folkmoot token id v1", key, string(seed[:]))
	own := control.Digest("folkmoot token secret v1", key, string(seed[:]))
	return access.IDPrefix + encodeHex(name)[:16], wire.TokenPrefix + encode(own)
}

func random() (b [32]byte) {
	rand.Read(b[:])
	return b
}

// by is who makes a token: its own token, or else where it asks from.
func by(who control.Principal) string {
	if who.Token() != "" {
		return who.Token()
	}
	return who.Name()
}

// TokenList lists the tokens in the state by id, without secrets and hashes.
// Errors: invalid (limit), unavailable.
func (k *Tokens) TokenList(ctx context.Context, who control.Principal, r control.Read, p control.Page) (wire.Tokens, control.Fresh, error) {
	if err := k.Authorize(who, control.Admin, control.Thing{}); err != nil {
		return wire.Tokens{}, control.Fresh{}, err
	}
	limit, err := p.Size()
	if err != nil {
		return wire.Tokens{}, control.Fresh{}, err
	}
	view, fresh, err := k.View(ctx, r)
	if err == nil {
		err = k.Authorize(who, control.Admin, control.Thing{}) // it may have ended while the read waited
	}
	if err != nil {
		return wire.Tokens{}, fresh, err
	}
	list := wire.Tokens{Tokens: []wire.Token{}}
	for row := range view.Access.TokensAfter(p.After) {
		if len(list.Tokens) == limit {
			list.Next = list.Tokens[limit-1].ID
			break
		}
		list.Tokens = append(list.Tokens, wireToken(row))
	}
	return list, fresh, nil
}

// TokenByID returns one token without its secret. Errors: not_found (with what
// became of it), unavailable.
func (k *Tokens) TokenByID(ctx context.Context, who control.Principal, r control.Read, id string) (wire.Token, control.Fresh, error) {
	if err := k.Authorize(who, control.Admin, control.Thing{ID: id}); err != nil {
		return wire.Token{}, control.Fresh{}, err
	}
	view, fresh, err := k.View(ctx, r)
	if err != nil {
		return wire.Token{}, fresh, err
	}
	row, ok := view.Access.Token(id)
	if gone, was := view.Access.Gone(id); !ok && was {
		return wire.Token{}, fresh, wire.Refuse(wire.CodeNotFound, "%s", gone.Text())
	} else if !ok {
		return wire.Token{}, fresh, wire.Refuse(wire.CodeNotFound, "no token %.80q", id)
	}
	return wireToken(row), fresh, nil
}

// RevokeToken ends a token, and its sessions with it, and returns the index. One
// that is gone already is done. Errors: not_found, conflict (the cluster's level has
// no tokens), unavailable, unknown (repeat it).
func (k *Tokens) RevokeToken(ctx context.Context, who control.Principal, id string) (uint64, error) {
	if err := k.Authorize(who, control.Admin, control.Thing{ID: id}); err != nil {
		return 0, err
	}
	if err := k.atLevel(); err != nil {
		return 0, err
	}
	_, index, err := propose.Do[access.Gone](ctx, k.Proposer(), access.KindRevoke, who.Author(control.Admin, ""), access.Revoke{ID: id})
	return index, err
}

// OwnToken returns the token that the principal presented. Errors: not_found (none
// is asked for, and none was presented).
func (k *Tokens) OwnToken(_ context.Context, who control.Principal) (wire.Token, error) {
	if err := k.Authorize(who, control.AnyRight, control.Thing{}); err != nil {
		return wire.Token{}, err
	}
	if row, ok := k.State().Access.Token(who.Token()); ok {
		return wireToken(row), nil
	}
	if who.Token() == "" {
		return wire.Token{}, wire.Refuse(wire.CodeNotFound, "no token was presented, and none is asked for here")
	}
	return wire.Token{ID: who.Token(), Name: "of the token file of " + k.Self().ID, Grants: []string{string(control.Admin)}}, nil
}

func wireToken(row access.Token) wire.Token {
	out := wire.Token{ID: row.ID, Name: row.Name, Grants: row.Grants.Strings(), Created: row.Created, CreatedBy: row.CreatedBy, Index: row.Index}
	if !row.Expires.IsZero() {
		out.Expires = &row.Expires
	}
	if !row.LastUsed.IsZero() {
		out.LastUsed = &row.LastUsed
	}
	return out
}
