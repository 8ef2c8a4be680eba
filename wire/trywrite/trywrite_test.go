package trywrite_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// sockets are the two ends of a TCP connection.
func sockets(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// What the kernel does not take is left to the caller: the bytes arrive whole
// and in order, whoever wrote which of them.
func TestWriteTakesWhatFits(t *testing.T) {
	a, b := sockets(t)
	w := trywrite.New(a)
	if w == nil {
		t.Skip("not on this platform")
	}
	want := make([]byte, 64<<20)
	for i := range want {
		want[i] = byte(i >> 8)
	}
	n := w.Write(want) // nobody reads
	if n == 0 || n == len(want) {
		t.Fatalf("%d of %d bytes written to a socket that nobody reads", n, len(want))
	}
	for k := 0; ; k++ { // it is full now, or soon
		more := w.Write(want[n:])
		if n += more; more == 0 {
			break
		}
		if k > 1000 {
			t.Fatal("the socket takes bytes without end")
		}
	}
	go func() { _, _ = a.Write(want[n:]); a.Close() }()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came of %d, the right ones: %t, error %v", len(got), len(want), bytes.Equal(got, want), err)
	}
}

func TestWriteAfterTheEnd(t *testing.T) {
	a, _ := sockets(t)
	w := trywrite.New(a)
	a.Close()
	if n := w.Write([]byte("x")); n != 0 {
		t.Fatalf("%d bytes written to a closed connection", n)
	}
}

func TestNeedsASocket(t *testing.T) {
	p, q := net.Pipe()
	defer p.Close()
	defer q.Close()
	a, _ := sockets(t)
	for what, c := range map[string]net.Conn{"pipe": p, "TLS": tls.Client(a, &tls.Config{ServerName: "x"})} {
		if w := trywrite.New(c); w != nil {
			t.Errorf("a writer for %s", what)
		}
	}
	if n := (*trywrite.Writer)(nil).Write([]byte("x")); n != 0 {
		t.Errorf("no writer wrote %d bytes", n)
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	a, b := sockets(t)
	w := trywrite.New(a)
	if w == nil {
		t.Skip("not on this platform")
	}
	buf := make([]byte, 16)
	_ = b.SetReadDeadline(time.Now().Add(time.Minute))
	if n := testing.AllocsPerRun(100, func() {
		if w.Write(buf) != len(buf) {
			t.Fatal("not written")
		}
		if _, err := io.ReadFull(b, buf); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a write", n)
	}
}
