package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// cutter is a set of connections that a test cuts.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) pipe(_, _ string) (net.Conn, net.Conn, error) {
	a, b, err := loopback()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, a, b)
		c.mu.Unlock()
	}
	return a, b, err
}

func (c *cutter) cut() int {
	c.mu.Lock()
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	for _, x := range conns {
		x.Close()
	}
	return len(conns)
}

// However often links are lost, every message has exactly one outcome, is
// delivered at most once, in order, and what the outcome says is true.
func TestOneOutcomeUnderLinkLoss(t *testing.T) {
	const each = 10_000
	limits := quick
	limits.MailboxMessages, limits.MailboxBytes = 1<<30, 1<<40
	var wires cutter
	w := newWorld()
	w.pipe = wires.pipe
	n := w.start(t, limits, "n1", "n2", "n3")
	linked(t, n...)
	type stream struct {
		from, to string
		at       *node
		box      *router.Mailbox
		outcomes [each]atomic.Int32 // 0 none yet, then 1+index in kinds
	}
	kinds := []router.Outcome{router.Delivered, router.ReceiverUnknown, router.Refused, router.Unknown}
	var streams []*stream
	for i, at := range n {
		to := n[(i+1)%len(n)]
		x := &stream{from: at.id + ".a", to: to.id + ".b", at: at}
		at.signIn(t, x.from)
		x.box = to.signIn(t, x.to)
		streams = append(streams, x)
	}
	var senders, answers sync.WaitGroup
	for s, x := range streams {
		answers.Add(each)
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(s), 2))
			window := make(chan struct{}, 500)
			for i := range each {
				window <- struct{}{}
				size := 8
				if rng.IntN(200) == 0 {
					size = 200 << 10
				}
				x.at.Post(numbered(x.from, x.to, i, size), func(o router.Outcome, err error) {
					for k := range kinds {
						if kinds[k] == o && !x.outcomes[i].CompareAndSwap(0, int32(k+1)) {
							t.Errorf("message %d has a second outcome %s", i, o)
						}
					}
					if (err == nil) != (o == router.Delivered) {
						t.Errorf("outcome %s with error %v", o, err)
					}
					<-window
					answers.Done()
				})
			}
		})
	}
	stop := make(chan struct{})
	var saboteur sync.WaitGroup
	saboteur.Go(func() {
		rng := rand.New(rand.NewPCG(7, 7))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(5+rng.IntN(60)) * time.Millisecond):
				wires.cut()
			}
		}
	})
	senders.Wait()
	answers.Wait()
	close(stop)
	saboteur.Wait()
	wires.cut()
	linked(t, n...) // every accepted link is a later one: nothing old arrives any more
	var sum [4]int
	for _, x := range streams {
		seen := make(map[int]bool)
		last := -1
		for after := uint64(0); ; {
			got, err := x.box.Receive(expired(t), after, 1000)
			if err != nil {
				break
			}
			for _, g := range got {
				p := numberOf(g.Message)
				if p <= last {
					t.Fatalf("%s: message %d after %d", x.to, p, last)
				}
				seen[p], last, after = true, p, g.Number
			}
		}
		for i := range each {
			k := x.outcomes[i].Load() - 1
			o := kinds[k]
			sum[k]++
			switch {
			case o == router.Delivered && !seen[i]:
				t.Fatalf("%s: message %d is said to be delivered and is not there", x.to, i)
			case o != router.Delivered && o != router.Unknown && seen[i]:
				t.Fatalf("%s: message %d is there, its outcome was %s", x.to, i, o)
			}
		}
	}
	t.Logf("%v: %v; links lost %d", kinds, sum, n[0].Stats()["links_lost"]+n[1].Stats()["links_lost"]+n[2].Stats()["links_lost"])
	if sum[0] == 0 {
		t.Error("nothing was delivered at all")
	}
}

// A message that never left because there was no link leaves by the next one,
// within its time.
func TestResentOnNextConnection(t *testing.T) {
	w := newWorld()
	var reachable atomic.Bool
	w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
		if !reachable.Load() {
			return nil, nil, errors.New("cut off")
		}
		return loopback()
	}
	n := w.start(t, quick, "n1", "n2")
	n[0].signIn(t, "n1.a")
	box := n[1].signIn(t, "n2.b")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if o, err := n[0].Send(ctx, text("n1.a", "n2.b", "lost")); o != router.Refused || wire.CodeOf(err) != wire.CodeUnavailable {
		t.Fatalf("without a link: got %s (%v), want refused (unavailable)", o, err)
	}
	answers := make(chan router.Outcome, 2)
	for _, s := range []string{"1", "2"} {
		n[0].Post(text("n1.a", "n2.b", s), func(o router.Outcome, _ error) { answers <- o })
	}
	reachable.Store(true)
	for range 2 {
		if o := <-answers; o != router.Delivered {
			t.Fatalf("got %s, want delivered", o)
		}
	}
	reads(t, box, 0, "1", "2")
}

// What waits for a coordinator that is not reached finds the receiver's next
// home.
func TestWaitingMessageFollowsItsReceiver(t *testing.T) {
	w := newWorld()
	w.pipe = func(_, to string) (net.Conn, net.Conn, error) {
		if to == "n2" {
			return nil, nil, errors.New("n2 is dead")
		}
		return loopback()
	}
	n := w.start(t, quick, "n1", "n2", "n3")
	n[0].signIn(t, "n1.a")
	n[1].signInAs(t, "n2.b", "s", 1)
	answer := make(chan router.Outcome, 1)
	n[0].Post(text("n1.a", "n2.b", "x"), func(o router.Outcome, err error) {
		if err != nil {
			t.Errorf("waiting message: %v", err)
		}
		answer <- o
	})
	box := n[2].signInAs(t, "n2.b", "s", 2)
	if o := <-answer; o != router.Delivered {
		t.Fatalf("got %s, want delivered", o)
	}
	reads(t, box, 0, "x")
	if got := n[0].Links()["n2"]; got != "dial address of n2: n2 is dead" {
		t.Errorf("link to n2 is %q, want the last error", got)
	}
}

// swallower takes every byte and passes none on in either direction from the
// moment the test says so.
type swallower struct {
	net.Conn
	on *atomic.Bool
}

func (s *swallower) Write(b []byte) (int, error) {
	if s.on.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// A link whose packets vanish is dead after three pings; what had left is
// unknown.
func TestHalfOpenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var on atomic.Bool
		w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
			a, b := net.Pipe()
			return &swallower{a, &on}, &swallower{b, &on}, nil
		}
		n := w.start(t, router.Limits{Timeout: time.Hour}, "n1", "n2")
		synctest.Wait()
		linked(t, n...)
		n[0].signIn(t, "n1.a")
		n[1].signIn(t, "n2.b")
		time.Sleep(3 * time.Second)
		on.Store(true)
		w.mu.Lock()
		w.pipe = func(_, _ string) (net.Conn, net.Conn, error) { return nil, nil, errors.New("nobody there") }
		w.mu.Unlock()
		start := time.Now()
		o, err := n[0].Send(context.Background(), text("n1.a", "n2.b", "x"))
		_ = o
		took := time.Since(start)
		if o != router.Unknown || wire.CodeOf(err) != wire.CodeUnknown || took > 8*time.Second {
			t.Errorf("got %s (%v) after %s, want unknown within 8 s", o, err, took)
		}
	})
}

// The dialler has a timer of its own: a coordinator that reads everything and
// says nothing is dead after three pings, though it never closes the link.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pipe = inMemory
		n := w.start(t, router.Limits{Timeout: time.Hour}, "n1")[0]
		mute := w.fakePeer("n2")
		w.change(func() { w.rows["n2.b"] = row{"n2", "s", 1} })
		n.signIn(t, "n1.a")
		link := (<-mute.accept).conn
		defer link.Close()
		close(mute.down)
		go io.Copy(io.Discard, link)
		synctest.Wait()
		start := time.Now()
		o, err := n.Send(context.Background(), text("n1.a", "n2.b", "x"))
		if took := time.Since(start); o != router.Unknown || wire.CodeOf(err) != wire.CodeUnknown || took > 8*time.Second {
			t.Errorf("got %s (%v) after %s, want unknown within 8 s", o, err, took)
		}
		if got := n.Links()["n2"]; got == "up" {
			t.Error("the link counts as up though nothing comes")
		}
	})
}

// A coordinator that stops reading is dead in the same time, and the memory
// that waits for it is bounded: the rest is refused as busy.
func TestPeerThatStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := router.Limits{Timeout: time.Hour, LinkMessages: 100}
		w := newWorld()
		w.pipe = inMemory
		n := w.start(t, limits, "n1")
		deaf := &node{id: "n2", w: w, accept: make(chan accepted), down: make(chan struct{})}
		w.change(func() {
			w.nodes["n2"] = deaf
			w.rows["n2.b"] = row{"n2", "s", 1}
		})
		n[0].signIn(t, "n1.a")
		link := (<-deaf.accept).conn
		defer link.Close()
		close(deaf.down)
		synctest.Wait()
		start := time.Now()
		var unknown, unavailable, refused int
		var answers sync.WaitGroup
		answers.Add(150)
		for i := range 150 {
			n[0].PostWith(numbered("n1.a", "n2.b", i, 8), router.PostOptions{Now: start, Timeout: 20 * time.Second, Borrowed: true, Write: router.WriteNow}, func(o router.Outcome, err error) {
				switch wire.CodeOf(err) {
				case wire.CodeBusy:
					refused++
				case wire.CodeUnknown:
					unknown++
				case wire.CodeUnavailable:
					unavailable++
				}
				answers.Done()
			})
		}
		if refused != 50 {
			t.Errorf("%d of 150 messages refused as busy, want 50", refused)
		}
		time.Sleep(8 * time.Second)
		if got := n[0].Links()["n2"]; got == "up" {
			t.Error("the link is up 8 s after its peer stopped reading")
		}
		answers.Wait()
		if unknown+unavailable != 100 {
			t.Errorf("%d unknown and %d unavailable, want 100 together", unknown, unavailable)
		}
	})
}

// Redials are spread and rare, however long a coordinator is away.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var dials []time.Time
		var mu sync.Mutex
		w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials = append(dials, time.Now())
			return nil, nil, errors.New("away")
		}
		w.start(t, router.Limits{}, "n1", "n2")
		time.Sleep(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		// Two diallers, 5 s apart on average once they have slowed down.
		if len(dials) < 100 || len(dials) > 450 {
			t.Errorf("%d dials in ten minutes, want about 250", len(dials))
		}
	})
}

// A link that is accepted and broken at once is not redialled at once.
func TestReconnectStormIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var dials atomic.Int64
		w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
			dials.Add(1)
			a, b := net.Pipe()
			b.Close()
			return a, b, nil
		}
		w.start(t, router.Limits{}, "n1", "n2")
		time.Sleep(time.Minute)
		if got := dials.Load(); got > 100 {
			t.Errorf("%d dials in a minute, want at most 100", got)
		}
	})
}

// Close answers everything that waits.
func TestCloseAnswersAll(t *testing.T) {
	w := newWorld()
	n := w.start(t, quick, "n1", "n2")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	n[1].signIn(t, "n2.b")
	w.change(func() { w.rows["n9.x"] = row{"n9", "s", 1} }) // has no link
	counts := make(map[router.Outcome]int)
	var mu sync.Mutex
	const each = 100
	for i := range each {
		for _, to := range []string{"n2.b", "n9.x", fmt.Sprintf("n1.nobody%d", i)} {
			n[0].Post(text("n1.a", to, "x"), func(o router.Outcome, _ error) {
				mu.Lock()
				defer mu.Unlock()
				counts[o]++
			})
		}
	}
	n[0].Close()
	mu.Lock()
	defer mu.Unlock()
	if got := counts[router.Delivered] + counts[router.Refused] + counts[router.ReceiverUnknown] + counts[router.Unknown]; got != 3*each {
		t.Errorf("%d outcomes after Close, want %d: %v", got, 3*each, counts)
	}
	n[0].sends(t, text("n1.a", "n2.b", "late"), router.Refused, wire.CodeUnavailable)
}
