package hangup_test

import (
	"errors"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire/hangup"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// Who has left is seen behind what it said before, however it left.
func TestLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("not known on this system")
	}
	for what, leave := range map[string]func(net.Conn){
		"closed": func(c net.Conn) { c.Close() },
		"half":   func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
		"reset":  hangup.Abort,
	} {
		here, there := pair(t)
		if _, err := there.Write([]byte("do it")); err != nil {
			t.Fatal(err)
		}
		if hangup.Left(here) {
			t.Errorf("%s: it is said to have left before it did", what)
		}
		leave(there)
		for end := time.Now().Add(10 * time.Second); !hangup.Left(here); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: nobody has seen it leave", what)
			}
		}
	}
	if in, out := net.Pipe(); hangup.Left(in) || hangup.Left(nil) || hangup.Address(out) != "" {
		t.Error("what is no TCP connection is taken for one")
	}
}

// A connection that was aborted does not end like that of a process that is gone.
func TestAbort(t *testing.T) {
	here, there := pair(t)
	hangup.Abort(there)
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other side reads %v, want a reset", err)
	}
}

func TestSame(t *testing.T) {
	here, there := pair(t)
	if !hangup.Same(hangup.Address(there), here.RemoteAddr().String()) {
		t.Errorf("%s and %s are not the same", hangup.Address(there), here.RemoteAddr())
	}
	for pair, want := range map[[2]string]bool{
		{"10.0.0.1:7", "10.0.0.1:7"}:             true,
		{"10.0.0.1:7", "[::ffff:10.0.0.1]:7"}:    true,
		{"[fe80::1%eth0]:7", "[fe80::1%lan0]:7"}: true,
		{"10.0.0.1:7", "10.0.0.1:8"}:             false,
		{"10.0.0.1:7", "10.0.0.2:7"}:             false,
		{"", ""}:                                 false,
	} {
		if got := hangup.Same(pair[0], pair[1]); got != want {
			t.Errorf("Same(%q, %q) is %v, want %v", pair[0], pair[1], got, want)
		}
	}
}
