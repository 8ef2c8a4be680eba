package router_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// posted are messages 0 to count-1 of one sender and receiver, posted at once.
func (n *node) posted(t *testing.T, from, to string, count int) (answered *atomic.Int64) {
	answered = new(atomic.Int64)
	for i := range count {
		n.Post(numbered(from, to, i, 8), func(o router.Outcome, err error) {
			if at := answered.Add(1) - 1; o != router.Delivered || at != int64(i) {
				t.Errorf("message %d is answered %s (%v) as number %d, want delivered", i, o, err, at)
			}
		})
	}
	return answered
}

func inOrder(t *testing.T, box *router.Mailbox, count int) {
	t.Helper()
	for next := 0; next < count; {
		got, err := box.Receive(t.Context(), uint64(next), count)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range got {
			if numberOf(g.Message) != next {
				t.Fatalf("message %d came, want %d", numberOf(g.Message), next)
			}
			next++
		}
	}
}

// A receiver that moves on before every message of its senders arrives is
// signed in all the same: nobody is told that it is not, and what was sent to
// it arrives once, in order, where it stays.
func TestOftenMovedReceiver(t *testing.T) {
	const count = 200
	limits := quick
	limits.Timeout = time.Minute
	n := newWorld().start(t, limits, "n1", "n2", "n3")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	row := func(home string, epoch uint64) {
		n[0].w.change(func() { n[0].w.rows["n2.b"] = row{home, "s", epoch} })
	}
	row("n2", 1)
	answered := n[0].posted(t, "n1.a", "n2.b", count)
	for epoch, home := range []string{"n3", "n2", "n3", "n2"} {
		before := n[0].Stats()["retried"]
		until(t, "messages tried once more", func() bool { return n[0].Stats()["retried"] > before })
		row(home, uint64(epoch)+2)
	}
	box := n[1].signInAs(t, "n2.b", "s", 5)
	until(t, "all answered", func() bool { return answered.Load() == count })
	inOrder(t, box, count)
}

// A receiver whose home has not opened its mailbox yet, here or elsewhere, is
// waited for; one that nobody waits for any more may yet be signed in.
func TestMailboxNotOpenYet(t *testing.T) {
	const count = 50
	limits := quick
	limits.Timeout = time.Minute
	n := newWorld().start(t, limits, "n1", "n2")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	for _, home := range n {
		full := home.id + ".late"
		n[0].w.change(func() { n[0].w.rows[full] = row{home.id, "s of " + full, 1} })
		rounds := func() int {
			n[0].mu.Lock()
			defer n[0].mu.Unlock()
			return n[0].fresh
		}
		before := rounds()
		answered := n[0].posted(t, "n1.a", full, count)
		until(t, "looked up more than once", func() bool { return rounds() > before+2 })
		box := home.signInAs(t, full, "s of "+full, 1)
		until(t, "all answered", func() bool { return answered.Load() == count })
		inOrder(t, box, count)

		never := home.id + ".never"
		n[0].w.change(func() { n[0].w.rows[never] = row{home.id, "s of " + never, 1} })
		answer := make(chan error, 1)
		n[0].PostWith(text("n1.a", never, "x"), router.PostOptions{Timeout: 200 * time.Millisecond, Borrowed: true, Write: router.WriteNow}, func(_ router.Outcome, err error) { answer <- err })
		if err := <-answer; wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("a receiver at home at %s without a mailbox: %v, want unavailable", home.id, err)
		}
	}
}
