package router_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

func ids(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("n%d", i+1))
	}
	return all
}

func sum(nodes []*node, counter string) (n uint64) {
	for _, x := range nodes {
		n += x.Stats()[counter]
	}
	return n
}

// In a ring of seven a message takes up to three hops, a large one too, and
// links are kept to the two neighbours only.
func TestForwarding(t *testing.T) {
	w := newWorld()
	w.topology = route.Ring()
	n := w.start(t, quick, ids(7)...)
	joined(t, n...)
	n[0].signIn(t, "n1.a")
	for i, to := range n {
		box := to.signIn(t, to.id+".b")
		n[0].sends(t, text("n1.a", to.id+".b", "small"), router.Delivered, "")
		n[0].sends(t, numbered("n1.a", to.id+".b", i, 3<<20), router.Delivered, "")
		got, err := box.Receive(context.Background(), 0, 2)
		if err == nil && len(got) == 1 {
			var more []router.Numbered
			more, err = box.Receive(context.Background(), 1, 1)
			got = append(got, more...)
		}
		if err != nil || len(got) != 2 || string(got[0].Message.Payload[0]) != "small" || numberOf(got[1].Message) != i || got[1].Message.Size() != 3<<20 {
			t.Fatalf("%s.b got %d messages (%v), want the small and the large one", to.id, len(got), err)
		}
	}
	if got := sum(n, "relayed"); got < 2*(2*1+2*2) { // to two at a distance of 2, to two of 3
		t.Errorf("messages were passed on %d times, want 12", got)
	}
}

// Every outcome is what the receiver's home says, however far it is.
func TestForwardingOutcomes(t *testing.T) {
	limits := quick
	limits.MailboxMessages = 1
	w := newWorld()
	w.topology = route.Ring()
	n := w.start(t, limits, ids(7)...)
	joined(t, n...)
	n[0].signIn(t, "n1.a")
	box := n[3].signIn(t, "n4.b")
	n[0].sends(t, text("n1.a", "n4.b", "x"), router.Delivered, "")
	n[0].sends(t, text("n1.a", "n4.b", "full"), router.Refused, wire.CodeBusy)
	n[0].sends(t, text("n1.a", "n4.nobody", "x"), router.ReceiverUnknown, wire.CodeNotFound)
	n[0].sends(t, text("n4.b", "n4.b", "forged"), router.Refused, wire.CodeForbidden)
	if got := n[3].Stats()["forged_sender"]; got != 1 {
		t.Errorf("forged_sender is %d, want 1", got)
	}
	reads(t, box, 0, "x")

	// The receiver moves, and n1 does not know it yet.
	n[0].lag()
	n[3].Detach(box.Session(), "moved")
	moved := n[4].signInAs(t, "n4.b", box.Session(), 2)
	n[0].sends(t, text("n1.a", "n4.b", "y"), router.Delivered, "")
	reads(t, moved, 0, "y")
	n[0].lag()
	n[4].Detach(box.Session(), "gone")
	w.change(func() { delete(w.rows, "n4.b") })
	n[0].sends(t, text("n1.a", "n4.b", "z"), router.ReceiverUnknown, wire.CodeNotFound)
}

// A coordinator of the ring ends: messages take the other route. Two end: who is
// cut off is not reached, and that is certain.
func TestRerouteAroundFailedNode(t *testing.T) {
	w := newWorld()
	w.topology = route.Ring()
	limits := quick
	limits.Timeout = 10 * time.Second
	n := w.start(t, limits, ids(7)...)
	joined(t, n...)
	n[0].signIn(t, "n1.a")
	box := n[2].signIn(t, "n3.b")
	n[0].sends(t, text("n1.a", "n3.b", "1"), router.Delivered, "")
	n[1].Close()
	until(t, "n1 knows that n2 has ended", func() bool { return n[0].Links()["n2"] != "up" }) // what left before is unknown
	n[0].sends(t, text("n1.a", "n3.b", "2"), router.Delivered, "")
	reads(t, box, 0, "1", "2")
	if n[4].Stats()["relayed"] == 0 {
		t.Error("n5 passed no message on")
	}
	n[5].Close()
	until(t, "n7 knows that n6 has ended", func() bool { return n[6].Links()["n6"] != "up" })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if o, err := n[0].Send(ctx, text("n1.a", "n3.b", "3")); o != router.Refused || wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("cut off: got %s (%v), want refused (unavailable)", o, err)
	}
}

// A coordinator on the route that says it has too many messages refuses, and
// that is certain; one that ends with a message leaves it unknown.
func TestForwarderRefusesOrFails(t *testing.T) {
	w := newWorld()
	p, err := route.ParseFile([]byte("n1: n2\nn2: n3\nn3:"))
	if err != nil {
		t.Fatal(err)
	}
	w.topology = p
	var stuck atomic.Bool
	w.pipe = func(from, to string) (net.Conn, net.Conn, error) {
		a, b, err := loopback()
		if from == "n2" && to == "n3" {
			return &swallower{a, &stuck}, b, err
		}
		return a, b, err
	}
	limits := quick
	limits.LinkMessages = 3
	limits.Timeout = time.Minute
	n := w.start(t, quick, "n1", "n3")
	n = append(n[:1], append(w.start(t, limits, "n2"), n[1])...)
	joined(t, n...)
	n[0].signIn(t, "n1.a")
	n[2].signIn(t, "n3.b")
	n[0].sends(t, text("n1.a", "n3.b", "x"), router.Delivered, "")
	stuck.Store(true)
	outcomes := make(chan router.Outcome, 5)
	for range 5 {
		n[0].PostWith(text("n1.a", "n3.b", "y"), router.PostOptions{Timeout: time.Minute, Borrowed: true, Write: router.WriteNow}, func(o router.Outcome, _ error) { outcomes <- o })
	}
	for range 2 {
		if o := <-outcomes; o != router.Refused {
			t.Errorf("more than n2 may hold: got %s, want refused", o)
		}
	}
	if got := n[0].Stats()["refused_busy"]; got != 2 {
		t.Errorf("refused_busy is %d, want 2", got)
	}
	n[1].Close()
	for range 3 {
		if o := <-outcomes; o != router.Unknown {
			t.Errorf("n2 ended with the message: got %s, want unknown", o)
		}
	}
}

// idle is a wire on which what was written still arrives, late, when the
// dialler is gone; cut ends the dialler's side only.
type idle struct {
	net.Conn
	rng *rand.Rand
}

func (l *idle) Read(b []byte) (int, error) {
	if l.rng.IntN(20) == 0 {
		time.Sleep(time.Duration(l.rng.IntN(30)) * time.Millisecond)
	}
	return l.Conn.Read(b[:min(len(b), 2000)])
}

// However links and coordinators fail, every message has one outcome, and it is
// true; and no message arrives after a later one of its stream, though routes
// change and what was on a lost link still arrives late.
func TestStormForwarding(t *testing.T) {
	storm.Only(t)
	for name, p := range map[string]route.Policy{"ring": route.Ring(), "grid": route.Grid(), "tree": route.Tree()} {
		t.Run(name, func(t *testing.T) { underLoss(t, p) })
	}
}

func underLoss(t *testing.T, p route.Policy) {
	const each = 2000
	limits := quick
	limits.MailboxMessages, limits.MailboxBytes = 1<<30, 1<<40
	w := newWorld()
	w.topology = p
	var mu sync.Mutex
	live := map[net.Conn]bool{}
	seed := uint64(0)
	w.pipe = func(_, _ string) (net.Conn, net.Conn, error) {
		a, b, err := loopback()
		mu.Lock()
		defer mu.Unlock()
		seed++
		if err == nil {
			live[a] = true
		}
		return a, &idle{b, rand.New(rand.NewPCG(seed, 1))}, err
	}
	n := w.start(t, limits, ids(7)...)
	joined(t, n...)
	type stream struct {
		from, to string
		at       *node
		box      *router.Mailbox
		outcomes [each]atomic.Pointer[router.Outcome]
	}
	var streams []*stream
	for i, at := range n {
		for _, far := range []int{2, 3} {
			to := n[(i+far)%len(n)]
			x := &stream{from: fmt.Sprintf("%s.a%d", at.id, far), to: fmt.Sprintf("%s.b%d", to.id, far), at: at}
			at.signIn(t, x.from)
			x.box = to.signIn(t, x.to)
			streams = append(streams, x)
		}
	}
	var senders, answers sync.WaitGroup
	for s, x := range streams {
		answers.Add(each)
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(s), 2))
			window := make(chan struct{}, 50)
			for i := range each {
				window <- struct{}{}
				size := 8
				if rng.IntN(200) == 0 {
					size = 100 << 10
				}
				x.at.Post(numbered(x.from, x.to, i, size), func(o router.Outcome, _ error) {
					if !x.outcomes[i].CompareAndSwap(nil, &o) {
						t.Errorf("message %d has a second outcome %s", i, o)
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
			case <-time.After(time.Duration(5+rng.IntN(40)) * time.Millisecond):
			}
			mu.Lock()
			for c := range live { // any two
				c.Close()
				delete(live, c)
				if rng.IntN(2) == 0 {
					break
				}
			}
			mu.Unlock()
		}
	})
	senders.Wait()
	answers.Wait()
	close(stop)
	saboteur.Wait()
	joined(t, n...)
	// What follows goes behind all that is still on its route.
	for _, x := range streams {
		until(t, "the last message of "+x.from, func() bool {
			o, _ := x.at.Send(t.Context(), numbered(x.from, x.to, each, 8))
			return o == router.Delivered
		})
	}
	count := map[router.Outcome]int{}
	for _, x := range streams {
		seen := map[int]bool{}
		last := -1
		for after := uint64(0); ; {
			got, err := x.box.Receive(expired(t), after, 1000)
			if err != nil {
				break
			}
			for _, g := range got {
				p := numberOf(g.Message)
				if p <= last && p < each {
					t.Fatalf("%s: message %d after %d", x.to, p, last)
				}
				seen[p], last, after = true, p, g.Number
			}
		}
		for i := range each {
			o := *x.outcomes[i].Load()
			count[o]++
			switch {
			case o == router.Delivered && !seen[i]:
				t.Fatalf("%s: message %d is said to be delivered and is not there", x.to, i)
			case o != router.Delivered && o != router.Unknown && seen[i]:
				t.Fatalf("%s: message %d is there, its outcome was %s", x.to, i, o)
			}
		}
	}
	t.Logf("%v; links lost %d, relayed %d, no route %d, old epoch %d", count, sum(n, "links_lost"), sum(n, "relayed"), sum(n, "no_way"), sum(n, "out_of_turn"))
	if count[router.Delivered] == 0 {
		t.Error("nothing was delivered at all")
	}
	if got := sum(n, "forged_way") + sum(n, "forged_sender") + sum(n, "link_errors"); got > 0 {
		t.Errorf("%d honest frames were taken for forged or broken", got)
	}
}
