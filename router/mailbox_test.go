package router_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

func singleNode(t *testing.T) *node { return newWorld().start(t, quick, "n1")[0] }

// A message stays until it is acknowledged by its number.
func TestReceiveUntilAcknowledged(t *testing.T) {
	n := singleNode(t)
	box := n.signIn(t, "n1.a")
	for _, s := range []string{"1", "2", "3"} {
		n.sends(t, text("n1.a", "n1.a", s), router.Delivered, "")
	}
	reads(t, box, 0, "1", "2")
	reads(t, box, 0, "1", "2", "3") // nothing was acknowledged: once more
	if got := box.Len(); got != 3 {
		t.Errorf("%d messages held before any was acknowledged, want 3", got)
	}
	n.sends(t, text("n1.a", "n1.a", "4"), router.Delivered, "")
	reads(t, box, 3, "4")
	if got := box.Len(); got != 1 {
		t.Errorf("%d messages held after number 3 was acknowledged, want 1", got)
	}
}

// A stream acknowledges what it has written; when it broke before all of that
// was read, its reader goes on from the last number that it has.
func TestReceiveAgain(t *testing.T) {
	n := singleNode(t)
	box := n.signIn(t, "n1.a")
	for _, s := range []string{"1", "2", "3", "4"} {
		n.sends(t, text("n1.a", "n1.a", s), router.Delivered, "")
	}
	reads(t, box, 0, "1", "2", "3")
	reads(t, box, 3, "4")
	reads(t, box, 1, "2", "3", "4")
	reads(t, box, 1, "2")
	reads(t, box, 2, "3", "4")
	if got, err := box.Receive(t.Context(), 0, 10); err != nil || len(got) != 1 || got[0].Number != 4 {
		t.Errorf("from the start: %v, %v, want number 4, which alone is not acknowledged", got, err)
	}
	n.sends(t, text("n1.a", "n1.a", "5"), router.Delivered, "")
	reads(t, box, 4, "5")
	reads(t, box, 3, "4", "5")
	if got := box.Len(); got != 1 {
		t.Errorf("%d messages held, want 1: what was acknowledged counts no more", got)
	}
}

// What is kept of acknowledged messages is bounded by count and by bytes.
func TestReceiveAgainIsBounded(t *testing.T) {
	for what, c := range map[string]struct{ size, kept int }{"by count": {1, 256}, "by bytes": {64 << 10, 3}} {
		t.Run(what, func(t *testing.T) {
			n := singleNode(t)
			box := n.signIn(t, "n1.a")
			for i := range uint64(300) {
				n.sends(t, text("n1.a", "n1.a", strings.Repeat("x", c.size)), router.Delivered, "")
				if got, err := box.Receive(t.Context(), i, 1); err != nil || len(got) != 1 {
					t.Fatalf("%d messages, %v", len(got), err)
				}
			}
			n.sends(t, text("n1.a", "n1.a", "end"), router.Delivered, "")
			reads(t, box, 300, "end")
			got, err := box.Receive(t.Context(), 10, 1000)
			if err != nil || len(got) != c.kept+1 || got[0].Number != uint64(301-c.kept) {
				t.Errorf("%d messages (%v), want %d and the last", len(got), err, c.kept)
			}
		})
	}
}

// A number of a former life loses nothing.
func TestReceiveAfterANumberNeverGiven(t *testing.T) {
	n := singleNode(t)
	box := n.signIn(t, "n1.a")
	n.sends(t, text("n1.a", "n1.a", "1"), router.Delivered, "")
	got, err := box.Receive(t.Context(), 57, 10)
	if err != nil || len(got) != 1 || got[0].Number != 1 {
		t.Fatalf("got %v, %v, want number 1", got, err)
	}
}

// Receive waits for a message, and ends with its context or its session.
func TestReceiveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pipe = inMemory
		n := w.start(t, router.Limits{}, "n1")[0]
		box := n.signIn(t, "n1.a")
		type answer struct {
			got []router.Numbered
			err error
		}
		answers := make(chan answer, 1)
		receive := func(ctx context.Context) {
			go func() {
				got, err := box.Receive(ctx, 0, 10)
				answers <- answer{got, err}
			}()
			synctest.Wait()
		}
		receive(t.Context())
		n.sends(t, text("n1.a", "n1.a", "x"), router.Delivered, "")
		if a := <-answers; a.err != nil || len(a.got) != 1 {
			t.Errorf("got %v, %v, want the message that came", a.got, a.err)
		}
		if _, err := box.Receive(expired(t), 1, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}

		// A new reader takes over from one that waits.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		receive(ctx)
		receive2 := make(chan error, 1)
		go func() {
			_, err := box.Receive(t.Context(), 0, 1)
			receive2 <- err
		}()
		synctest.Wait()
		if a := <-answers; wire.CodeOf(a.err) != wire.CodeConflict {
			t.Errorf("the first reader got %v, %v, want conflict", a.got, a.err)
		}
		n.Detach(box.Session(), "signed out")
		if err := <-receive2; wire.CodeOf(err) != wire.CodeNotFound {
			t.Errorf("the reader of an ended session got %v, want not_found", err)
		}
	})
}

// A mailbox takes one message more than its bytes allow, and then none.
func TestMailboxBytes(t *testing.T) {
	limits := quick
	limits.MailboxBytes = 1000
	n := newWorld().start(t, limits, "n1")[0]
	n.signIn(t, "n1.a")
	big := wire.Message{From: "n1.a", To: "n1.a", Payload: [][]byte{make([]byte, 5000)}}
	n.sends(t, big, router.Delivered, "")
	n.sends(t, text("n1.a", "n1.a", "x"), router.Refused, wire.CodeBusy)
}

// A session keeps its mailbox when it is attached again, with the higher
// epoch; another session of the name gets an own one.
func TestAttach(t *testing.T) {
	n := singleNode(t)
	first := n.signInAs(t, "n1.a", "s", 2)
	if again := n.signInAs(t, "n1.a", "s", 3); again != first {
		t.Error("attached again: another mailbox, want the same")
	}
	if _, err := n.Attach("n1.a", "s", 1); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("a lower epoch: got %v, want conflict", err)
	}
	if _, err := n.Attach("n1.b", "s", 4); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("another name of the session: got %v, want conflict", err)
	}
	second := n.signInAs(t, "n1.a", "s2", 1)
	if _, ok := n.Mailbox("s"); ok {
		t.Error("the former session still has a mailbox")
	}
	if _, err := first.Receive(t.Context(), 0, 1); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("the former session's reader got %v, want not_found", err)
	}
	n.Detach("s", "late news") // does not touch the new one
	n.sends(t, text("n1.x", "n1.a", "x"), router.Delivered, "")
	reads(t, second, 0, "x")
}
