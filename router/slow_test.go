package router_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// slowly returns the two ends of a connection; what the first sends passes with
// at most rate bytes a second, and little of it is under way.
func slowly(t *testing.T, rate int) (first, second net.Conn, err error) {
	first, near, err := loopback()
	if err != nil {
		return nil, nil, err
	}
	far, second, err := loopback()
	if err != nil {
		return nil, nil, err
	}
	_ = near.(*net.TCPConn).SetReadBuffer(32 << 10)
	var running sync.WaitGroup
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
	running.Go(func() { carry(far, near, rate) })
	running.Go(func() { carry(near, far, 0) })
	t.Cleanup(func() {
		near.Close()
		far.Close()
		running.Wait()
	})
	return first, second, nil
}

// While a large message goes over a slow link, its pings wait in the kernel
// behind what was written. The link lives: bytes move.
func TestSlowLinkIsNotDead(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.pipe = func(from, _ string) (net.Conn, net.Conn, error) {
		if from == "n1" {
			return slowly(t, 128<<10)
		}
		return loopback()
	}
	n := w.start(t, router.Limits{Ping: 500 * time.Millisecond, Timeout: time.Minute}, "n1", "n2")
	linked(t, n...)
	n[0].signIn(t, "n1.a")
	store := n[1].signIn(t, "n2.b")
	done := make(chan error, 1)
	m := wire.Message{From: "n1.a", To: "n2.b", Payload: [][]byte{make([]byte, 1<<20)}}
	n[0].PostWithin(m, time.Now(), time.Minute, false, func(_ router.Outcome, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatalf("1 MiB over a slow link: %v; the links are %v", err, n[0].Links())
	}
	got, err := store.Receive(t.Context(), 0, 1)
	if err != nil || len(got) != 1 || got[0].Message.Size() != 1<<20 {
		t.Errorf("%d messages came, error %v", len(got), err)
	}
}
