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
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
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
		"HTTP":                      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"ZMTP 2":                    signature + "\x01\x05",
		"CURVE":                     hello("CURVE") + readyOf("DEALER"),
		"a SUB at a ROUTER":         hello("NULL") + readyOf("SUB"),
		"no socket type":            hello("NULL") + "\x04\x06\x05READY",
		"READY cut inside a name":   hello("NULL") + "\x04\x0a\x05READY\x0bSoc",
		"READY cut inside a value":  hello("NULL") + "\x04\x18\x05READY\x0bSocket-Type\xff\xff\xff\xff\x00\x00",
		"a property without a name": hello("NULL") + "\x04\x0b\x05READY\x00\x00\x00\x00\x00",
		"a message before READY":    hello("NULL") + "\x00\x01x",
		"READY of 2^62 bytes":       hello("NULL") + "\x06\x40\x00\x00\x00\x00\x00\x00\x00",
		"a frame of 2^62 bytes":     dealer + "\x02\x40\x00\x00\x00\x00\x00\x00\x00",
		"a frame of 2^64-1 bytes":   dealer + "\x02\xff\xff\xff\xff\xff\xff\xff\xff",
		"reserved flags":            dealer + "\x80\x00",
		"a command with more":       dealer + "\x05\x00",
		"an empty command":          dealer + "\x04\x00",
		"a command name cut":        dealer + "\x04\x02\x09x",
		"a PING without TTL":        dealer + "\x04\x05\x04PING",
		"a long command":            dealer + "\x06\x00\x00\x00\x00\x00\x0f\xff\xff" + string(make([]byte, 0xfffff)),
		"READY twice":               dealer + readyOf("DEALER"),
	} {
		before := s.Ends()
		conn := raw(t, s.Addr(), bytes)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
		answers(t, good, []byte(name))
		want := before
		if strings.HasPrefix(bytes, dealer) {
			want.Broken++
		} else {
			want.Refused++
		}
		for end := time.Now().Add(time.Minute); s.Ends() != want; runtime.Gosched() {
			if time.Now().After(end) {
				t.Errorf("%s: counted as %+v, before %+v", name, s.Ends(), before)
				break
			}
		}
	}
}

// oneConn is a listener with one connection.
type oneConn struct{ conns chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// piped starts a server with one peer, who has shaken hands by hand; what comes
// to that one is thrown away if drain, else never read.
func piped(t *testing.T, drain bool, handle func(*zmtp.Conn)) (peer net.Conn, s *zmtp.Server) {
	t.Helper()
	peer, theirs := net.Pipe()
	l := oneConn{conns: make(chan net.Conn, 1)}
	l.conns <- theirs
	close(l.conns)
	s = zmtp.Serve(l, zmtp.Config{Socket: "ROUTER"}, handle)
	t.Cleanup(func() { peer.Close(); s.Close() })
	first := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, peer, int64(len(zmtp.Handshake(1, "ROUTER", ""))))
		first <- err
	}()
	if _, err := io.WriteString(peer, dealer); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if drain {
		go io.Copy(io.Discard, peer)
	}
	return peer, s
}

// A message that has begun must come on: a sender that trickles it is ended,
// one that is slow but steady is not.
func TestTrickledMessageEnds(t *testing.T) {
	t.Parallel()
	const size = 256 << 10
	begin := "\x02" + string(binary.BigEndian.AppendUint64(nil, size))
	start := func(t *testing.T) (net.Conn, *zmtp.Server, <-chan error) {
		got := make(chan error, 10)
		peer, s := piped(t, true, func(c *zmtp.Conn) {
			for err := error(nil); err == nil; got <- err {
				_, err = c.Receive()
			}
		})
		return peer, s, got
	}
	synctest.Test(t, func(t *testing.T) {
		peer, s, got := start(t)
		begun := time.Now()
		_, err := io.WriteString(peer, begin)
		for err == nil && time.Since(begun) < time.Hour {
			<-time.After(time.Second)
			_, err = peer.Write([]byte{1})
		}
		var fault zmtp.ProtocolError
		if err := <-got; !errors.As(err, &fault) {
			t.Errorf("the message ended with %v, want a fault of the sender", err)
		}
		if took := time.Since(begun); took < 30*time.Second || took > 33*time.Second {
			t.Errorf("a byte a second was borne for %v, want 30s", took)
		}
		synctest.Wait()
		if got := s.Ends(); got != (zmtp.Ends{Broken: 1}) {
			t.Errorf("counted as %+v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		peer, _, got := start(t)
		_, err := io.WriteString(peer, begin)
		for range 64 { // 4 KiB a second
			<-time.After(time.Second)
			if err == nil {
				_, err = peer.Write(make([]byte, size/64))
			}
		}
		if err != nil {
			t.Fatalf("a slow message: %v", err)
		}
		if err := <-got; err != nil {
			t.Fatalf("a slow message ended with %v", err)
		}
		<-time.After(time.Minute) // silence between two messages is no fault
		if _, err := io.WriteString(peer, "\x00\x01x"); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Errorf("after a minute: %v", err)
		}
	})
}

// A peer that reads nothing for Patience is cut off, and that is counted.
func TestPeerThatNeverReadsIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := piped(t, false, func(c *zmtp.Conn) {
			_ = c.Send(make([]byte, 1000))
			<-c.Done()
		})
		<-time.After(29 * time.Second)
		if got := s.Ends(); got != (zmtp.Ends{}) || s.Len() != 1 {
			t.Errorf("after 29s: %+v, %d connections", got, s.Len())
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if got := s.Ends(); got != (zmtp.Ends{CutOff: 1}) || s.Len() != 0 {
			t.Errorf("after 31s: %+v, %d connections", got, s.Len())
		}
	})
}

// Silent connections hold up nobody, and of too many the oldest goes.
func TestSilentConnectionsHoldUpNobody(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{MaxPending: 8}, echo)
	first := raw(t, s.Addr(), "")
	for range 8 {
		raw(t, s.Addr(), "")
	}
	first.SetReadDeadline(time.Now().Add(time.Minute))
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
	conn.SetReadDeadline(time.Now().Add(time.Minute))
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
	quick := zmtp.Config{Ping: 100 * time.Millisecond, Silence: time.Second}
	heard := make(chan *zmtp.Conn, 1)
	c := dial(t, serve(t, quick, func(c *zmtp.Conn) { heard <- c; echo(c) }).Addr(), quick)
	go func() { (<-heard).Send([]byte("after a while")) }()
	for range 2 { // the second comes after several silences
		if _, err := c.Receive(); err != nil {
			t.Fatalf("the connection ended: %v", err)
		}
		start := time.Now()
		for time.Since(start) < 3*time.Second {
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
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	var got bytes.Buffer
	for !bytes.HasSuffix(got.Bytes(), []byte(want)) {
		if _, err := io.CopyN(&got, conn, 1); err != nil {
			t.Fatalf("got %q and then %v, want %q", got.Bytes(), err, want)
		}
	}
}

// Shutdown writes what is queued before the connection closes.
func TestShutdownWritesWhatIsQueued(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{}, func(c *zmtp.Conn) {
		for i := range 100 {
			c.Send(fmt.Append(nil, i), make([]byte, 10_000))
		}
		c.Shutdown(5 * time.Second)
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

// Whatever bytes come, reading them ends in messages that were really there,
// and what is answered to them has a bound.
func FuzzReader(f *testing.F) {
	f.Add(zmtp.AppendMessage(nil, []byte("a"), []byte{}, make([]byte, 300)))
	f.Add([]byte("\x02\x40\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x04\x0a\x04PING\x01\x01abc\x01\x01x\x04\x05\x04PONG\x00\x00"))
	f.Add([]byte("\x04\x0c\x09SUBSCRIBEn1\x04\x08\x06CANCELn\x04\x03\x02ab"))
	f.Add([]byte(dealer[64:]))
	const maxBytes, maxFrames, queue = 1 << 20, 8, 64
	f.Fuzz(func(t *testing.T, b []byte) {
		messages, answers, err := zmtp.ReadAll(bytes.NewReader(b), maxBytes, maxFrames, queue)
		if err == nil {
			t.Fatal("no error at the end of the stream")
		}
		if answers > queue+zmtp.MaxCommands+20 {
			t.Fatalf("%d bytes of answers wait", answers)
		}
		var again []byte
		size := 0
		for _, m := range messages {
			if len(m) == 0 || len(m) > maxFrames {
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
		same, _, _ := zmtp.ReadAll(bytes.NewReader(again), maxBytes, maxFrames, queue)
		if fmt.Sprint(same) != fmt.Sprint(messages) {
			t.Fatalf("messages change when they are written and read again")
		}
	})
}

// Whatever a peer says first, it is no peer or one of those that are let in,
// and what it said of itself was read right.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(dealer))
	f.Add([]byte(hello("NULL") + readyOf("SUB")))
	f.Add(zmtp.Handshake(0, "ROUTER", "an identity"))
	f.Add([]byte(hello("CURVE")))
	f.Add([]byte(hello("NULL") + "\x04\x18\x05READY\x0bSocket-Type\xff\xff\xff\xff\x00\x00"))
	f.Add([]byte(hello("NULL") + "\x06\x00\x00\x00\x00\x00\x00\x00\x06\x05READY"))
	f.Add([]byte(hello("NULL") + "\x04\x08\x05ERROR\x01x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		minor, socket, identity, err := zmtp.ReadHandshake(bytes.NewReader(b), "DEALER", "ROUTER")
		if err != nil {
			return
		}
		if socket != "DEALER" && socket != "ROUTER" {
			t.Fatalf("a %s was let in", socket)
		}
		again := zmtp.Handshake(minor, socket, identity)
		if m, s, i, err := zmtp.ReadHandshake(bytes.NewReader(again), "DEALER", "ROUTER"); err != nil || m != minor || s != socket || i != identity {
			t.Fatalf("version %d, type %q, identity %q: said again they are %d, %q, %q, %v", minor, socket, identity, m, s, i, err)
		}
	})
}

// What a socket does not take of a flush leaves by the connection's goroutine:
// whole, in order, and there is room again.
func TestFlushAgainstAFullSocket(t *testing.T) {
	t.Parallel()
	const messages, size = 2000, 10_000 // 20 MB; the sockets and the queue hold less
	sent := make(chan error, 1)
	s := serve(t, zmtp.Config{MaxQueue: 1 << 20}, func(c *zmtp.Conn) {
		for i := range messages {
			if err := c.AddWait(context.Background(), fmt.Append(nil, i), make([]byte, size)); err != nil {
				sent <- err
				return
			}
			c.Flush()
		}
		sent <- nil
		_, _ = c.Receive()
	})
	c := dial(t, s.Addr(), zmtp.Config{})
	for i := range messages {
		if i%200 == 0 {
			time.Sleep(20 * time.Millisecond) // the sockets fill
		}
		m, err := c.Receive()
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if len(m) != 2 || string(m[0]) != fmt.Sprint(i) || len(m[1]) != size {
			t.Fatalf("in place of message %d came %.20q", i, m[0])
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A message above the limits is reported with what came of it, and skipped: what
// follows it on the connection arrives.
func TestMessageAboveTheLimitsIsSkipped(t *testing.T) {
	t.Parallel()
	got := make(chan string, 20)
	s := serve(t, zmtp.Config{MaxFrames: 4, MaxMessage: 100_000}, func(c *zmtp.Conn) {
		for {
			frames, err := c.Receive()
			var large *zmtp.TooLarge
			switch {
			case errors.As(err, &large):
				got <- fmt.Sprintf("%v; %q, %d of the next", err, large.Frames, len(large.Start))
			case err != nil:
				got <- fmt.Sprintf("ended: %v", err)
				return
			default:
				got <- fmt.Sprintf("%q", frames)
			}
		}
	})
	ping := string(append([]byte{4, 7, 4}, "PING\x00\x00"...))
	frame := func(n int) string { return string(zmtp.AppendMessage(nil, make([]byte, n))) }
	first := func(n int) string { // of several
		b := []byte(frame(n))
		b[0] |= 1
		return string(b)
	}
	sent := dealer
	var want []string
	add := func(message, report string) {
		sent += message + string(zmtp.AppendMessage(nil, fmt.Append(nil, len(want))))
		want = append(want, report, fmt.Sprintf("[%q]", fmt.Sprint(len(want))))
	}
	add(frame(100_001), "a message of 100001 bytes or more is above the limit of 100000; [], 4096 of the next")
	add("\x01\x01a"+first(60_000)[:1]+first(60_000)[1:]+first(50_000)+ping+first(70_000)+frame(3), "")
	want[2] = fmt.Sprintf("a message of 110001 bytes or more is above the limit of 100000; %q, 4096 of the next", [][]byte{[]byte("a"), make([]byte, 60_000)})
	add("\x01\x01a\x01\x01b\x01\x01c\x01\x01d\x01\x01e\x01\x01f\x00\x01g", `a message of more than 4 frames; ["a" "b" "c" "d"], 1 of the next`)
	raw(t, s.Addr(), sent)
	for i, w := range want {
		select {
		case g := <-got:
			if g != w {
				t.Fatalf("report %d: got %.300s, want %.300s", i, g, w)
			}
		case <-time.After(time.Minute):
			t.Fatalf("report %d did not come, want %.300s", i, w)
		}
	}
}
