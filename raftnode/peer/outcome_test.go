package peer_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// A call nobody could be dialed for was certainly not tried.
func TestOutcomeRefusedDial(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	n1 := open(t, "n1")
	_, err = n1.Call(within(t, 10*time.Second), nobody, "echo", nil)
	wantCode(t, "refused dial", err, wire.CodeUnavailable)
	_, err = n1.Call(within(t, 10*time.Second), "no-such-name.invalid:7300", "echo", nil)
	wantCode(t, "a name nobody knows", err, wire.CodeUnavailable)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = n1.Call(over, nobody, "echo", nil)
	wantCode(t, "a context that is over", err, wire.CodeUnavailable)
}

// After a failed dial calls fail at once, and say when the next one is made.
// Once somebody listens, they get through again.
func TestRedial(t *testing.T) {
	t.Parallel()
	n2 := open(t, "n2")
	addr := n2.Addr()
	n2.Close()
	n1 := open(t, "n1")
	var waits []time.Duration
	eventually(t, "a call is refused because of the back-off", func() bool {
		_, err := n1.Call(within(t, 10*time.Second), addr, "echo", nil)
		wantCode(t, "nobody listens", err, wire.CodeUnavailable)
		var e *wire.Error
		if errors.As(err, &e) && e.RetryAfter > 0 {
			waits = append(waits, e.RetryAfter)
		}
		return len(waits) > 0
	})
	if waits[0] > time.Second {
		t.Errorf("back-off: got %s, want at most a second", waits[0])
	}
	n2 = open(t, "n2", func(c *peer.Config) { c.Addr = addr })
	n2.Handle("echo", echo)
	eventually(t, "a call gets through to the one that is back", func() bool {
		_, err := n1.Call(within(t, 10*time.Second), addr, "echo", nil)
		return err == nil
	})
}

// A call that left has an unknown outcome when its deadline passes; the
// handler is told, at the same deadline or when the caller gives up.
func TestOutcomeDeadline(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	entered, left := make(chan time.Duration, 1), make(chan error, 1)
	n2.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) {
		remaining := time.Duration(-1)
		if d, ok := ctx.Deadline(); ok {
			remaining = time.Until(d)
		}
		entered <- remaining
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	})
	_, err := n1.Call(within(t, 200*time.Millisecond), n2.Addr(), "wait", nil)
	wantCode(t, "deadline passed", err, wire.CodeUnknown)
	if got := <-entered; got <= 0 || got > 200*time.Millisecond {
		t.Errorf("remaining time at the handler: got %s, want up to 200ms", got)
	}
	if err := <-left; err == nil {
		t.Error("the handler's context had no error at the end")
	}

	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		if got := <-entered; got != -1 {
			t.Errorf("a call without a deadline: the handler has %s", got)
		}
		cancel()
	}()
	_, err = n1.Call(ctx, n2.Addr(), "wait", nil)
	wantCode(t, "the caller gave up", err, wire.CodeUnknown)
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler of a caller that gave up: context ended with %v, want %v", err, context.Canceled)
	}
}

// A call whose connection is cut while the handler works is unknown, and the
// handler's context ends.
func TestOutcomeKilledMidCall(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	entered, left := make(chan struct{}), make(chan struct{})
	n2.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return nil, nil
	})
	between := relay(t, n2.Addr())
	result := make(chan error, 1)
	go func() {
		_, err := n1.Call(context.Background(), between.addr, "wait", nil)
		result <- err
	}()
	<-entered
	between.cut()
	wantCode(t, "connection cut in a call", <-result, wire.CodeUnknown)
	<-left
}

// A peer that falls silent without closing is found out by the pings.
func TestSilentPeerIsFoundOut(t *testing.T) {
	t.Parallel()
	fake := fakePeer(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	n1 := open(t, "n1", limits(peer.Limits{PingInterval: 50 * time.Millisecond}))
	_, err := n1.Call(within(t, 10*time.Second), fake, "echo", nil)
	wantCode(t, "nothing comes back, not even a pong", err, wire.CodeUnknown)
	wantText(t, "nothing comes back, not even a pong", err, "timeout")
}

// Pings keep a connection up on which nobody calls for long.
func TestIdleConnectionStaysUp(t *testing.T) {
	t.Parallel()
	l := limits(peer.Limits{PingInterval: 300 * time.Millisecond})
	n1, n2 := open(t, "n1", l), open(t, "n2", l)
	n2.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) {
		select {
		case <-time.After(1500 * time.Millisecond): // more than four intervals
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	if _, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "wait", nil); err != nil {
		t.Errorf("a long call on an otherwise silent connection: %v", err)
	}
}

// Behind a peer that does not read, calls wait in a queue bounded by number
// and bytes: what does not fit is refused busy, what never left is unavailable,
// the rest unknown.
func TestOutcomeQueue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limits peer.Limits
		queued int
		busy   string
	}{
		{peer.Limits{MaxQueue: 4, MaxQueueBytes: 64 << 20}, 4, "4 frames"},
		{peer.Limits{MaxQueueBytes: 7 << 20}, 2, "2 frames with 62"},
	} {
		stop, begun := make(chan struct{}), make(chan struct{})
		fake := fakePeer(t, func(c net.Conn) {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10) // does not grow any more
			_, _ = io.ReadFull(c, make([]byte, 1))
			close(begun)
			<-stop
		})
		t.Cleanup(func() { close(stop) })
		c.limits.MaxFrame = 32 << 20
		c.limits.PingInterval = time.Minute // a write that stands still ends the connection after four of them
		n1 := open(t, "n1", limits(c.limits))
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		outcomes := map[wire.Code][]error{}
		number := func(code wire.Code) int {
			mu.Lock()
			defer mu.Unlock()
			return len(outcomes[code])
		}
		var wg sync.WaitGroup
		call := func(body []byte) {
			wg.Go(func() {
				_, err := n1.Call(ctx, fake, "echo", body)
				mu.Lock()
				defer mu.Unlock()
				outcomes[wire.CodeOf(err)] = append(outcomes[wire.CodeOf(err)], err)
			})
		}
		call(make([]byte, 16<<20)) // more than the sockets hold: nothing leaves behind it
		<-begun
		body := make([]byte, 3<<20)
		eventually(t, "the queue is full", func() bool {
			call(body)
			return number(wire.CodeBusy) > 0
		})
		cancel()
		wg.Wait()
		wantText(t, "the first call that found no room", outcomes[wire.CodeBusy][0], c.busy)
		if got := number(wire.CodeUnavailable); got < c.queued {
			t.Errorf("calls that never left: got %d unavailable, want at least %d, the length of the queue", got, c.queued)
		}
		if got := number(wire.CodeUnknown); got != 1 {
			t.Errorf("calls that left: got %d unknown, want 1", got)
		}
	}
}

// When a write fails half-way, the frames that no byte left of are certain.
func TestOutcomeHalfWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		written int
		want    []bool
	}{
		{0, []bool{false, false, false}},
		{1, []bool{true, false, false}},
		{100, []bool{true, false, false}},
		{101, []bool{true, true, false}},
		{299, []bool{true, true, true}},
	} {
		if got := peer.SentOf([]int{100, 100, 100}, c.written); !slices.Equal(got, c.want) {
			t.Errorf("three frames of 100 bytes, %d bytes written: got %v to have left, want %v", c.written, got, c.want)
		}
	}
}

// Too many handlers at once: the next call is refused busy, on the connection
// and in the process.
func TestOutcomeBusy(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2", limits(peer.Limits{MaxHandlers: 1}))
	entered, release := make(chan struct{}, 2), make(chan struct{})
	n2.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) {
		entered <- struct{}{}
		<-release
		return nil, nil
	})
	first := make(chan error, 2)
	for _, from := range []*peer.Port{n1, n2} {
		go func() {
			_, err := from.Call(context.Background(), n2.Addr(), "wait", nil)
			first <- err
		}()
		<-entered
		_, err := from.Call(within(t, 10*time.Second), n2.Addr(), "wait", nil)
		wantCode(t, "a second call while one runs", err, wire.CodeBusy)
	}
	close(release)
	for range 2 {
		if err := <-first; err != nil {
			t.Errorf("the call that ran: %v", err)
		}
	}
}

// A coordinator that learns its cluster says so on the next call's connection;
// calls under way are not disturbed.
func TestHelloChanges(t *testing.T) {
	t.Parallel()
	var cluster atomic.Value
	cluster.Store("")
	n1 := open(t, "n1", func(c *peer.Config) {
		c.Self = func() peer.Hello { return peer.Hello{Cluster: cluster.Load().(string), ID: "n1"} }
	})
	n2 := open(t, "n2")
	entered, release := make(chan struct{}), make(chan struct{})
	n2.Handle("wait", func(ctx context.Context, from peer.Hello, _ []byte) ([]byte, error) {
		close(entered)
		<-release
		return nil, ctx.Err()
	})
	n2.Handle("cluster", func(_ context.Context, from peer.Hello, _ []byte) ([]byte, error) { return []byte(from.Cluster), nil })
	waiting := make(chan error, 1)
	go func() {
		_, err := n1.Call(context.Background(), n2.Addr(), "wait", nil)
		waiting <- err
	}()
	<-entered
	for _, want := range []string{"", "c1"} {
		cluster.Store(want)
		got, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "cluster", nil)
		if err != nil || string(got) != want {
			t.Errorf("cluster as the other side knows it: got %q, %v; want %q", got, err, want)
		}
	}
	close(release)
	if err := <-waiting; err != nil {
		t.Errorf("the call that was under way: %v", err)
	}
	eventually(t, "the old connection is closed", func() bool { return n2.Stats().Accepted == 1 })
}

// fakePeer greets like a coordinator and leaves the rest to serve.
func fakePeer(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				head := make([]byte, 5)
				if _, err := io.ReadFull(c, head); err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[1:]))); err != nil {
					return
				}
				c.Write(hello('+', peer.Hello{Version: wire.Version, ID: "fake"}))
				serve(c)
			})
		}
	})
	return l.Addr().String()
}

// hello is a greeting as it goes over the wire.
func hello(first byte, v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{first}, uint32(len(body))), body...)
}

// between passes bytes on until it is cut.
type between struct {
	addr string
	cut  func()
}

func relay(t *testing.T, to string) between {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	cut := func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	}
	t.Cleanup(func() { cut(); wg.Wait() })
	wg.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				return
			}
			mu.Lock()
			open = append(open, a, b)
			mu.Unlock()
			wg.Go(func() { io.Copy(a, b) })
			wg.Go(func() { io.Copy(b, a) })
		}
	})
	return between{l.Addr().String(), cut}
}
