package leco_test

import (
	"sync/atomic"
	"testing"

	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// behind is a cluster of which the others know more than this coordinator does:
// while it is on, receivers' homes do not know the senders here any more.
type behind struct {
	leco.Cluster
	on atomic.Bool
}

func (b *behind) Post(m wire.Message, o router.PostOptions, done func(error)) {
	if o.LinkWait > 0 && b.on.Load() {
		done(wire.Refuse(wire.CodeForbidden, "the home of %s does not know the sender", m.To))
		return
	}
	b.Cluster.Post(m, o, done)
}

// A component whose session has ended, as others know and its home does not
// yet, is told that it is not signed in, which LECO clients answer with a
// sign-in; and that gives it another session.
func TestASenderThatOthersKnowToHaveEnded(t *testing.T) {
	others := new(behind)
	s := open(t, "N1", func(c *leco.Config) { others.Cluster, c.Cluster = c.Cluster, others })
	a, b := s.component("a"), s.component("b")
	first := s.sessionOf("N1.a")
	others.on.Store(true)
	a.say("b", "conversation-001", `{"id":1,"method":"pong","jsonrpc":"2.0"}`)
	if m := a.next(); m.code() != -32090 {
		t.Fatalf("got %s, want the error -32090", m.raw)
	}
	others.on.Store(false)
	if m := a.ask("COORDINATOR", "sign_in", nil); m.code() != 0 {
		t.Fatalf("sign in again: %s", m.raw)
	}
	eventually(t, "another session", func() bool { now := s.sessionOf("N1.a"); return now != "" && now != first })
	a.say("b", "conversation-002", `{"id":2,"method":"pong","jsonrpc":"2.0"}`)
	if m := b.next(); m.from != "N1.a" {
		t.Fatalf("got %s from %s, want the message of N1.a", m.raw, m.from)
	}
}

func (s *testNode) sessionOf(full string) string {
	row, _ := s.machine.View().Registry.Session(full)
	return row.ID
}
