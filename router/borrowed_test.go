package router_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// lend posts a message out of a buffer that is used again at once.
func (n *node) lend(from, to, content string) <-chan error {
	outcome := make(chan error, 1)
	head, tail := []byte(content), []byte("tail")
	n.PostWith(wire.Message{From: from, To: to, Payload: [][]byte{head, nil, tail}}, router.PostOptions{Timeout: 20 * time.Second, Borrowed: true, Write: router.WriteNow}, func(_ router.Outcome, err error) {
		outcome <- err
	})
	clear(head)
	clear(tail)
	return outcome
}

// arrives expects what was lent.
func arrives(t *testing.T, box *router.Mailbox, after uint64, content string) {
	t.Helper()
	reads(t, box, after, content)
	got, err := box.Receive(t.Context(), after, 1)
	if err != nil {
		t.Fatal(err)
	}
	if p := got[0].Message.Payload; len(p) != 3 || len(p[1]) != 0 || string(p[2]) != "tail" {
		t.Errorf("the payload is %q", p)
	}
}

// PostWith needs the caller's bytes only until it returns, whatever becomes of
// the message.
func TestBorrowedPayload(t *testing.T) {
	var reachable atomic.Bool
	w := newWorld()
	w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
		if !reachable.Load() {
			return nil, nil, errors.New("cut off")
		}
		return loopback()
	}
	n := w.start(t, quick, "n1", "n2", "n3")
	n[0].signIn(t, "n1.a")
	here, there := n[0].signIn(t, "n1.b"), n[1].signInAs(t, "n2.b", "s", 1)

	local := n[0].lend("n1.a", "n1.b", "here")
	waits := []<-chan error{n[0].lend("n1.a", "n2.b", "waits"), n[0].lend("n1.a", "n2.b", "waits too")}
	reachable.Store(true)
	for i, outcome := range append(waits, local) {
		if err := <-outcome; err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	arrives(t, here, 0, "here")
	arrives(t, there, 0, "waits")
	arrives(t, there, 1, "waits too")

	linked(t, n...)
	if err := <-n[0].lend("n1.a", "n2.b", "straight"); err != nil {
		t.Fatal(err)
	}
	arrives(t, there, 2, "straight")

	// It comes back and goes again, while others use the same memory.
	n[0].lag()
	n[1].Detach("s", "moved")
	moved := n[2].signInAs(t, "n2.b", "s", 2)
	n[1].signIn(t, "n2.c")
	follows := n[0].lend("n1.a", "n2.b", "follows")
	for range 1000 {
		if err := <-n[0].lend("n1.a", "n2.c", "others"); wire.CodeOf(err) != "" && wire.CodeOf(err) != wire.CodeBusy {
			t.Fatal(err)
		}
	}
	if err := <-follows; err != nil {
		t.Fatal(err)
	}
	arrives(t, moved, 0, "follows")
	if got := n[0].Stats()["retried"]; got == 0 {
		t.Error("nothing came back")
	}
}
