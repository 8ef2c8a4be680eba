// Package slowlink is a slow link for tests: what is behind it sends at a
// bounded rate, and little is under way.
package slowlink

import (
	"net"
	"sync"
	"testing"
	"time"
)

// To returns an address that leads to another one, until the test ends. What
// comes from there passes with at most rate bytes a second, what goes there as
// fast as it may.
func To(t testing.TB, to string, rate int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex // guards ends
	var ends []net.Conn
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			_ = far.(*net.TCPConn).SetReadBuffer(64 << 10)
			mu.Lock()
			ends = append(ends, near, far)
			mu.Unlock()
			running.Go(func() { carry(far, near, 0) })
			running.Go(func() { carry(near, far, rate) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range ends {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// carry copies from src to dst until one of them ends; rate 0 is as fast as it
// may be.
func carry(dst, src net.Conn, rate int) {
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
