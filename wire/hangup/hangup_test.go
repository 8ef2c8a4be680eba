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

// A close is seen behind bytes that are not read yet, however the peer closed.
func TestPeerClosed(t *testing.T) {
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
		if hangup.PeerClosed(here) {
			t.Errorf("%s: PeerClosed before the peer closed", what)
		}
		leave(there)
		for end := time.Now().Add(time.Minute); !hangup.PeerClosed(here); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the close was not seen", what)
			}
		}
	}
	if in, out := net.Pipe(); hangup.PeerClosed(in) || hangup.PeerClosed(nil) || hangup.LocalAddr(out) != "" {
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

func TestSameEndpoint(t *testing.T) {
	here, there := pair(t)
	if !hangup.SameEndpoint(hangup.LocalAddr(there), here.RemoteAddr().String()) {
		t.Errorf("%s and %s are not the same", hangup.LocalAddr(there), here.RemoteAddr())
	}
	for pair, want := range map[[2]string]bool{
		{"10.0.0.1:7", "10.0.0.1:7"}:             true,
		{"10.0.0.1:7", "[::ffff:10.0.0.1]:7"}:    true,
		{"[fe80::1%eth0]:7", "[fe80::1%lan0]:7"}: true,
		{"10.0.0.1:7", "10.0.0.1:8"}:             false,
		{"10.0.0.1:7", "10.0.0.2:7"}:             false,
		{"", ""}:                                 false,
	} {
		if got := hangup.SameEndpoint(pair[0], pair[1]); got != want {
			t.Errorf("SameEndpoint(%q, %q) is %v, want %v", pair[0], pair[1], got, want)
		}
	}
}
