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

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A secret is "<session id>.<32 random bytes, base64url>": whoever shows it
// names its session by it, so any coordinator finds the row without an index
// of secrets. Only the SHA-256 of the whole goes into the log.

// minted returns a new session id and its secret.
func (c *Control) minted() (session, secret string, err error) {
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

// derived returns the session id and secret that the idempotency key stands
// for, so that a repeat of the same sign-in gives the same session.
func derived(key, full string) (session, secret string) {
	id := digest("folkmoot session id v1", key, full)
	var short uuid.UUID
	copy(short[:], id[:])
	short[6] = short[6]&0x0f | 0x80 // version 8: made by an own rule
	short[8] = short[8]&0x3f | 0x80
	return short.String(), secretOf(short.String(), digest("folkmoot session secret v1", key, full))
}

// digest hashes its parts with their lengths, so that no two lists of parts
// give the same bytes.
func digest(parts ...string) [32]byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return [32]byte(h.Sum(nil))
}

func secretOf(session string, raw [32]byte) string {
	return session + "." + base64.RawURLEncoding.EncodeToString(raw[:])
}

// sessionOf returns the session id that a well-formed secret names.
func sessionOf(secret string) (string, bool) {
	id, raw, ok := strings.Cut(secret, ".")
	if !ok || id == "" || len(secret) > 256 {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(raw)
	return id, err == nil && len(b) == 32
}

// whose returns the live session that the secret belongs to. A session that
// this view does not know yet is looked for once more in a fresh one.
// Errors: unauthorized (none, or no secret of ours), forbidden (wrong),
// not_found (ended, with the reason), unavailable.
func (c *Control) whose(ctx context.Context, secret string) (registry.Session, error) {
	if secret == "" {
		return registry.Session{}, wire.Refuse(wire.CodeUnauthorized, "the session's secret is missing: send it in X-Session")
	}
	id, ok := sessionOf(secret)
	if !ok {
		return registry.Session{}, wire.Refuse(wire.CodeUnauthorized, "that is not a session's secret")
	}
	s, err := c.check(id, secret)
	if wire.CodeOf(err) != wire.CodeNotFound {
		return s, err
	}
	if _, ended := c.machine.View().Registry.Ended(id); ended {
		return s, err
	}
	if _, _, stale := c.View(ctx, Read{Consistency: string(raftnode.Strict)}); stale != nil {
		return s, wire.NotTried("session %s is not known here, and nobody newer can be asked: %v", id, stale)
	}
	return c.check(id, secret)
}

// check looks the session up in the view of now.
func (c *Control) check(id, secret string) (registry.Session, error) {
	table := c.machine.View().Registry
	s, ok := table.SessionByID(id)
	if !ok {
		return s, c.gone(id)
	}
	if subtle.ConstantTimeCompare([]byte(registry.HashSecret(secret)), []byte(s.SecretHash)) != 1 {
		return registry.Session{}, wire.Refuse(wire.CodeForbidden, "that is not the secret of %s", s.FullName)
	}
	return s, nil
}

// owner is whose, for a request that names the component it is about.
func (c *Control) owner(ctx context.Context, full, secret string) (registry.Session, error) {
	if secret == "" {
		return registry.Session{}, wire.Refuse(wire.CodeUnauthorized, "the secret of %s is missing: send it in X-Session", full)
	}
	if _, ok := sessionOf(secret); !ok {
		if _, live := c.machine.View().Registry.Session(full); live {
			return registry.Session{}, wire.Refuse(wire.CodeForbidden, "that is not the secret of %s", full)
		}
		return registry.Session{}, wire.Refuse(wire.CodeNotFound, "no component %s", full)
	}
	s, err := c.whose(ctx, secret)
	if err != nil {
		return s, err
	}
	if s.FullName != full {
		return registry.Session{}, wire.Refuse(wire.CodeForbidden, "that is the secret of %s, not of %s", s.FullName, full)
	}
	return s, nil
}
