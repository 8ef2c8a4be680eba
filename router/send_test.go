package router_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// A message inside one coordinator and one to another both end in a mailbox.
func TestDelivered(t *testing.T) {
	n := newWorld().start(t, quick, "n1", "n2")
	n[0].signIn(t, "n1.a")
	here, there := n[0].signIn(t, "n1.b"), n[1].signIn(t, "n2.c")
	m := wire.Message{From: "n1.a", To: "n1.b", Conversation: [16]byte{1, 2, 3}, ID: 70000, Type: 200, Payload: [][]byte{[]byte("hello"), {}, []byte("more")}}
	n[0].sends(t, m, router.Delivered, "")
	reads(t, here, 0, "hello")
	m.To = "n2.c"
	n[0].sends(t, m, router.Delivered, "")
	got, err := there.Receive(context.Background(), 0, 10)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v, want one message", got, err)
	}
	g := got[0].Message
	if g.From != m.From || g.To != m.To || g.Conversation != m.Conversation || g.ID != m.ID || g.Type != m.Type ||
		len(g.Payload) != 3 || string(g.Payload[0]) != "hello" || len(g.Payload[1]) != 0 || string(g.Payload[2]) != "more" {
		t.Fatalf("got %+v, want %+v", g, m)
	}
}

// An unknown name is looked up once, in a fresh directory, before anybody says
// that there is nobody.
func TestReceiverUnknown(t *testing.T) {
	n := newWorld().start(t, quick, "n1", "n2")
	n[0].signIn(t, "n1.a")
	n[0].sends(t, text("n1.a", "n2.nobody", "x"), router.ReceiverUnknown, wire.CodeNotFound)
	if n[0].fresh == 0 {
		t.Fatal("said receiver_unknown without a fresh directory")
	}
	n[0].lag()
	late := n[1].signIn(t, "n2.late") // n1 does not know of it yet
	n[0].sends(t, text("n1.a", "n2.late", "x"), router.Delivered, "")
	reads(t, late, 0, "x")
}

// All who ask for an unknown name while one look-up is under way share the next.
func TestLookupsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pipe = inMemory
		n := w.start(t, router.Limits{}, "n1")[0]
		n.takes = 20 * time.Millisecond
		var answers sync.WaitGroup
		answers.Add(500)
		for i := range 500 {
			n.Post(text("n1.a", fmt.Sprintf("n2.nobody%d", i), "x"), func(o router.Outcome, err error) {
				if o != router.ReceiverUnknown {
					t.Errorf("got %s (%v), want receiver_unknown", o, err)
				}
				answers.Done()
			})
		}
		answers.Wait()
		if n.fresh > 2 {
			t.Errorf("%d rounds for 500 names, want at most 2", n.fresh)
		}
	})
}

// Without a fresh directory nobody can say that there is nobody.
func TestUnknownNameWithoutFreshDirectory(t *testing.T) {
	n := newWorld().start(t, quick, "n1")
	n[0].signIn(t, "n1.a")
	n[0].noFresh = errors.New("no leader")
	n[0].sends(t, text("n1.a", "n2.x", "x"), router.Refused, wire.CodeUnavailable)
}

func TestRefusedAtOnce(t *testing.T) {
	n := newWorld().start(t, quick, "n1")
	n[0].signIn(t, "n1.a")
	for what, c := range map[string]struct {
		m    wire.Message
		code wire.Code
	}{
		"no receiver": {text("n1.a", "", "x"), wire.CodeInvalid},
		"no sender":   {text("", "n1.a", "x"), wire.CodeInvalid},
		"long name":   {text("n1.a", strings.Repeat("x", 600), "x"), wire.CodeInvalid},
		"too large":   {wire.Message{From: "n1.a", To: "n1.a", Payload: [][]byte{make([]byte, wire.MaxMessage+1)}}, wire.CodeTooLarge},
	} {
		t.Run(what, func(t *testing.T) { n[0].sends(t, c.m, router.Refused, c.code) })
	}
}

// A component that moves between the look-up and the arrival is found at its
// new home, at the second try.
func TestMovedReceiver(t *testing.T) {
	n := newWorld().start(t, quick, "n1", "n2", "n3")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	n[1].signInAs(t, "n2.b", "s", 1)
	n[0].lag() // n1 goes on believing in n2
	n[1].Detach("s", "moved")
	moved := n[2].signInAs(t, "n2.b", "s", 2)
	n[0].sends(t, text("n1.a", "n2.b", "x"), router.Delivered, "")
	reads(t, moved, 0, "x")
	if got := n[0].Stats()["retried"]; got != 1 {
		t.Errorf("retried %d times, want 1", got)
	}

	// The same name with a new session at the same home is another receiver.
	n[0].lag()
	n[2].Detach("s", "signed out")
	again := n[2].signInAs(t, "n2.b", "s2", 1)
	n[0].sends(t, text("n1.a", "n2.b", "y"), router.Delivered, "")
	reads(t, again, 0, "y")

	// And one that is nowhere any more is unknown.
	n[0].lag()
	n[2].Detach("s2", "signed out")
	n[2].w.change(func() { delete(n[2].w.rows, "n2.b") })
	n[0].sends(t, text("n1.a", "n2.b", "z"), router.ReceiverUnknown, wire.CodeNotFound)
}

// A sender that has just signed in is not taken for a forger by a coordinator
// that does not know it yet; one that is at home elsewhere is.
func TestSenderIsCheckedAgainstItsHome(t *testing.T) {
	n := newWorld().start(t, quick, "n1", "n2", "n3")
	linked(t, n...)
	box := n[1].signIn(t, "n2.b")
	n[1].lag()
	n[0].signIn(t, "n1.new")
	n[0].sends(t, text("n1.new", "n2.b", "honest"), router.Delivered, "")
	reads(t, box, 0, "honest")

	n[2].signIn(t, "n3.c")
	n[0].sends(t, text("n3.c", "n2.b", "forged"), router.Refused, wire.CodeForbidden)
	n[0].sends(t, text("n9.nobody", "n2.b", "forged"), router.Refused, wire.CodeForbidden)
	if got := n[1].Stats()["forged_sender"]; got != 2 {
		t.Errorf("forged_sender is %d, want 2", got)
	}
	if box.Len() != 1 {
		t.Errorf("%d messages in the mailbox, want only the honest one", box.Len())
	}
}

// What nobody read when its session ends goes back to its sender in the same
// conversation.
func TestUnreadReported(t *testing.T) {
	n := newWorld().start(t, quick, "n1", "n2")
	sender := n[0].signIn(t, "n1.a")
	box := n[1].signIn(t, "n2.b")
	for _, s := range []string{"read", "unread"} {
		m := text("n1.a", "n2.b", s)
		copy(m.Conversation[:], s)
		n[0].sends(t, m, router.Delivered, "")
	}
	if got, err := box.Receive(context.Background(), 0, 1); err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v, want the first message", got, err)
	}
	n[1].Detach(box.Session(), "lease ran out")

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := sender.Receive(ctx, 0, 10)
	if err != nil || len(got) != 1 {
		t.Fatalf("the sender got %v, %v, want one report", got, err)
	}
	m := got[0].Message
	if m.From != "n2.COORDINATOR" || !bytes.HasPrefix(m.Conversation[:], []byte("unread")) {
		t.Fatalf("report from %s in conversation %q, want n2.COORDINATOR in the one of the unread message", m.From, m.Conversation)
	}
	var report map[string]json.RawMessage
	if err := json.Unmarshal(m.Payload[0], &report); err != nil {
		t.Fatal(err)
	}
	if len(report) != 3 || string(report["id"]) != "null" || !bytes.Contains(report["error"], []byte("-32093")) {
		t.Fatalf("report is %s, want id null, jsonrpc and error -32093", m.Payload[0])
	}
	until(t, "the report is counted", func() bool { return n[1].Stats()["returned"] == 1 })
	if got := n[1].Stats()["unacknowledged"]; got != 1 {
		t.Errorf("unacknowledged is %d, want 1", got)
	}
	if _, err := box.Receive(ctx, 0, 1); wire.CodeOf(err) != wire.CodeNotFound || !strings.Contains(err.Error(), "lease ran out") {
		t.Errorf("reading an ended mailbox: %v, want not_found with the reason", err)
	}
}

// A full mailbox says so, to a sender here and to one elsewhere.
func TestBusyMailbox(t *testing.T) {
	limits := quick
	limits.MailboxMessages = 2
	n := newWorld().start(t, limits, "n1", "n2")
	n[0].signIn(t, "n1.a")
	n[1].signIn(t, "n2.a")
	box := n[1].signIn(t, "n2.b")
	for _, s := range []string{"1", "2"} {
		n[0].sends(t, text("n1.a", "n2.b", s), router.Delivered, "")
	}
	n[0].sends(t, text("n1.a", "n2.b", "3"), router.Refused, wire.CodeBusy)
	n[1].sends(t, text("n2.a", "n2.b", "3"), router.Refused, wire.CodeBusy)
	reads(t, box, 0, "1", "2")
	if _, err := box.Receive(expired(t), 1, 1); err != nil {
		t.Fatal(err)
	}
	n[0].sends(t, text("n1.a", "n2.b", "4"), router.Delivered, "")
}

// expired is a context that is over.
func expired(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A sender who waits only a moment learns soon that the receiver's coordinator
// cannot be dialled; over a link that is up it sends like everybody.
func TestUnreachableHomeFailsFast(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var cut atomic.Bool
	w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
		if cut.Load() {
			return nil, nil, errors.New("connection refused")
		}
		return loopback()
	}
	n := w.start(t, quick, "n1", "n2")
	n[1].signIn(t, "n2.b")
	post := func(to string) error {
		done := make(chan error, 1)
		n[0].PostWith(text("n1.a", to, "x"), router.PostOptions{Timeout: time.Hour, LinkWait: time.Millisecond, Borrowed: true, Write: router.WriteNow}, func(_ router.Outcome, err error) { done <- err })
		select {
		case err := <-done:
			return err
		case <-time.After(time.Minute):
			t.Fatalf("no outcome of the message to %s", to)
		}
		return nil
	}
	n[0].signIn(t, "n1.a")
	for err := post("n2.b"); err != nil; err = post("n2.b") { // until the first link is up
		if wire.CodeOf(err) != wire.CodeUnavailable {
			t.Fatalf("over a link that comes up: %v", err)
		}
	}
	cut.Store(true)
	n[1].Close()
	for n[0].Links()["n2"] == "up" {
		time.Sleep(time.Millisecond)
	}
	for _, to := range []string{"n2.b", "n2.COORDINATOR"} {
		if err := post(to); wire.CodeOf(err) != wire.CodeUnavailable || !strings.Contains(err.Error(), to) {
			t.Errorf("to %s, whose coordinator is down: got %v, want unavailable", to, err)
		}
	}
}
