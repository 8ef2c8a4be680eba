package leco_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/wire"
)

func smallMessages(c *leco.Config) { c.Transport = zmtp.Config{MaxMessage: 100_000, MaxFrames: 16} }

// refusedAs checks an error in a conversation.
func refusedAs(t *testing.T, m message, conversation, id, code string) {
	t.Helper()
	if strings.TrimRight(m.header[:16], "\x00") != conversation || m.from != "n1.COORDINATOR" || m.code() != -32000 || string(m.content.ID) != id ||
		!strings.Contains(fmt.Sprint(m.content.Error.Data), code) {
		t.Errorf("got %q from %s in conversation %q, want -32000 %s for id %s in conversation %q", m.raw, m.from, m.header[:16], code, id, conversation)
	}
}

// A message above the limits is too_large to its sender, who stays signed in;
// if it was an answer, whoever waits for it gets the error as well.
func TestMessagesAboveTheLimits(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", smallMessages)
	a, b := s.component("CA"), s.component("CB")
	long := strings.Repeat("x", 200_000)
	a.say("CB", "asks too much", `{"id":5,"method":"put","params":{"data":"`+long+`"},"jsonrpc":"2.0"}`)
	refusedAs(t, a.next(), "asks too much", "null", "too_large")
	a.say("CB", "attaches much", `{"id":5,"method":"put","jsonrpc":"2.0"}`, long)
	refusedAs(t, a.next(), "attaches much", "null", "too_large")
	a.say("CB", "many frames", `{"id":5,"method":"put","jsonrpc":"2.0"}`, make([]string, 20)...)
	refusedAs(t, a.next(), "many frames", "null", "too_large")

	for _, c := range []struct{ conversation, content, attached string }{
		{"one long frame", `{"id":7,"result":"` + long + `","jsonrpc":"2.0"}`, ""},
		{"an attachment", `{"id":7,"result":null,"jsonrpc":"2.0"}`, long},
	} {
		a.say("CB", c.conversation, `{"id":7,"method":"get","jsonrpc":"2.0"}`)
		if m := b.next(); m.content.Method != "get" {
			t.Fatalf("CB got %s, want the request; a refused one was delivered", m.raw)
		}
		b.say("n1.CA", c.conversation, c.content, c.attached)
		refusedAs(t, b.next(), c.conversation, "null", "too_large")
		refusedAs(t, a.next(), c.conversation, "7", "too_large")
	}
	a.result("null", "COORDINATOR", "pong", nil)
	b.result("null", "COORDINATOR", "pong", nil)
	if got := s.door.Counts()["too_large"]; got != 5 {
		t.Errorf("counted %d messages as too large, want 5", got)
	}
}

// A REST caller does not wait in vain for an answer above the limits.
func TestAnswerAboveTheLimitsToACall(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", smallMessages)
	b := s.component("CB")
	called := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := s.Request(ctx, anyone, "n1.CB", "get", nil)
		called <- err
	}()
	m := b.next()
	b.frames("\x00", m.from, "CB", m.header, `{"id":1,"result":"`+strings.Repeat("x", 200_000)+`","jsonrpc":"2.0"}`)
	if err := <-called; wire.CodeOf(err) != wire.CodeConflict || !strings.Contains(err.Error(), "above the limit of 100000") {
		t.Errorf("the call ended with %v, want a conflict that names the limit", err)
	}
}
