package session_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
)

// slowLink carries bytes to an address and back; those that come from there
// with at most rate bytes a second, and little is under way.
func slowLink(t *testing.T, to string, rate int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex // guards ends
	var ends []net.Conn
	carry := func(dst, src net.Conn, rate int) {
		defer dst.Close()
		b := make([]byte, 16<<10)
		for {
			n, err := src.Read(b)
			if err != nil {
				return
			}
			if rate > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
			}
			if _, err := dst.Write(b[:n]); err != nil {
				return
			}
		}
	}
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			_ = far.(*net.TCPConn).SetReadBuffer(64 << 10)
			mu.Lock()
			ends = append(ends, near, far)
			mu.Unlock()
			running.Go(func() { carry(far, near, 0) })
			running.Go(func() { carry(near, far, rate) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range ends {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// A message that takes far longer over a slow link than a write may stand still
// arrives: bytes move. The kernel tells a writer only now and then.
func TestLongMessageOverASlowLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{limits: session.Limits{Write: time.Second}}, "n1")
	n1 := w.sites["n1"]
	conn, err := net.Dial("tcp", slowLink(t, n1.addr, 1<<20))
	must(t, err)
	slow := n1.greet(t, conn, wire.LongestPing)
	slow.enter(wire.Hello{SignIn: wire.SignIn{Name: "slow", Lease: wire.Duration(time.Hour)}})
	gui := n1.signIn(t, "gui")
	const size = 8 << 20
	gui.send(wire.Message{To: "slow", Conversation: [16]byte{1}, Payload: [][]byte{make([]byte, size)}})
	m, err := slow.patiently()
	if err != nil || m.Size() != size {
		t.Errorf("%d bytes came to %q, error %v; the hub counts %v", m.Size(), m.To, err, n1.hub.Counts())
	}
}

// A message of exactly the largest size passes the native door both ways.
func TestLargestMessage(t *testing.T) {
	w := newWorld(t, settings{}, "n1")
	n1 := w.sites["n1"]
	enter := func(name string) *guest {
		g := n1.dial(t, wire.LongestPing)
		g.enter(wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}})
		_ = g.conn.SetWriteDeadline(time.Time{})
		return g
	}
	gui, store := enter("gui"), enter("store")
	payload := make([]byte, wire.MaxMessage)
	payload[0], payload[len(payload)-1] = 1, 2
	frame, err := wire.AppendFrame(nil, &wire.Message{To: "n1.store", ID: 1, Payload: [][]byte{payload}})
	must(t, err)
	wrote := make(chan error, 1)
	go func() {
		for at := 0; at < len(frame); {
			var b []byte
			b, at = wire.AppendChunk(nil, 1, frame, at)
			if _, err := gui.conn.Write(b); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	m, err := store.patiently()
	if err != nil || m.Size() != wire.MaxMessage || m.Payload[0][0] != 1 || m.Payload[0][len(payload)-1] != 2 {
		t.Errorf("%d bytes came to %q, error %v, want %d bytes", m.Size(), m.To, err, wire.MaxMessage)
	}
	must(t, <-wrote)
	if m, err := gui.patiently(); err != nil || m.Type != wire.TypeReceipt {
		t.Errorf("its sender was told %.300s, error %v", m.Payload, err)
	}
}
