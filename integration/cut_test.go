package integration_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// way is a network between two places, as long as it is open.
type way struct {
	mu   sync.Mutex
	open chan struct{} // closed while bytes pass
}

func openWay() *way {
	g := &way{open: make(chan struct{})}
	close(g.open)
	return g
}

// wait returns once bytes pass.
func (g *way) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

// cut stops all bytes. Nobody is told: connections stay, and what is sent waits,
// as in a network that drops packets and repeats them later.
func (g *way) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// heal lets them pass again, those that waited first.
func (g *way) heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// relay stands for a peer port at another address, behind a gate.
type relay struct {
	ip   string
	way  *way
	to   atomic.Pointer[string] // the port's own address
	l    net.Listener
	mu   sync.Mutex
	ends map[net.Conn]bool // nil once it is closed
	done sync.WaitGroup
}

func newRelay(t *testing.T, g *way) *relay {
	t.Helper()
	r := &relay{ip: podAddress(t), way: g, ends: map[net.Conn]bool{}}
	var err error
	if r.l, err = net.Listen("tcp", net.JoinHostPort(r.ip, "7300")); err != nil {
		t.Fatal(err)
	}
	r.done.Go(r.serve)
	t.Cleanup(r.close)
	return r
}

// leadsTo says where the port is now.
func (r *relay) leadsTo(ip string) {
	addr := net.JoinHostPort(ip, "7300")
	r.to.Store(&addr)
}

func (r *relay) serve() {
	for {
		a, err := r.l.Accept()
		if err != nil {
			return
		}
		r.done.Go(func() {
			defer a.Close()
			r.way.wait()
			if to := r.to.Load(); to != nil && r.holds(a) {
				r.join(a, *to)
			}
		})
	}
}

// join passes on what either side sends until one of them ends.
func (r *relay) join(a net.Conn, to string) {
	defer r.drop(a)
	b, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer b.Close()
	if !r.holds(b) {
		return
	}
	defer r.drop(b)
	back := make(chan struct{})
	go func() {
		defer close(back)
		r.pass(a, b)
	}()
	r.pass(b, a)
	<-back
}

func (r *relay) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.way.wait()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// holds keeps a connection to be closed with the relay; false if that is closed.
func (r *relay) holds(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ends != nil {
		r.ends[c] = true
	}
	return r.ends != nil
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ends, c)
}

func (r *relay) close() {
	r.way.heal()
	r.l.Close()
	r.mu.Lock()
	for c := range r.ends {
		c.Close()
	}
	r.ends = nil
	r.mu.Unlock()
	r.done.Wait()
}

// A relay that is cut says nothing to either side, and passes on what waited when
// it is healed.
func TestCutIsSilent(t *testing.T) {
	t.Parallel()
	ip := podAddress(t)
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "7300"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := openWay()
	r := newRelay(t, g)
	r.leadsTo(ip)
	g.cut()
	c, err := net.Dial("tcp", net.JoinHostPort(r.ip, "7300"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	came := make(chan error, 1)
	go func() {
		b, err := l.Accept()
		if err == nil {
			defer b.Close()
			_, err = io.ReadFull(b, make([]byte, 4))
		}
		came <- err
	}()
	select {
	case err := <-came:
		t.Errorf("something came through: %v", err)
	default:
	}
	g.heal()
	if err := <-came; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("what waited did not come: %v", err)
	}
}
