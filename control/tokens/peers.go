package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// What coordinators ask each other: one without the authority's key asks one that has
// it, and that one does not ask on. Version 1: 2026-11. Fields may be added.
const (
	methodAuthority = "tokens.authority" // which authority signs there
	methodSign      = "tokens.sign"      // use a join token up, and sign
)

type (
	authorityAt struct {
		SHA256 string `json:"sha256"` // hex
	}
	signAt struct {
		Token  string `json:"token"` // the whole: its hash, which every member knows, opens nothing
		CSR    string `json:"csr"`
		ID     string `json:"id,omitempty"`     // see wire.SignCertificate
		Remote string `json:"remote,omitempty"` // of who has the token, for the log
	}
)

// signTimeout bounds all that is done for one request for a certificate, and
// authorityTimeout a question to one coordinator.
const (
	signTimeout      = 30 * time.Second
	authorityTimeout = 5 * time.Second
)

// handlePeers registers what other coordinators may ask of this one.
func (k *Tokens) handlePeers() {
	k.Peers().Handle(methodAuthority, func(context.Context, peer.Hello, []byte) ([]byte, error) {
		sum, err := k.ownAuthority()
		if err != nil {
			return nil, err
		}
		return json.Marshal(authorityAt{hex.EncodeToString(sum[:])})
	})
	k.Peers().Handle(methodSign, func(ctx context.Context, _ peer.Hello, body []byte) ([]byte, error) {
		var in signAt
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, wire.Invalid("", "%s: %v", methodSign, err)
		}
		if err := k.Recordable(); err != nil {
			return nil, err
		}
		signed, err := k.sign(ctx, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(signed)
	})
}

// ownAuthority is the authority whose key is here. Errors: unavailable, conflict.
func (k *Tokens) ownAuthority() ([sha256.Size]byte, error) {
	if k.signer == nil {
		return [sha256.Size]byte{}, wire.Refuse(wire.CodeConflict, "coordinators show no certificates here")
	}
	return k.signer.Authority()
}

// authority is the one that signs in the cluster: here, or at a coordinator that is
// reached. Errors: unavailable, conflict.
func (k *Tokens) authority(ctx context.Context) ([sha256.Size]byte, error) {
	sum, err := k.ownAuthority()
	if wire.CodeOf(err) != wire.CodeUnavailable {
		return sum, err
	}
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	there, err := askSigner[authorityAt](ctx, k, methodAuthority, nil)
	if err != nil {
		return sum, err
	}
	raw, err := hex.DecodeString(there.SHA256)
	if err != nil || len(raw) != sha256.Size {
		return sum, wire.Refuse(wire.CodeInternal, "another coordinator tells of no authority: %.80q", there.SHA256)
	}
	return [sha256.Size]byte(raw), nil
}

// askSigner asks one coordinator after the other, those that were heard lately first,
// until one does not say that it did nothing. Errors: what that one says, and
// unavailable with what each has said.
func askSigner[R any](ctx context.Context, k *Tokens, method string, in any) (out R, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	said := []string{k.Self().ID + " has no ca-key.pem"}
	for _, row := range k.others() {
		answer, err := k.askOne(ctx, row.PeerAddr, method, body)
		switch wire.CodeOf(err) {
		case "":
			if err := json.Unmarshal(answer, &out); err != nil {
				return out, wire.Unknown(err)
			}
			return out, nil
		case wire.CodeUnavailable, wire.CodeBusy:
			said = append(said, row.ID+": "+err.Error())
		default:
			return out, err
		}
	}
	return out, wire.NotTried("no coordinator that is reached can sign now, and nothing was used up: %s", strings.Join(said, "; "))
}

// askOne asks one coordinator. A question, which changes nothing there, has a time of
// its own.
func (k *Tokens) askOne(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	if method != methodAuthority {
		return k.Peers().Call(ctx, addr, method, body)
	}
	ctx, cancel := context.WithTimeout(ctx, authorityTimeout)
	defer cancel()
	answer, err := k.Peers().Call(ctx, addr, method, body)
	if wire.CodeOf(err) == wire.CodeUnknown {
		err = wire.NotTried("it does not answer: %v", err)
	}
	return answer, err
}

// others are the other coordinators that can be asked, those that were heard lately
// first.
func (k *Tokens) others() (rows []registry.Coordinator) {
	if k.Peers() == nil {
		return nil
	}
	for row := range k.State().Registry.Coordinators() {
		if row.ID != k.Self().ID && row.PeerAddr != "" {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b registry.Coordinator) int {
		aliveA, _ := k.Replica().Alive(a.ID)
		aliveB, _ := k.Replica().Alive(b.ID)
		switch {
		case aliveA == aliveB:
			return 0
		case aliveA:
			return -1
		}
		return 1
	})
	return rows
}
