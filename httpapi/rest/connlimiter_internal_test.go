package rest

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// conns makes n connections and returns both of their ends.
func conns(t *testing.T, n int) (ours, theirs []net.Conn) {
	t.Helper()
	for range n {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		ours, theirs = append(ours, a), append(theirs, b)
	}
	return ours, theirs
}

// closed tells whether the other end was closed.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(-time.Second)) // fails if it was
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// A connection beyond the limit takes the place of the one that is idle for
// longest; if all are active, there is no room for it.
func TestLimitDisplacesTheLongestIdle(t *testing.T) {
	t.Parallel()
	ours, theirs := conns(t, 6)
	l := newConnLimiter(nil, 3, false)
	for _, c := range ours[:3] {
		if !l.admit(c) {
			t.Fatal("a connection within the limit was refused")
		}
	}
	l.track(ours[0], http.StateActive)
	if !l.admit(ours[3]) || !closed(theirs[1]) || closed(theirs[0]) {
		t.Errorf("closed %v %v %v, want the second, which is idle for longest", closed(theirs[0]), closed(theirs[1]), closed(theirs[2]))
	}
	l.track(ours[2], http.StateActive)
	l.track(ours[3], http.StateActive)
	if l.admit(ours[4]) {
		t.Error("a connection was admitted though all are active")
	}
	l.track(ours[0], http.StateIdle)
	if !l.admit(ours[5]) || !closed(theirs[0]) {
		t.Error("the one that became idle was not displaced")
	}
	l.track(ours[2], http.StateClosed)
	if open, displaced := l.counts(); open != 2 || displaced != 3 {
		t.Errorf("%d open, %d displaced, want 2 and 3", open, displaced)
	}
	l.closeIdle()
	if !closed(theirs[5]) || closed(theirs[3]) {
		t.Error("idle ones alone are closed")
	}
}
