package peer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// RaftLayer has the shape of raft's StreamLayer, but for its address type.
var _ interface {
	net.Listener
	Dial(addr string, timeout time.Duration) (net.Conn, error)
} = (*peer.RaftLayer)(nil)

// open starts the port of coordinator id on a free loopback port.
func open(t testing.TB, id string, change ...func(*peer.Config)) *peer.Port {
	t.Helper()
	hello := peer.Hello{Cluster: "c1", ServerID: id + "/a", ID: id, Boot: 1}
	cfg := peer.Config{Addr: "127.0.0.1:0", Self: func() peer.Hello { return hello }}
	for _, f := range change {
		f(&cfg)
	}
	p, err := peer.Listen(cfg)
	if err != nil {
		t.Fatalf("open port of %s: %v", id, err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func limits(l peer.Limits) func(*peer.Config) { return func(c *peer.Config) { c.Limits = l } }

func says(h peer.Hello) func(*peer.Config) {
	return func(c *peer.Config) { c.Self = func() peer.Hello { return h } }
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls a condition of the real world for at most a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("after a minute still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func wantCode(t testing.TB, situation string, err error, want wire.Code) {
	t.Helper()
	if got := wire.CodeOf(err); got != want {
		t.Errorf("%s: got code %q (%v), want %q", situation, got, err, want)
	}
}

func wantText(t testing.TB, situation string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got error %v, want one that says %q", situation, err, want)
	}
}

func echo(_ context.Context, _ peer.Hello, body []byte) ([]byte, error) { return body, nil }

// A call brings the body there, says who calls, and brings the answer back.
func TestCall(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	n2.Handle("greet", func(_ context.Context, from peer.Hello, body []byte) ([]byte, error) {
		return fmt.Appendf(nil, "%s from %s", body, from.ServerID), nil
	})
	got, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "greet", []byte("hello"))
	if want := "hello from n1/a"; err != nil || string(got) != want {
		t.Errorf("call: got %q, %v; want %q", got, err, want)
	}
}

// The own address is answered in the process, with the same promises.
func TestCallOfItself(t *testing.T) {
	t.Parallel()
	n1 := open(t, "n1", func(c *peer.Config) { c.Advertise = "no-such-name.invalid:0" })
	n1.Handle("greet", func(_ context.Context, from peer.Hello, body []byte) ([]byte, error) {
		body[0] = 'J'
		return fmt.Appendf(nil, "%s from %s", body, from.ID), nil
	})
	n1.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for _, addr := range []string{n1.Advertise(), n1.Addr()} {
		body := []byte("hello")
		got, err := n1.Call(within(t, 10*time.Second), addr, "greet", body)
		if want := "Jello from n1"; err != nil || string(got) != want || string(body) != "hello" {
			t.Errorf("call of %s: got %q, %v, body afterwards %q; want %q and the body as it was", addr, got, err, body, want)
		}
	}
	_, err := n1.Call(within(t, 20*time.Millisecond), n1.Addr(), "wait", nil)
	wantCode(t, "own call past its deadline", err, wire.CodeUnknown)
	_, err = n1.Call(within(t, 10*time.Second), n1.Addr(), "nothing", nil)
	wantCode(t, "own call of a method nobody handles", err, wire.CodeUnavailable)
}

// Ten thousand calls at once share one connection and are not mixed up.
func TestManyCalls(t *testing.T) {
	t.Parallel()
	const calls = 10_000
	l := limits(peer.Limits{MaxHandlers: calls, MaxQueue: calls})
	n1, n2 := open(t, "n1", l), open(t, "n2", l)
	n2.Handle("echo", echo)
	ctx := within(t, time.Minute)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			want := fmt.Sprint("body ", i)
			got, err := n1.Call(ctx, n2.Addr(), "echo", []byte(want))
			if err != nil || string(got) != want {
				t.Errorf("call %d of %d at once: got %q, %v; want %q", i, calls, got, err, want)
			}
		})
	}
	wg.Wait()
	if got := n2.Stats().Accepted; got != 1 {
		t.Errorf("after %d calls: got %d connections, want 1", calls, got)
	}
}

// What a handler refuses is what the caller gets; any other error is internal.
func TestErrorsTravel(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	refusal := &wire.Error{Code: wire.CodeNameTaken, Message: "someone has that name", Field: "name", RetryAfter: time.Second}
	n2.Handle("refuse", func(context.Context, peer.Hello, []byte) ([]byte, error) {
		return nil, fmt.Errorf("sign in: %w", refusal)
	})
	n2.Handle("break", func(context.Context, peer.Hello, []byte) ([]byte, error) { return nil, errors.New("disk on fire") })
	n2.Handle("late", func(context.Context, peer.Hello, []byte) ([]byte, error) { return nil, context.DeadlineExceeded })
	n2.Handle("panic", func(context.Context, peer.Hello, []byte) ([]byte, error) { panic("a bug") })
	n2.Handle("long", func(context.Context, peer.Hello, []byte) ([]byte, error) { return make([]byte, 5<<20), nil })
	n2.Handle("echo", echo)
	ctx := within(t, 10*time.Second)
	_, err := n1.Call(ctx, n2.Addr(), "refuse", nil)
	var got *wire.Error
	if !errors.As(err, &got) || *got != *refusal {
		t.Errorf("a refusal: got %#v, want %#v", err, refusal)
	}
	for _, c := range []struct {
		method string
		want   wire.Code
	}{
		{"break", wire.CodeInternal},
		{"panic", wire.CodeInternal},
		{"late", wire.CodeUnknown},
		{"long", wire.CodeInternal},
		{"nothing", wire.CodeUnavailable},
		{"", wire.CodeInvalid},
		{strings.Repeat("m", 256), wire.CodeInvalid},
	} {
		_, err := n1.Call(ctx, n2.Addr(), c.method, nil)
		wantCode(t, "method "+c.method, err, c.want)
	}
	_, err = n1.Call(ctx, n2.Addr(), "echo", make([]byte, 4<<20))
	wantCode(t, "a body that fits no frame", err, wire.CodeTooLarge)
	big := make([]byte, 4<<20-100)
	if b, err := n1.Call(ctx, n2.Addr(), "echo", big); err != nil || len(b) != len(big) {
		t.Errorf("a body that just fits: got %d bytes, %v; want %d", len(b), err, len(big))
	}
}

// Raft streams and links carry bytes both ways, and say who is there.
func TestStreams(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2", func(c *peer.Config) { c.Advertise = "localhost:0" })
	if got, want := n2.RaftLayer().Addr().String(), n2.Advertise(); got != want || !strings.HasPrefix(got, "localhost:") {
		t.Errorf("address of the raft layer: got %s, want %s", got, want)
	}
	roundTrip := func(what string, a, b net.Conn) {
		t.Helper()
		for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
			text := []byte("over the " + what)
			if _, err := c[0].Write(text); err != nil {
				t.Errorf("write to %s: %v", what, err)
			}
			got := make([]byte, len(text))
			if _, err := io.ReadFull(c[1], got); err != nil || string(got) != string(text) {
				t.Errorf("read from %s: got %q, %v; want %q", what, got, err, text)
			}
		}
		a.Close()
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s closed by the other side: still readable", what)
		}
		b.Close()
	}

	a, to, err := n1.DialLink(within(t, 10*time.Second), n2.Advertise(), "n2")
	if err != nil || to.ServerID != "n2/a" {
		t.Fatalf("dial link: got %+v, %v; want n2/a", to, err)
	}
	b, from, err := n2.AcceptLink()
	if err != nil || from.ServerID != "n1/a" {
		t.Fatalf("accept link: got %+v, %v; want n1/a", from, err)
	}
	roundTrip("link", a, b)

	if a, err = n1.RaftLayer().Dial(n2.Addr(), 10*time.Second); err != nil {
		t.Fatalf("dial raft: %v", err)
	}
	if b, err = n2.RaftLayer().Accept(); err != nil {
		t.Fatalf("accept raft: %v", err)
	}
	roundTrip("raft stream", a, b)
	eventually(t, "closed streams are forgotten", func() bool { return n2.Stats().Accepted == 0 })
}

// Whoever asks hears of the end of each raft stream that was accepted, with its
// dialer, and not of those dialed from here.
func TestEndOfRaftStreamsIsTold(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	ended := make(chan string, 16)
	n2.RaftLayer().OnStreamClosed(func(id string) { ended <- id })
	stream := func(from, to *peer.Port) (dialed, accepted net.Conn) {
		t.Helper()
		dialed, err := from.RaftLayer().Dial(to.Addr(), 10*time.Second)
		if err != nil {
			t.Fatalf("dial raft: %v", err)
		}
		if accepted, err = to.RaftLayer().Accept(); err != nil {
			t.Fatalf("accept raft: %v", err)
		}
		return dialed, accepted
	}
	out, far := stream(n2, n1)
	out.Close()
	far.Close()
	for range 2 {
		out, far = stream(n1, n2)
		out.Close()
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Error("a stream closed by the other side is still readable")
		}
		far.Close()
		select {
		case id := <-ended:
			if id != "n1/a" {
				t.Errorf("the stream of %s ended, want n1/a", id)
			}
		case <-within(t, 10*time.Second).Done():
			t.Fatal("the end of the stream is not told")
		}
	}
	n2.RaftLayer().OnStreamClosed(nil)
	out, far = stream(n1, n2)
	out.Close()
	far.Close()
	if len(ended) != 0 {
		t.Errorf("%d more ends were told, want none", len(ended))
	}
}

// An address refuses when its machine says that nobody listens; silence is no
// refusal.
func TestRefuses(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	if n1.RaftLayer().ConnectionRefused(within(t, 10*time.Second), n2.Addr()) {
		t.Error("an open port refuses")
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	n2.Close()
	if n1.RaftLayer().ConnectionRefused(over, n2.Addr()) {
		t.Error("a question that was given up counts as refused")
	}
	if !n1.RaftLayer().ConnectionRefused(within(t, 10*time.Second), n2.Addr()) {
		t.Error("a closed port does not refuse")
	}
}

// Closing the raft layer ends raft's streams of both directions, which raft
// itself leaves open, and nothing else.
func TestRaftLayerClose(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	n2.Handle("echo", echo)
	out, err := n2.RaftLayer().Dial(n1.Addr(), 10*time.Second)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer out.Close()
	far, err := n1.RaftLayer().Dial(n2.Addr(), 10*time.Second)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer far.Close()
	in, err := n2.RaftLayer().Accept()
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	n2.RaftLayer().Close()
	for what, c := range map[string]net.Conn{"inbound": in, "outbound": out} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s stream after Close: read error %v, want %v", what, err, net.ErrClosed)
		}
	}
	if _, err := n2.RaftLayer().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after Close: got %v, want %v", err, net.ErrClosed)
	}
	_, err = n1.RaftLayer().Dial(n2.Addr(), 10*time.Second)
	wantCode(t, "a raft stream to a closed layer", err, wire.CodeUnavailable)
	if _, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil); err != nil {
		t.Errorf("a call after the raft layer was closed: %v", err)
	}
}

// Close ends what waits in AcceptLink, in handlers and in calls.
func TestClose(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2")
	inside := make(chan struct{})
	n2.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) {
		close(inside)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	accepts, calls := make(chan error, 1), make(chan error, 1)
	go func() { _, _, err := n2.AcceptLink(); accepts <- err }()
	go func() { _, err := n1.Call(context.Background(), n2.Addr(), "wait", nil); calls <- err }()
	link, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), "")
	if err != nil {
		t.Fatalf("dial link: %v", err)
	}
	if err := <-accepts; err != nil {
		t.Errorf("accept link: %v", err)
	}
	go func() { _, _, err := n2.AcceptLink(); accepts <- err }()
	<-inside
	if err := n2.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-accepts; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept link at close: got %v, want %v", err, net.ErrClosed)
	}
	wantCode(t, "a call under way when the other side closes", <-calls, wire.CodeUnknown)
	if _, err := link.Read(make([]byte, 1)); err == nil {
		t.Error("a link whose other side closed: still readable")
	}
	_, err = n2.Call(within(t, time.Second), n1.Addr(), "echo", nil)
	wantCode(t, "a call from a closed port", err, wire.CodeUnavailable)
	if _, _, err = n2.DialLink(within(t, time.Second), n1.Addr(), ""); err == nil {
		t.Error("a link from a closed port: got no error")
	}
}

// A port that listens everywhere cannot guess what others dial.
func TestListenRefuses(t *testing.T) {
	t.Parallel()
	self := func() peer.Hello { return peer.Hello{ID: "n1"} }
	for _, c := range []struct {
		want string
		cfg  peer.Config
	}{
		{"needs an address to advertise", peer.Config{Addr: ":0", Self: self}},
		{"Self is missing", peer.Config{Addr: "127.0.0.1:0"}},
		{"advertise", peer.Config{Addr: "127.0.0.1:0", Advertise: "n1", Self: self}},
	} {
		p, err := peer.Listen(c.cfg)
		if err == nil {
			p.Close()
		}
		wantText(t, "listen", err, c.want)
	}
}

// The pause after failed dials ends when the other side is heard: it opens a
// connection of its own, or is reached for something else.
func TestAPauseEndsWithASignOfLife(t *testing.T) {
	t.Parallel()
	long := limits(peer.Limits{MaxBackoff: time.Hour}) // no pause below 90 s
	for _, c := range []struct {
		sign string
		give func(n1, n2 *peer.Port) error
	}{
		{"it calls", func(n1, n2 *peer.Port) error {
			_, err := n2.Call(within(t, 10*time.Second), n1.Addr(), "echo", nil)
			return err
		}},
		{"it is reached for a link", func(n1, n2 *peer.Port) error {
			conn, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), "n2")
			if err == nil {
				conn.Close()
			}
			return err
		}},
	} {
		n1, n2 := open(t, "n1", long), open(t, "n2")
		n1.Handle("echo", echo)
		ask := func() error {
			_, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil)
			return err
		}
		n2.Handle("echo", echo)
		if err := ask(); err != nil {
			t.Fatalf("call before: %v", err)
		}
		addr := n2.Addr()
		n2.Close()
		eventually(t, "calls wait for the pause", func() bool {
			err := ask()
			return err != nil && strings.Contains(err.Error(), "not tried again yet")
		})
		back := open(t, "n2", func(cfg *peer.Config) { cfg.Addr = addr })
		back.Handle("echo", echo)
		n2 = back
		wantText(t, "call before the sign of life", ask(), "not tried again yet")
		if err := c.give(n1, n2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a call goes through after "+c.sign, func() bool { return ask() == nil })
	}
}

// Streams of raft that were opened to a server before a moment can be ended, and
// those that it opens are told of.
func TestOldStreamsAreCut(t *testing.T) {
	t.Parallel()
	n1, n2, n3 := open(t, "n1"), open(t, "n2"), open(t, "n3")
	begun := make(chan string, 10)
	n2.RaftLayer().OnStreamOpened(func(id string) { begun <- id })
	dial := func(to *peer.Port) net.Conn {
		c, err := n1.RaftLayer().Dial(to.Addr(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := to.RaftLayer().Accept(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	old, other := dial(n2), dial(n3)
	time.Sleep(2 * time.Millisecond) // that the clock has moved on
	moment := time.Now()
	late := dial(n2)
	n1.RaftLayer().CloseStreams("n2/a", moment)
	for _, c := range []struct {
		what string
		conn net.Conn
		want error
	}{{"from before", old, net.ErrClosed}, {"to another", other, nil}, {"from after", late, nil}} {
		if err := c.conn.SetReadDeadline(time.Now().Add(time.Minute)); !errors.Is(err, c.want) {
			t.Errorf("the stream %s: %v, want %v", c.what, err, c.want)
		}
	}
	for range 2 {
		if id := <-begun; id != "n1/a" {
			t.Errorf("a stream of %q is told of, want n1/a", id)
		}
	}
}
