package peer_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// A frame that takes far longer over a slow link than a write may stand still
// arrives: the kernel wakes the writer only when much of it was taken.
func TestLongFrameOverASlowLink(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_ = conn.(*net.TCPConn).SetWriteBuffer(256 << 10)
	_ = other.(*net.TCPConn).SetReadBuffer(8 << 10)
	const size = 768 << 10
	ctx, cancel := context.WithCancel(t.Context())
	wrote := make(chan error, 1)
	go func() {
		wrote <- peer.WriteAll(ctx, conn, 500*time.Millisecond, size)
		conn.Close()
	}()
	b, came := make([]byte, 16<<10), 0
	for came < size {
		n, err := other.Read(b)
		if err != nil {
			t.Fatalf("%d of %d bytes came, then %v; the writer ended with %v", came, size, err, <-wrote)
		}
		came += n
		time.Sleep(time.Duration(n) * time.Second / (64 << 10))
	}
	cancel()
	if err := <-wrote; !errors.Is(err, context.Canceled) {
		t.Errorf("the writer ended with %v", err)
	}
}
