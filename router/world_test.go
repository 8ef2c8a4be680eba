package router_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a directory that all coordinators share, and the wires between
// them.
type world struct {
	mu      sync.Mutex
	rows    map[string]row
	nodes   map[string]*node
	changed chan struct{}
	// pipe makes the two ends of a new connection between two coordinators; an
	// error means that nobody is reached.
	pipe func(from, to string) (net.Conn, net.Conn, error)
	// topology of the coordinators that are started; the zero value is the mesh.
	topology route.Policy
	egress   *router.Egress
}

type row struct {
	home, session string
	epoch         uint64
}

// node is one coordinator: its router, its view of the directory and its port.
type node struct {
	*router.Router
	id     string
	w      *world
	accept chan accepted
	down   chan struct{}
	asks   atomic.Uint64
	kept   atomic.Uint64 // not 0: the Version

	mu      sync.Mutex
	stale   map[string]row // not nil: a view that lags until Fresh
	fresh   int            // rounds asked for
	noFresh error
	takes   time.Duration     // of a round
	asked   func(full string) // called in Home; may wait
	ghosts  []string          // coordinators that have an address and never answer
}

type accepted struct {
	conn net.Conn
	from string
}

func newWorld() *world {
	return &world{
		rows: make(map[string]row), nodes: make(map[string]*node), changed: make(chan struct{}),
		pipe: func(_, _ string) (net.Conn, net.Conn, error) { return loopback() },
	}
}

// loopback returns the two ends of a TCP connection.
func loopback() (net.Conn, net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	b, err := l.Accept()
	return a, b, err
}

func inMemory(_, _ string) (net.Conn, net.Conn, error) {
	a, b := net.Pipe()
	return a, b, nil
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// quick are limits under which a test does not have to wait. Links die of
// silence in tests with a clock of their own only: this machine may be busy.
var quick = router.Limits{
	Ping: 10 * time.Second, BackoffMin: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
}

func (w *world) start(t testing.TB, limits router.Limits, ids ...string) []*node {
	t.Helper()
	var all []*node
	for _, id := range ids {
		n := &node{id: id, w: w, accept: make(chan accepted), down: make(chan struct{})}
		w.change(func() {
			w.nodes[id] = n
			w.rows[id+"."+wire.Coordinator] = row{home: id}
		})
		all = append(all, n)
	}
	for _, n := range all {
		n.Router = router.Open(router.Config{Self: n.id, Directory: n, Dialer: n, Topology: w.topology, Egress: w.egress, Limits: limits})
		t.Cleanup(func() {
			n.Close()
			close(n.down)
		})
	}
	return all
}

// signIn makes a session known to all and opens its mailbox.
func (n *node) signIn(t testing.TB, full string) *router.Mailbox {
	t.Helper()
	return n.signInAs(t, full, "session of "+full, 1)
}

func (n *node) signInAs(t testing.TB, full, session string, epoch uint64) *router.Mailbox {
	t.Helper()
	m, err := n.Attach(full, session, epoch)
	if err != nil {
		t.Fatalf("attach %s at %s: %v", full, n.id, err)
	}
	n.w.change(func() { n.w.rows[full] = row{n.id, session, epoch} })
	return m
}

// lag freezes the node's view as it is now, until it asks for a fresh one.
func (n *node) lag() {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stale = make(map[string]row)
	for k, v := range n.w.rows {
		n.stale[k] = v
	}
}

func (n *node) Home(full string) (string, string, uint64, bool) {
	n.mu.Lock()
	r, ok := n.stale[full]
	lags, asked := n.stale != nil, n.asked
	n.mu.Unlock()
	if asked != nil {
		asked(full)
	}
	if !lags {
		n.w.mu.Lock()
		r, ok = n.w.rows[full]
		n.w.mu.Unlock()
	}
	return r.home, r.session, r.epoch, ok
}

// Version never stays the same, unless the test keeps it, so that Home is asked
// every time.
func (n *node) Version() uint64 {
	if v := n.kept.Load(); v > 0 {
		return v
	}
	return n.asks.Add(1) << 32
}

func (n *node) Fresh(context.Context) error {
	time.Sleep(n.takes)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fresh++
	if n.noFresh != nil {
		return n.noFresh
	}
	n.stale = nil
	return nil
}

func (n *node) Address(id string) (string, bool) { return "address of " + id, true }

func (n *node) Coordinators() []string {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	ids := append([]string(nil), n.ghosts...)
	for id := range n.w.nodes {
		ids = append(ids, id)
	}
	return ids
}

func (n *node) Changed() <-chan struct{} {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.changed
}

func (n *node) DialLink(ctx context.Context, addr, want string) (net.Conn, error) {
	if addr != "address of "+want {
		return nil, fmt.Errorf("%s is not the address of %s", addr, want)
	}
	n.w.mu.Lock()
	to, ok := n.w.nodes[want]
	pipe := n.w.pipe
	n.w.mu.Unlock()
	if !ok {
		return nil, errors.New("nobody there")
	}
	a, b, err := pipe(n.id, want)
	if err != nil {
		return nil, err
	}
	select {
	case to.accept <- accepted{b, n.id}:
		return a, nil
	case <-to.down:
		err = errors.New("it is down")
	case <-ctx.Done():
		err = ctx.Err()
	}
	a.Close()
	b.Close()
	return nil, err
}

func (n *node) AcceptLink() (net.Conn, string, error) {
	select {
	case a := <-n.accept:
		return a.conn, a.from, nil
	case <-n.down:
		return nil, "", net.ErrClosed
	}
}

var (
	_ router.Directory = (*node)(nil)
	_ router.Dialer    = (*node)(nil)
)

// until waits for something that happens by itself.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("after a minute still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// joined waits until every node has the links of its topology.
func joined(t testing.TB, nodes ...*node) {
	t.Helper()
	var ids []string
	for _, n := range nodes {
		ids = append(ids, n.id)
	}
	g := nodes[0].w.topology.Over(ids)
	for _, n := range nodes {
		until(t, "links of "+n.id+" up", func() bool {
			links := n.Links()
			for _, id := range g.Neighbours(n.id) {
				if links[id] != "up" {
					return false
				}
			}
			return len(links) == len(g.Neighbours(n.id))
		})
	}
}

// linked waits until every node has a link to every other.
func linked(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		until(t, "links of "+n.id+" up", func() bool {
			links := n.Links()
			for _, o := range nodes {
				if o != n && links[o.id] != "up" {
					return false
				}
			}
			return true
		})
	}
}

func text(from, to, s string) wire.Message {
	return wire.Message{From: from, To: to, Type: wire.TypeJSON, Payload: [][]byte{[]byte(s)}}
}

// sends expects an outcome.
func (n *node) sends(t testing.TB, m wire.Message, want router.Outcome, code wire.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := n.Send(ctx, m)
	if got != want || wire.CodeOf(err) != code {
		t.Fatalf("%s sends to %s: got %s (%v), want %s (code %q)", m.From, m.To, got, err, want, code)
	}
}

// reads expects messages after a number.
func reads(t testing.TB, m *router.Mailbox, after uint64, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for len(want) > 0 {
		got, err := m.Receive(ctx, after, len(want))
		if err != nil {
			t.Fatalf("%s waits for %q: %v", m.Full(), want, err)
		}
		for _, g := range got {
			after++
			if g.Number != after || string(g.Message.Payload[0]) != want[0] {
				t.Fatalf("%s reads number %d %q, want number %d %q", m.Full(), g.Number, g.Message.Payload[0], after, want[0])
			}
			want = want[1:]
		}
	}
}
