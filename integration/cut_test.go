package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// way is a network between two places, as long as it is open.
type way struct {
	mu     sync.Mutex
	open   chan struct{} // closed while bytes pass
	stands atomic.Int32  // how many wait
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
	g.stands.Add(1)
	defer g.stands.Add(-1)
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
	c, err := net.Dial("tcp", net.JoinHostPort(r.ip, "7300"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	deadline := time.Now().Add(patience)
	for _, end := range []net.Conn{b, c} {
		if err := end.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	pass := func(from, to net.Conn, text string) {
		t.Helper()
		if _, err := from.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
			t.Fatalf("%q came for %q: %v", got, text, err)
		}
	}
	pass(c, b, "there")
	pass(b, c, "and back")
	g.cut()
	for _, from := range []net.Conn{b, c} {
		if _, err := from.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "what is sent either way to wait at the cut", func(context.Context) error {
		if n := g.stands.Load(); n != 2 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	for _, to := range []net.Conn{b, c} {
		if n, err := arrived(t, to); n != -1 || !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("%d bytes came through, %v; want nothing, and no end", n, err)
		}
	}
	g.heal()
	for _, to := range []net.Conn{b, c} {
		got := make([]byte, 4)
		if _, err := io.ReadFull(to, got); err != nil || string(got) != "late" {
			t.Errorf("what waited did not come, but %q, %v", got, err)
		}
	}
}

// arrived looks for what can be read at once, and leaves it there; 0 is the end.
func arrived(t *testing.T, c net.Conn) (n int, err error) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Read(func(fd uintptr) bool {
		n, _, err = syscall.Recvfrom(int(fd), make([]byte, 64), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}); failed != nil {
		t.Fatal(failed)
	}
	return n, err
}
