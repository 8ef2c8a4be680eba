package zmtp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve starts a ROUTER for a test.
func serve(t *testing.T, cfg zmtp.Config, handle func(*zmtp.Conn)) *zmtp.Server {
	t.Helper()
	cfg.Socket = "ROUTER"
	s := zmtp.Serve(listen(t), cfg, handle)
	t.Cleanup(s.Close)
	return s
}

// echo sends back what comes.
func echo(c *zmtp.Conn) {
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		if c.SendWait(context.Background(), m...) != nil {
			return
		}
	}
}

func dial(t *testing.T, addr string, cfg zmtp.Config) *zmtp.Conn {
	t.Helper()
	cfg.Socket = "DEALER"
	c, err := zmtp.Dial(t.Context(), addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answers(t *testing.T, c *zmtp.Conn, frames ...[]byte) {
	t.Helper()
	if err := c.SendWait(t.Context(), frames...); err != nil {
		t.Fatal(err)
	}
	got, err := c.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(frames) {
		t.Fatalf("sent %d frames, got %d back", len(frames), len(got))
	}
	for i := range got {
		if !bytes.Equal(got[i], frames[i]) {
			t.Errorf("frame %d: sent %d bytes, got %d others back", i, len(frames[i]), len(got[i]))
		}
	}
}

// Frames of every size arrive as they were sent.
func TestFramesArriveAsSent(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t, zmtp.Config{}, echo).Addr(), zmtp.Config{})
	for _, n := range []int{0, 1, 255, 256, 65_535, 65_537, 3_000_000} {
		answers(t, c, bytes.Repeat([]byte{byte(n)}, n), []byte{}, bytes.Repeat([]byte{1}, n/2))
	}
}

// raw is a connection that has said hello by hand.
func raw(t *testing.T, addr, hello string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, hello); err != nil {
		t.Fatal(err)
	}
	return conn
}

const (
	signature = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"
	version31 = "\x03\x01"
)

func hello(mechanism string) string {
	g := make([]byte, 64)
	copy(g, signature+version31+mechanism)
	return string(g)
}

var dealer = hello("NULL") + readyOf("DEALER")

func readyOf(socket string) string {
	body := "\x05READY\x0bSocket-Type" + string(binary.BigEndian.AppendUint32(nil, uint32(len(socket)))) + socket
	return "\x04" + string([]byte{byte(len(body))}) + body
}

// What is not ZMTP, or is meant to break it, costs the sender its connection
// and nobody else anything.
func TestHostileInputEndsOneConnection(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{MaxFrames: 16, MaxMessage: 1 << 20}, echo)
	good := dial(t, s.Addr(), zmtp.Config{})
	for name, bytes := range map[string]string{
		"HTTP":                        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"ZMTP 2":                      signature + "\x01\x05",
		"CURVE":                       hello("CURVE") + readyOf("DEALER"),
		"a SUB at a ROUTER":           hello("NULL") + readyOf("SUB"),
		"no socket type":              hello("NULL") + "\x04\x06\x05READY",
		"READY cut inside a name":     hello("NULL") + "\x04\x0a\x05READY\x0bSoc",
		"READY cut inside a value":    hello("NULL") + "\x04\x18\x05READY\x0bSocket-Type\xff\xff\xff\xff\x00\x00",
		"a property without a name":   hello("NULL") + "\x04\x0b\x05READY\x00\x00\x00\x00\x00",
		"a message before READY":      hello("NULL") + "\x00\x01x",
		"READY of 2^62 bytes":         hello("NULL") + "\x06\x40\x00\x00\x00\x00\x00\x00\x00",
		"a frame of 2^62 bytes":       dealer + "\x02\x40\x00\x00\x00\x00\x00\x00\x00",
		"a frame of 2^64-1 bytes":     dealer + "\x02\xff\xff\xff\xff\xff\xff\xff\xff",
		"a frame above the limit":     dealer + "\x02\x00\x00\x00\x00\x00\x10\x00\x01",
		"reserved flags":              dealer + "\x80\x00",
		"a command with more":         dealer + "\x05\x00",
		"an empty command":            dealer + "\x04\x00",
		"a command name cut":          dealer + "\x04\x02\x09x",
		"a PING without TTL":          dealer + "\x04\x05\x04PING",
		"a long command":              dealer + "\x06\x00\x00\x00\x00\x00\x0f\xff\xff" + string(make([]byte, 0xfffff)),
		"READY twice":                 dealer + readyOf("DEALER"),
		"more frames than are let in": dealer + string(repeat("\x01\x01x", 17)),
	} {
		conn := raw(t, s.Addr(), bytes)
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
		answers(t, good, []byte(name))
	}
}

func repeat(s string, n int) (out []byte) {
	for range n {
		out = append(out, s...)
	}
	return out
}

// Silent connections hold up nobody, and of too many the oldest goes.
func TestSilentConnectionsHoldUpNobody(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{MaxPending: 8}, echo)
	first := raw(t, s.Addr(), "")
	for range 8 {
		raw(t, s.Addr(), "")
	}
	first.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.Copy(io.Discard, first); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("the oldest of too many silent connections is kept")
		}
	}
	answers(t, dial(t, s.Addr(), zmtp.Config{}), []byte("hello"))
}

// A handshake that is not finished in time ends.
func TestHandshakeHasATime(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{Handshake: 50 * time.Millisecond}, echo)
	conn := raw(t, s.Addr(), signature)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the end of a slow handshake: got %v, want the end of the stream", err)
	}
}

// A peer that does not read fills its own queue and no other's.
func TestSlowReaderIsBusyAlone(t *testing.T) {
	t.Parallel()
	peers := make(chan *zmtp.Conn, 2)
	s := serve(t, zmtp.Config{MaxQueue: 1 << 20}, func(c *zmtp.Conn) {
		peers <- c
		echo(c)
	})
	slow := raw(t, s.Addr(), dealer)
	stuck := <-peers
	var err error
	for i := 0; err == nil; i++ {
		if i > 1000 {
			t.Fatal("64 MiB were queued for a peer that does not read")
		}
		err = stuck.Send(make([]byte, 64<<10))
	}
	if !errors.Is(err, zmtp.ErrFull) {
		t.Errorf("got %v, want %v", err, zmtp.ErrFull)
	}
	answers(t, dial(t, s.Addr(), zmtp.Config{}), []byte("others go on"))
	sent := make(chan error, 1)
	go func() { sent <- stuck.SendWait(context.Background(), []byte("later")) }()
	go io.Copy(io.Discard, slow)
	if err := <-sent; err != nil {
		t.Errorf("once it reads there is room: got %v", err)
	}
}

// A peer that answered PINGs and does not any more is dead; one that never did
// is not judged by that.
func TestSilenceIsDeathOnlyForThoseWhoAnswer(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 2)
	s := serve(t, zmtp.Config{Ping: 20 * time.Millisecond, Silence: 90 * time.Millisecond}, func(c *zmtp.Conn) {
		_, err := c.Receive()
		ended <- err
	})
	raw(t, s.Addr(), dealer) // never answers
	start := time.Now()
	raw(t, s.Addr(), dealer+"\x04\x05\x04PONG")
	if err := <-ended; !errors.Is(err, zmtp.ErrDead) {
		t.Errorf("got %v, want %v", err, zmtp.ErrDead)
	}
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("dead after %v, before its time", took)
	}
	select {
	case err := <-ended:
		t.Errorf("the one that never answered ended: %v", err)
	case <-time.After(300 * time.Millisecond): // several silences
	}
}

// Two of us keep a quiet connection.
func TestQuietConnectionLives(t *testing.T) {
	t.Parallel()
	quick := zmtp.Config{Ping: 20 * time.Millisecond, Silence: 90 * time.Millisecond}
	heard := make(chan *zmtp.Conn, 1)
	c := dial(t, serve(t, quick, func(c *zmtp.Conn) { heard <- c; echo(c) }).Addr(), quick)
	go func() { (<-heard).Send([]byte("after a while")) }()
	for range 2 { // the second comes after several silences
		if _, err := c.Receive(); err != nil {
			t.Fatalf("the connection ended: %v", err)
		}
		start := time.Now()
		for time.Since(start) < 300*time.Millisecond {
			select {
			case <-c.Done():
				t.Fatalf("the connection ended: %v", c.Err())
			case <-time.After(20 * time.Millisecond):
			}
			c.Send([]byte("x"))
		}
	}
}

// A PING is answered with its context.
func TestPingIsAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{Ping: time.Hour}, echo)
	conn := raw(t, s.Addr(), dealer+"\x04\x0a\x04PING\x00\x00abc")
	want := "\x04\x08\x04PONGabc"
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var got bytes.Buffer
	for !bytes.HasSuffix(got.Bytes(), []byte(want)) {
		if _, err := io.CopyN(&got, conn, 1); err != nil {
			t.Fatalf("got %q and then %v, want %q", got.Bytes(), err, want)
		}
	}
}

// End writes what is queued before the connection goes.
func TestEndWritesWhatIsQueued(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{}, func(c *zmtp.Conn) {
		for i := range 100 {
			c.Send(fmt.Append(nil, i), make([]byte, 10_000))
		}
		c.End(5 * time.Second)
	})
	c := dial(t, s.Addr(), zmtp.Config{})
	n := 0
	for {
		if _, err := c.Receive(); err != nil {
			break
		}
		n++
	}
	if n != 100 {
		t.Errorf("got %d messages, want 100", n)
	}
}

// Whatever bytes come, reading them ends in messages that were really there.
func FuzzReader(f *testing.F) {
	f.Add(zmtp.AppendMessage(nil, []byte("a"), []byte{}, make([]byte, 300)))
	f.Add([]byte("\x02\x40\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x04\x05\x04PING\x01\x01x\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		messages, err := zmtp.ReadAll(bytes.NewReader(b), 1<<20, 8)
		if err == nil {
			t.Fatal("no error at the end of the stream")
		}
		var again []byte
		size := 0
		for _, m := range messages {
			if len(m) == 0 || len(m) > 8 {
				t.Fatalf("a message of %d frames", len(m))
			}
			for _, frame := range m {
				size += len(frame)
			}
			again = zmtp.AppendMessage(again, m...)
		}
		if size > len(b) {
			t.Fatalf("%d bytes out of %d", size, len(b))
		}
		same, _ := zmtp.ReadAll(bytes.NewReader(again), 1<<20, 8)
		if fmt.Sprint(same) != fmt.Sprint(messages) {
			t.Fatalf("messages change when they are written and read again")
		}
	})
}
