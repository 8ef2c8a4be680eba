package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

func withToken(token string) func(*registry.SignIn) {
	return func(c *registry.SignIn) { c.Token = token }
}

// endToken ends the sessions of a token as the entry that revokes it does.
func endToken(h *fixture, token string) {
	h.Helper()
	do(h, func(t *registry.Table, _ struct{}, at time.Time) (struct{}, error) {
		t.EndToken(token, "token revoked", at)
		return struct{}{}, nil
	}, struct{}{})
}

// The end of a token ends its sessions, in order, and no others.
func TestSessionsEndWithTheirToken(t *testing.T) {
	h := open(t)
	named := func(name, token string) registry.SignIn {
		return signIn(func(c *registry.SignIn) { c.Name, c.Session, c.Token = name, "s-"+name, token })
	}
	for i := range 60 { // more than a node of a tree has
		do(h, (*registry.Table).SignIn, named(fmt.Sprintf("many%02d", i), "t_2"))
	}
	for name, token := range map[string]string{"b": "t_1", "a": "t_1", "other": "t_11", "file": "file:012345678901", "none": ""} {
		do(h, (*registry.Table).SignIn, named(name, token))
	}
	endToken(h, "t_1")
	h.wantEvents("removed n1.a", "removed n1.b")
	if e, ok := h.table.Ended("s-a"); !ok || e.Reason != "token revoked" || e.Kind != registry.EventRemoved {
		t.Errorf("it is remembered as %+v, %v", e, ok)
	}
	endToken(h, "t_1")
	h.wantEvents()
	endToken(h, "")
	h.wantEvents()
	if n := h.table.Len(); n != 63 || h.table.SessionsOfToken("t_2") != 60 || h.table.SessionsOfToken("t_1") != 0 {
		t.Errorf("%d sessions are left, %d of t_2, %d of t_1", n, h.table.SessionsOfToken("t_2"), h.table.SessionsOfToken("t_1"))
	}
	endToken(h, "t_2")
	if n := h.table.Len(); n != 3 {
		t.Errorf("%d sessions are left, want 3", n)
	}
	refused(h, wire.CodeConflict, (*registry.Table).SignIn, named("a", "t_3")) // a sign-in that comes late
}

// A session that is taken over belongs to the token by which it was, and to no
// other.
func TestATakeOverChangesTheToken(t *testing.T) {
	h := open(t)
	do(h, (*registry.Table).SignIn, signIn(withToken("t_1")))
	if s := do(h, (*registry.Table).SignIn, signIn(withToken("t_2"))); s.Token != "t_1" {
		t.Errorf("the same sign-in again belongs to %s", s.Token)
	}
	over := func(token string) registry.SignIn {
		return signIn(withToken(token), func(c *registry.SignIn) { c.TakeOver, c.Keep = true, true })
	}
	if s := do(h, (*registry.Table).SignIn, over("t_2")); s.Token != "t_2" {
		t.Errorf("after the take-over it belongs to %s", s.Token)
	}
	h.wantEvents("updated n1.laser")
	endToken(h, "t_1")
	h.wantEvents()
	endToken(h, "t_2")
	h.wantEvents("removed n1.laser")
	if s := do(h, (*registry.Table).SignIn, over("t_3")); s.Token != "t_3" {
		t.Errorf("taken over after the end of its token it belongs to %s", s.Token)
	}
	if s := do(h, (*registry.Table).SignIn, over("")); s.Token != "" {
		t.Errorf("taken over without a token it belongs to %s", s.Token)
	}
}
