package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A secret is "<session id>.<32 random bytes, base64url>": whoever shows it
// names its session by it, so any coordinator finds the row without an index
// of secrets. Only the SHA-256 of the whole goes into the log.

// NewSecret mints a new session id and its secret.
func (c *Core) NewSecret() (session, secret string, err error) {
	id, err := uuid.NewRandomFromReader(c.random)
	if err != nil {
		return "", "", fmt.Errorf("mint a session id: %w", err)
	}
	var raw [32]byte
	if _, err := io.ReadFull(c.random, raw[:]); err != nil {
		return "", "", fmt.Errorf("mint a secret: %w", err)
	}
	return id.String(), secretOf(id.String(), raw), nil
}

// DeriveSecret returns the session id and secret that the idempotency key stands
// for, so that a repeat of the same sign-in gives the same session.
func DeriveSecret(key, full string) (session, secret string) {
	id := Digest("folkmoot session id v1", key, full)
	var short uuid.UUID
	copy(short[:], id[:])
	short[6] = short[6]&0x0f | 0x80 // version 8: made by an own rule
	short[8] = short[8]&0x3f | 0x80
	return short.String(), secretOf(short.String(), Digest("folkmoot session secret v1", key, full))
}

// Digest hashes its parts with their lengths, so that no two lists of parts
// give the same bytes.
func Digest(parts ...string) [32]byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return [32]byte(h.Sum(nil))
}

func secretOf(session string, raw [32]byte) string {
	return session + "." + base64.RawURLEncoding.EncodeToString(raw[:])
}

// SessionOfSecret returns the session id that a well-formed secret names.
func SessionOfSecret(secret string) (string, bool) {
	id, raw, ok := strings.Cut(secret, ".")
	if !ok || id == "" || len(secret) > 256 {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(raw)
	return id, err == nil && len(b) == 32
}

// SecretsSession returns the live session that the secret belongs to. Errors:
// unauthorized (none, or no secret of ours), forbidden (wrong), not_found
// (ended, with the reason), unavailable. Only the first needs no fresh view.
func (c *Core) SecretsSession(ctx context.Context, secret string) (registry.Session, error) {
	if secret == "" {
		return registry.Session{}, wire.Refuse(wire.CodeUnauthorized, "the session's secret is missing: send it in X-Session")
	}
	id, ok := SessionOfSecret(secret)
	if !ok {
		return registry.Session{}, wire.Refuse(wire.CodeUnauthorized, "that is not a session's secret")
	}
	return Certain(ctx, c, func(view *fsm.State) (registry.Session, error) { return CheckSecret(view.Registry, id, secret) })
}

// CheckSecret looks a session up by its id and secret. Errors: not_found,
// forbidden.
func CheckSecret(table *registry.Table, id, secret string) (registry.Session, error) {
	s, ok := table.SessionByID(id)
	if !ok {
		return s, SessionGone(table, id)
	}
	if subtle.ConstantTimeCompare([]byte(registry.HashSecret(secret)), []byte(s.SecretHash)) != 1 {
		return registry.Session{}, wire.Refuse(wire.CodeForbidden, "that is not the secret of %s", s.FullName)
	}
	return s, nil
}

// OwnerOfSecret is SecretsSession, for a request that names the component it is about.
func (c *Core) OwnerOfSecret(ctx context.Context, full, secret string) (registry.Session, error) {
	if secret == "" {
		return registry.Session{}, wire.Refuse(wire.CodeUnauthorized, "the secret of %s is missing: send it in X-Session", full)
	}
	id, ok := SessionOfSecret(secret)
	if !ok {
		return registry.Session{}, c.noSecretOf(ctx, full)
	}
	return Certain(ctx, c, func(view *fsm.State) (registry.Session, error) {
		s, err := CheckSecret(view.Registry, id, secret)
		if err == nil && s.FullName != full {
			return registry.Session{}, wire.Refuse(wire.CodeForbidden, "that is the secret of %s, not of %s", s.FullName, full)
		}
		return s, err
	})
}

// noSecretOf refuses what can be nobody's secret: forbidden, or not_found when
// nobody has the name.
func (c *Core) noSecretOf(ctx context.Context, full string) error {
	_, err := Certain(ctx, c, func(view *fsm.State) (registry.Session, error) {
		s, live := view.Registry.Session(full)
		if !live {
			return s, wire.Refuse(wire.CodeNotFound, "no component %s", full)
		}
		return s, nil
	})
	if err == nil {
		err = wire.Refuse(wire.CodeForbidden, "that is not the secret of %s", full)
	}
	return err
}

// SessionGone returns why there is no such session.
func SessionGone(table *registry.Table, id string) error {
	why := wire.Refuse(wire.CodeNotFound, "no session %s: sign in", id)
	if e, ended := table.Ended(id); ended {
		why = wire.Refuse(wire.CodeNotFound, "the session of %s ended: %s; sign in again", e.FullName, e.Reason)
	}
	why.Field = "session" // it is not the receiver of a send that nobody knows
	return why
}
