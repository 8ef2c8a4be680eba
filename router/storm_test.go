package router_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// weather is what befalls the connections of a world. It does what a network
// can do to TCP: bytes come late or stop coming, for good then, and a broken
// device between may repeat some, which must not be taken for frames.
type weather struct {
	mu    sync.Mutex
	conns map[*stormy]bool
	rng   *rand.Rand

	loss   atomic.Bool  // of ten writes one is lost, and all after it; one comes late; a part of one comes twice
	oneWay atomic.Value // string: what this coordinator writes from now on is lost, and no error says so
	pause  atomic.Value // string: this coordinator reads nothing
}

// stormy is one end of a connection.
type stormy struct {
	net.Conn
	owner  string
	w      *weather
	closed chan struct{}
	once   sync.Once
	lost   bool // something was, so nothing comes any more; the writer's
}

func (w *weather) pipe(from, to string) (net.Conn, net.Conn, error) {
	a, b, err := loopback()
	if err != nil {
		return nil, nil, err
	}
	x := &stormy{Conn: a, owner: from, w: w, closed: make(chan struct{})}
	y := &stormy{Conn: b, owner: to, w: w, closed: make(chan struct{})}
	w.mu.Lock()
	w.conns[x], w.conns[y] = true, true
	w.mu.Unlock()
	return x, y, nil
}

func (w *weather) chance(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (c *stormy) Write(b []byte) (int, error) {
	if c.w.oneWay.Load() == c.owner {
		c.lost = true
	}
	again := false
	if c.w.loss.Load() {
		switch c.w.chance(10) {
		case 0:
			c.lost = true
		case 1:
			time.Sleep(time.Duration(c.w.chance(20)) * time.Millisecond)
		case 2:
			again = true
		}
	}
	if c.lost {
		return len(b), nil
	}
	n, err := c.Conn.Write(b)
	if again && err == nil {
		_, err = c.Conn.Write(b[1:])
	}
	return n, err
}

func (c *stormy) Read(b []byte) (int, error) {
	for c.w.pause.Load() == c.owner {
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		case <-time.After(time.Millisecond):
		}
	}
	return c.Conn.Read(b)
}

func (c *stormy) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.w.mu.Lock()
		delete(c.w.conns, c)
		c.w.mu.Unlock()
	})
	return c.Conn.Close()
}

// cut closes every connection of a coordinator, or all.
func (w *weather) cut(of string) {
	w.mu.Lock()
	var all []*stormy
	for c := range w.conns {
		if of == "" || c.owner == of {
			all = append(all, c)
		}
	}
	w.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// history is the outcomes senders got and what receivers got.
type history struct {
	from, to string
	outcomes []atomic.Int32 // 0 none yet, 1 delivered, 2 refused or unknown receiver, 3 unknown

	mu  sync.Mutex
	got []int
}

func (h *history) resolved(t *testing.T, i int, o router.Outcome, err error) {
	k := int32(2)
	switch o {
	case router.Delivered:
		k = 1
	case router.Unknown:
		k = 3
	}
	if (err == nil) != (k == 1) {
		t.Errorf("%s > %s %d: outcome %s with error %v", h.from, h.to, i, o, err)
	}
	if !h.outcomes[i].CompareAndSwap(0, k) {
		t.Errorf("%s > %s %d: a second outcome %s", h.from, h.to, i, o)
	}
}

// check judges the whole history. lost: the receiver's home was killed with
// what was in its mailbox.
func (h *history) check(t *testing.T, lost bool) (sum [4]int) {
	seen := make([]bool, len(h.outcomes))
	last := -1
	for _, i := range h.got {
		if i <= last {
			t.Errorf("%s > %s: %d came after %d", h.from, h.to, i, last)
		}
		seen[i], last = true, i
	}
	for i := range h.outcomes {
		k := h.outcomes[i].Load()
		sum[k]++
		switch {
		case k == 0:
			t.Errorf("%s > %s %d: no outcome", h.from, h.to, i)
		case k == 1 && !seen[i] && !lost:
			t.Errorf("%s > %s %d: delivered, and not there", h.from, h.to, i)
		case k == 2 && seen[i]:
			t.Errorf("%s > %s %d: refused, and there", h.from, h.to, i)
		}
	}
	return sum
}

// A hundred thousand messages of each of three coordinators, while their links
// lose, delay and repeat what is written, go silent in one direction or stand still,
// and one coordinator is killed and comes back. The history of all outcomes
// and all that arrived decides: each message has one outcome, it is true, and
// nothing comes twice or out of order.
func TestStormHistory(t *testing.T) {
	storm.Only(t)
	each := 100_000
	if testing.Short() {
		each = 10_000
	}
	limits := quick
	limits.Ping = 100 * time.Millisecond // dead in 300 ms: a busy machine loses links too, which does no harm
	limits.MailboxMessages, limits.MailboxBytes = 1<<30, 1<<40
	sky := &weather{conns: map[*stormy]bool{}, rng: rand.New(rand.NewPCG(3, 1))}
	sky.oneWay.Store("")
	sky.pause.Store("")
	w := newWorld()
	w.pipe = sky.pipe
	n := w.start(t, limits, "n1", "n2")
	third := w.startAlone(limits, "n3")
	n = append(n, third)
	linked(t, n...)

	var all []*history
	var senders, answers, readers sync.WaitGroup
	read := func(box *router.Mailbox, of map[string]*history) (ended chan struct{}) {
		ended = make(chan struct{})
		readers.Go(func() {
			defer close(ended)
			for after := uint64(0); ; {
				got, err := box.Receive(t.Context(), after, 1000)
				if err != nil {
					return // its session ended
				}
				for _, g := range got {
					after = g.Number
					if h := of[g.Message.From]; h != nil {
						h.mu.Lock()
						h.got = append(h.got, numberOf(g.Message))
						h.mu.Unlock()
					}
				}
			}
		})
		return ended
	}
	of := make([]map[string]*history, len(n)) // by receiver's home, then sender
	for i := range n {
		of[i] = map[string]*history{}
	}
	for i, at := range n {
		for k, to := range n {
			if i == k {
				continue
			}
			h := &history{from: fmt.Sprintf("%s.to-%s", at.id, to.id), to: to.id + ".b", outcomes: make([]atomic.Int32, each/2)}
			of[k][h.from] = h
			all = append(all, h)
		}
	}
	var ended chan struct{} // the reader at n3
	for k, at := range n {
		ended = read(at.signInAs(t, at.id+".b", "first", 1), of[k])
		for i, h := range all {
			if all[i].from[:2] == at.id {
				at.signIn(t, h.from)
			}
		}
	}
	var sent atomic.Int64
	var alive sync.RWMutex // over n[2].Router
	for i, h := range all {
		answers.Add(len(h.outcomes))
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			window := make(chan struct{}, 500)
			for at := range h.outcomes {
				window <- struct{}{}
				size := 8
				if rng.IntN(1000) == 0 {
					size = 100 << 10
				}
				alive.RLock()
				r := w.nodeOf(h.from[:2]).Router
				alive.RUnlock()
				m := numbered(h.from, h.to, at, size)
				bytes := m.Payload[0]
				r.PostWith(m, router.PostOptions{Timeout: 5 * time.Second, Borrowed: true, Write: i%2 != 0}, func(o router.Outcome, err error) {
					h.resolved(t, at, o, err)
					sent.Add(1)
					<-window
					answers.Done()
				})
				if size == 8 {
					clear(bytes) // they are ours again
				}
			}
		})
	}

	total := int64(0)
	for _, h := range all {
		total += int64(len(h.outcomes))
	}
	stop, over := make(chan struct{}), make(chan struct{})
	killed := false
	go func() {
		defer close(over)
		rng := rand.New(rand.NewPCG(7, 7))
		for step := 0; ; step++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(20+rng.IntN(100)) * time.Millisecond):
			}
			if !killed && sent.Load() > total/3 {
				killed = true
				alive.Lock()
				old := third
				sky.cut("n3")
				old.Close()
				close(old.down)
				<-ended
				w.change(func() { w.rows["n3.b"] = row{"n3", "second", 1} })
				third = w.startAlone(limits, "n3")
				alive.Unlock()
				read(third.signInAs(t, "n3.b", "second", 1), of[2])
				continue
			}
			switch who := fmt.Sprintf("n%d", 1+rng.IntN(3)); step % 4 {
			case 0:
				sky.loss.Store(true)
			case 1:
				sky.oneWay.Store(who)
			case 2:
				sky.pause.Store(who)
			case 3:
				sky.cut("")
				continue
			}
			select {
			case <-stop:
			case <-time.After(time.Duration(10+rng.IntN(400)) * time.Millisecond):
			}
			sky.loss.Store(false)
			sky.oneWay.Store("")
			sky.pause.Store("")
		}
	}()
	senders.Wait()
	answers.Wait()
	close(stop)
	<-over
	sky.cut("")
	linked(t, n[0], n[1], third) // the links accepted now are later ones: nothing old arrives any more
	var lost uint64
	for _, x := range []*node{n[0], n[1], third} {
		lost += x.Stats()["links_lost"]
		for box, name := range map[string]string{"first": x.id + ".b", "second": x.id + ".b"} {
			if m, ok := x.Mailbox(box); ok && m.Full() == name {
				until(t, "all of "+name+" is read", func() bool { return m.Unread() == 0 })
				x.Detach(box, "the test is over")
			}
		}
	}
	readers.Wait()
	var sum [4]int
	for _, h := range all {
		s := h.check(t, h.to == "n3.b")
		for k := range s {
			sum[k] += s[k]
		}
		if s[1] == 0 {
			t.Errorf("%s > %s: nothing was delivered", h.from, h.to)
		}
	}
	third.Close()
	close(third.down)
	if !killed || lost < 10 {
		t.Errorf("killed: %t, links lost: %d; that was no storm", killed, lost)
	}
	t.Logf("%d delivered, %d refused, %d unknown; %d links lost", sum[1], sum[2], sum[3], lost)
}

// startAlone is start of one that the test itself ends.
func (w *world) startAlone(limits router.Limits, id string) *node {
	n := &node{id: id, w: w, accept: make(chan accepted), down: make(chan struct{})}
	w.change(func() {
		w.nodes[id] = n
		w.rows[id+"."+wire.Coordinator] = row{home: id}
	})
	n.Router = router.Open(router.Config{Self: n.id, Directory: n, Dialer: n, Limits: limits})
	return n
}

func (w *world) nodeOf(id string) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[id]
}
