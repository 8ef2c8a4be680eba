package router_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// numbered is a message that holds its number, of any size.
func numbered(from, to string, i, size int) wire.Message {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(i))
	return wire.Message{From: from, To: to, Payload: [][]byte{b}}
}

func numberOf(m wire.Message) int { return int(binary.BigEndian.Uint64(m.Payload[0])) }

// drain reads a mailbox until ctx ends and records the numbers.
func drain(ctx context.Context, box *router.Mailbox, record func(from string, number int)) {
	for after := uint64(0); ; {
		got, err := box.Receive(ctx, after, 100)
		if err != nil {
			return
		}
		for _, g := range got {
			record(g.Message.From, numberOf(g.Message))
			after = g.Number
		}
	}
}

// Messages of one sender to one receiver arrive in the order of the posts, and
// are answered in it, whatever their sizes.
func TestOrderPerStream(t *testing.T) {
	const senders, each = 4, 1500
	limits := quick
	limits.MailboxBytes = 1 << 40
	limits.MailboxMessages = 1 << 30
	limits.Timeout = time.Minute
	limits.LinkBytes = 1 << 30
	n := newWorld().start(t, limits, "n1", "n2")
	linked(t, n...)
	box := n[1].signIn(t, "n2.b")
	ctx, cancel := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	next := make(map[string]int)
	var done atomic.Int64
	reader.Go(func() {
		drain(ctx, box, func(from string, place int) {
			if place != next[from] {
				t.Errorf("%s: message %d arrived, want %d", from, place, next[from])
			}
			next[from] = place + 1
			done.Add(1)
		})
	})
	var answers sync.WaitGroup
	for s := range senders {
		from := fmt.Sprintf("n1.s%d", s)
		n[0].signIn(t, from)
		answers.Add(each)
		answered := 0
		go func() {
			rng := rand.New(rand.NewPCG(uint64(s), 1))
			for i := range each {
				size := 8
				switch rng.IntN(20) {
				case 0:
					size = 300 << 10
				case 1:
					size = 64<<10 - 20 + rng.IntN(40) // around the border
				case 2:
					size = 20 << 10
				}
				n[0].Post(numbered(from, "n2.b", i, size), func(o router.Outcome, err error) {
					defer answers.Done()
					if o != router.Delivered || i != answered {
						t.Errorf("%s: answer %s (%v) for message %d, want delivered for %d", from, o, err, i, answered)
					}
					answered = i + 1
				})
			}
		}()
	}
	answers.Wait()
	until(t, "all read", func() bool { return done.Load() == senders*each })
	cancel()
	reader.Wait()
	for from, got := range next {
		if got != each {
			t.Errorf("%s: %d messages read, want %d", from, got, each)
		}
	}
}

// A component that moves again and again gets every message at most once and in
// order, from a sender that does not wait for outcomes.
func TestOrderWhileTheReceiverMoves(t *testing.T) {
	const total = 3000
	limits := quick
	limits.MailboxMessages = 1 << 30
	n := newWorld().start(t, limits, "n1", "n2", "n3")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	var mu sync.Mutex
	seen := make(map[int]int)
	last := -1
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	attach := func(at *node, epoch uint64) {
		box := at.signInAs(t, "n2.b", "s", epoch)
		readers.Go(func() {
			drain(ctx, box, func(_ string, place int) {
				mu.Lock()
				defer mu.Unlock()
				seen[place]++
				if place <= last {
					t.Errorf("message %d after %d", place, last)
				}
				last = place
			})
		})
	}
	attach(n[1], 1)
	outcomes := make([]router.Outcome, total)
	var answers sync.WaitGroup
	answers.Add(total)
	answered := 0
	epoch := uint64(1)
	homes := []*node{n[1], n[2], n[0]}
	for i := range total {
		if i%300 == 150 {
			// The reader of the old home has read everything before the new
			// home is known: else the test itself would mix the two.
			before := homes[int(epoch-1)%3]
			epoch++
			box, _ := before.Mailbox("s")
			before.w.change(func() { delete(before.w.rows, "n2.b") })
			until(t, "old mailbox read", func() bool { return box.Unread() == 0 })
			before.Detach("s", "moved")
			attach(homes[int(epoch-1)%3], epoch)
		}
		n[0].Post(numbered("n1.a", "n2.b", i, 8), func(o router.Outcome, err error) {
			if answered != i {
				t.Errorf("answer for %d, want for %d", i, answered)
			}
			answered = i + 1
			outcomes[i] = o
			if o != router.Delivered && o != router.ReceiverUnknown {
				t.Errorf("message %d: %s (%v)", i, o, err)
			}
			answers.Done()
		})
	}
	answers.Wait()
	until(t, "all read", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i, o := range outcomes {
			if o == router.Delivered && seen[i] == 0 && i > last {
				return false
			}
		}
		return true
	})
	cancel()
	readers.Wait()
	lost := 0
	for i, o := range outcomes {
		switch {
		case seen[i] > 1:
			t.Errorf("message %d was read %d times", i, seen[i])
		case o == router.ReceiverUnknown && seen[i] != 0:
			t.Errorf("message %d was read, its outcome is %s", i, o)
		case o == router.Delivered && seen[i] == 0:
			lost++ // in the mailbox of an old home when that ended: reported
		}
	}
	var reported uint64
	for _, x := range n {
		reported += x.Stats()["returned"] + x.Stats()["not_returned"] + x.Stats()["unacknowledged"]
	}
	if uint64(lost) > reported {
		t.Errorf("%d delivered messages were not read, only %d reported", lost, reported)
	}
}

// A large message does not keep small ones of others waiting.
func TestLargeDoesNotDelaySmall(t *testing.T) {
	limits := quick
	limits.MailboxBytes = 1 << 40
	w := newWorld()
	w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
		a, b, err := loopback()
		return &slow{Conn: a, perByte: 4 * time.Nanosecond}, b, err // about 250 MB/s
	}
	n := w.start(t, limits, "n1", "n2")
	linked(t, n...)
	n[0].signIn(t, "n1.big")
	n[0].signIn(t, "n1.small")
	n[1].signIn(t, "n2.b")
	small := n[1].signIn(t, "n2.c")
	large := make(chan router.Outcome, 1)
	n[0].PostWith(numbered("n1.big", "n2.b", 0, wire.MaxMessage), router.PostOptions{Timeout: time.Minute, Borrowed: true, Write: router.WriteNow}, func(o router.Outcome, err error) {
		if err != nil {
			t.Errorf("large message: %v", err)
		}
		large <- o
	})
	var sent uint64
	var took []time.Duration
	for {
		select {
		case o := <-large:
			if o != router.Delivered {
				t.Errorf("large message: %s", o)
			}
			if len(took) < 20 {
				t.Fatalf("%d small messages went through during the transfer, want many", len(took))
			}
			slices.Sort(took)
			t.Logf("%d small messages during the transfer, 95 %% of them within %s, all within %s", len(took), took[len(took)*95/100], took[len(took)-1])
			return
		default:
		}
		start := time.Now()
		n[0].sends(t, text("n1.small", "n2.c", "x"), router.Delivered, "")
		select {
		case o := <-large:
			large <- o
		default:
			took = append(took, time.Since(start))
		}
		sent++
		reads(t, small, sent-1, "x")
	}
}

// slow is a connection that takes its time to write.
type slow struct {
	net.Conn
	perByte time.Duration
}

func (s *slow) Write(b []byte) (int, error) {
	time.Sleep(time.Duration(len(b)) * s.perByte)
	return s.Conn.Write(b)
}
