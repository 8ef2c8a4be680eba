package peer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantEnd reads until the other side ends the connection, and returns what it
// said before.
func wantEnd(t *testing.T, situation string, c net.Conn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection is still open", situation)
	}
	return got
}

func lengthOf(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// Whatever is sent to the port before a good hello ends the connection, at
// once or at the limit, and says nothing about who is there.
func TestHostileHello(t *testing.T) {
	t.Parallel()
	n1 := open(t, "n1")
	n2 := open(t, "n2", limits(peer.Limits{HelloTimeout: 300 * time.Millisecond}))
	n2.Handle("echo", echo)
	long := `{"version":1,"id":"` + strings.Repeat("n", 5<<10) + `"}`
	for situation, sent := range map[string][]byte{
		"nothing":                        nil,
		"unknown first byte":             []byte("X"),
		"an HTTP request":                []byte("GET / HTTP/1.1\r\nHost: n2\r\n\r\n"),
		"a TLS client hello":             {0x16, 0x03, 0x01, 0x02, 0x00, 0x01},
		"a hello of 5 KiB":               append(append([]byte{'C'}, lengthOf(uint32(len(long)))...), long...),
		"a hello of length 0":            append([]byte{'C'}, lengthOf(0)...),
		"a hello of length 2^31-1":       append([]byte{'R'}, lengthOf(1<<31-1)...),
		"a hello of length 2^32-1":       append([]byte{'L'}, lengthOf(1<<32-1)...),
		"a hello cut short":              append(append([]byte{'L'}, lengthOf(100)...), `{"version`...),
		"a first byte and no more":       {'R'},
		"a hello that is no JSON":        append(append([]byte{'C'}, lengthOf(3)...), "abc"...),
		"a hello that is another JSON":   append(append([]byte{'C'}, lengthOf(2)...), "[]"...),
		"a hello nested a thousandfold":  append(append([]byte{'C'}, lengthOf(4000)...), strings.Repeat("[", 4000)...),
		"a kind in the wrong case":       append([]byte{'c'}, lengthOf(2)...),
		"zeros":                          make([]byte, 4096),
		"a hello with a negative number": append(append([]byte{'C'}, lengthOf(14)...), `{"version":-1}`...),
	} {
		t.Run(situation, func(t *testing.T) {
			c := connect(t, n2.Addr())
			c.Write(sent)
			got := wantEnd(t, situation, c)
			if len(got) > 0 && got[0] != '-' {
				t.Errorf("answer: got %q, want a refusal or nothing", got)
			}
		})
	}
	if _, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil); err != nil {
		t.Errorf("a real call afterwards: %v", err)
	}
	eventually(t, "nothing of it is left", func() bool { s := n2.Stats(); return s.Pending == 0 && s.Accepted == 1 })
}

// After a good hello a bad frame ends that connection, and only that one.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	n1, n2 := open(t, "n1"), open(t, "n2", limits(peer.Limits{PingInterval: time.Hour})) // it is not silence that ends them
	n2.Handle("echo", echo)
	n2.Handle("wait", func(ctx context.Context, _ peer.Hello, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, nil })
	request := peer.Frame{Kind: 1, ID: 7, Method: "wait"}.Encode()
	broken := bytes.Clone(request)
	broken[len(broken)-1] ^= 1
	for situation, sent := range map[string][]byte{
		"length 0":                    append(lengthOf(0), make([]byte, 4)...),
		"length 8":                    append(lengthOf(8), make([]byte, 12)...),
		"length 2^31-1":               append(lengthOf(1<<31-1), make([]byte, 100)...),
		"length 2^32-1":               append(lengthOf(1<<32-1), make([]byte, 100)...),
		"one byte over the limit":     append(lengthOf(4<<20+1), make([]byte, 100)...),
		"a wrong check sum":           broken,
		"cut short":                   request[:len(request)-1],
		"type 0":                      peer.Frame{Kind: 0, ID: 1}.Encode(),
		"type 255":                    peer.Frame{Kind: 255, ID: 1}.Encode(),
		"an answer":                   peer.Frame{Kind: 2, ID: 1}.Encode(),
		"a failure":                   peer.Frame{Kind: 3, ID: 1, Body: []byte("{}")}.Encode(),
		"a request with id 0":         peer.Frame{Kind: 1, Method: "echo"}.Encode(),
		"a ping with a body":          peer.Frame{Kind: 5, Body: []byte("x")}.Encode(),
		"an impossible deadline":      peer.Frame{Kind: 1, ID: 1, Left: -time.Second, Method: "echo"}.Encode(),
		"one id twice":                append(bytes.Clone(request), request...),
		"a TLS hello in the middle":   {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0, 0, 0, 0},
		"HTTP in the middle of calls": []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(situation, func(t *testing.T) {
			c := connect(t, n2.Addr())
			c.Write(hello('C', peer.Hello{Version: wire.Version, ID: "bad"}))
			c.Write(sent)
			if situation == "cut short" {
				c.(*net.TCPConn).CloseWrite()
			}
			wantEnd(t, situation, c)
		})
	}
	if _, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil); err != nil {
		t.Errorf("a real call afterwards: %v", err)
	}
}

// A caller that says nothing after its hello, not even pings, is let go.
func TestSilentCaller(t *testing.T) {
	t.Parallel()
	n2 := open(t, "n2", limits(peer.Limits{PingInterval: 50 * time.Millisecond}))
	c := connect(t, n2.Addr())
	c.Write(hello('C', peer.Hello{Version: wire.Version, ID: "bad"}))
	wantEnd(t, "silence", c)
}

// A coordinator that answers nonsense does not harm the one that dials it.
func TestHostileAcceptor(t *testing.T) {
	t.Parallel()
	n1 := open(t, "n1", limits(peer.Limits{HelloTimeout: 300 * time.Millisecond}))
	for situation, answer := range map[string]string{
		"silence":                "",
		"HTTP":                   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"a TLS alert":            "\x15\x03\x01\x00\x02\x02\x46",
		"a hello of 4 GiB":       "+\xff\xff\xff\xff",
		"a refusal of 2 GiB":     "-\x7f\xff\xff\xff",
		"a refusal without JSON": "-\x00\x00\x00\x01x",
		"a hello without JSON":   "+\x00\x00\x00\x01x",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { c.Write([]byte(answer)); io.Copy(io.Discard, c); c.Close() })
			}
		})
		_, err = n1.Call(within(t, 10*time.Second), l.Addr().String(), "echo", nil)
		wantCode(t, situation, err, wire.CodeUnavailable)
		if _, _, err = n1.DialLink(within(t, 10*time.Second), l.Addr().String(), ""); err == nil {
			t.Errorf("%s: link: got no error", situation)
		}
		l.Close()
		wg.Wait()
	}
}

// Two thousand clients that say nothing do not stop a real one, and none of
// them is there any more after the limit.
func TestSilentClients(t *testing.T) {
	t.Parallel()
	const silent = 2000
	n1 := open(t, "n1")
	n2 := open(t, "n2", limits(peer.Limits{HelloTimeout: time.Second}))
	n2.Handle("echo", echo)
	conns := make([]net.Conn, 0, silent)
	for i := range silent {
		conns = append(conns, connect(t, n2.Addr()))
		if s := n2.Stats(); s.Pending > 64 {
			t.Fatalf("after %d silent clients: got %d pending, want at most 64", i+1, s.Pending)
		}
		if i%500 == 499 {
			other := open(t, "n3")
			if _, err := other.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil); err != nil {
				t.Errorf("a newcomer's call among %d silent clients: %v", i+1, err)
			}
			other.Close()
		}
	}
	start := time.Now()
	if _, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil); err != nil {
		t.Errorf("a real call among %d silent clients: %v", silent, err)
	}
	for i, c := range conns {
		c.SetReadDeadline(start.Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("silent client %d of %d is still connected after the limit", i, silent)
		}
	}
	eventually(t, "nothing of them is left", func() bool { s := n2.Stats(); return s.Pending == 0 && s.Accepted == 1 })
}

// One coordinator cannot take all connections, and all together not more than
// the total.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	n1, n3 := open(t, "n1"), open(t, "n3")
	n2 := open(t, "n2", limits(peer.Limits{MaxPerPeer: 2, MaxConns: 3}))
	link := func(from *peer.Port) (net.Conn, error) {
		c, _, err := from.DialLink(within(t, 10*time.Second), n2.Addr(), "")
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return c, err
	}
	first, err := link(n1)
	if err != nil {
		t.Fatalf("first link: %v", err)
	}
	if _, err := link(n1); err != nil {
		t.Errorf("second link: %v", err)
	}
	_, err = link(n1)
	wantCode(t, "third link of one peer", err, wire.CodeBusy)
	if _, err := link(n3); err != nil {
		t.Errorf("first link of another peer: %v", err)
	}
	_, err = link(n3)
	wantCode(t, "fourth link of all", err, wire.CodeBusy)
	taken, _, err := n2.AcceptLink()
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	first.Close()
	taken.Close()
	if _, err := link(n3); err != nil {
		t.Errorf("a link after another was closed: %v", err)
	}
}
