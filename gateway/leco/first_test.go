package leco_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// mailAtOnce has a message in the mailbox of each session before the door knows
// of the session.
type mailAtOnce struct{ leco.Cluster }

func (c mailAtOnce) Enter(ctx context.Context, who control.Principal, in wire.SignIn, key string) (*home.Session, wire.SignedIn, bool, error) {
	s, out, resumed, err := c.Cluster.Enter(ctx, who, in, key)
	if err == nil {
		early := wire.Message{To: out.FullName, From: out.FullName, Type: wire.TypeJSON, Payload: [][]byte{[]byte(`{"id":1,"method":"early","jsonrpc":"2.0"}`)}}
		posted := make(chan error, 1)
		c.Post(early, router.PostOptions{}, func(err error) { posted <- err })
		if err := <-posted; err != nil {
			return s, out, resumed, fmt.Errorf("the early message: %w", err)
		}
	}
	return s, out, resumed, err
}

// The answer to a sign-in is the first message that a component gets: pyleco
// puts a request that comes before it aside.
func TestAnswerToASignInComesFirst(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) {
		c.Cluster = mailAtOnce{c.Cluster}
		c.Answer = time.Hour
	})
	for i := range 30 {
		p := connect(t, s.door.Addr(), fmt.Sprint("C", i))
		p.say("COORDINATOR", "in", `{"id":1,"method":"sign_in","jsonrpc":"2.0"}`)
		if m := p.next(); m.header[:2] != "in" {
			t.Fatalf("%s got %s before the answer to its sign-in", p.name, m.raw)
		}
		if m := p.next(); m.content.Method != "early" {
			t.Fatalf("%s got %s after the answer, want what waited in its mailbox", p.name, m.raw)
		}
	}
}

// Nobody reaches a component whose sign-in is not answered yet, although its
// name is taken already.
func TestNoMessageBeforeTheSignInIsAnswered(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Answer = time.Hour })
	a := s.component("CA")
	release := s.log.hold()
	defer release()
	p := connect(t, s.door.Addr(), "CB")
	p.say("COORDINATOR", "in", `{"id":1,"method":"sign_in","jsonrpc":"2.0"}`)
	other := connect(t, s.door.Addr(), "CB")
	eventually(t, "the name to be taken", func() bool { return other.ask("COORDINATOR", "pong", nil).code() == -32091 })
	if m := a.ask("CB", "early", nil); m.code() != -32093 {
		t.Errorf("CA asks CB too early: got %s, want -32093", m.raw)
	}
	release()
	if m := p.next(); m.header[:2] != "in" {
		t.Errorf("CB got %s before the answer to its sign-in", m.raw)
	}
	a.say("CB", "now", `{"id":1,"method":"late","jsonrpc":"2.0"}`)
	if m := p.next(); m.content.Method != "late" {
		t.Errorf("CB got %s, want the request", m.raw)
	}
}
