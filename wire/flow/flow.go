// Package flow tells whether bytes move on a connection. Whoever judges if the
// other side lives asks here, so that a slow link or a slow reader is not taken
// for a dead one.
package flow

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

var started = time.Now()

// Now is the time since the process began, by the monotonic clock: a step of
// the wall clock does not change it.
func Now() time.Duration { return time.Since(started) }

// Writer writes to a connection as long as the other side's kernel takes bytes,
// however slowly. One goroutine writes; Stalled is safe for concurrent use.
type Writer struct {
	conn     net.Conn
	raw      syscall.RawConn // nil: the kernel cannot be asked
	patience time.Duration

	// mu guards what follows.
	mu      sync.Mutex
	waiting bool          // at the last look bytes were not acknowledged
	acked   uint64        // at the last look
	since   time.Duration // nothing has moved since, while waiting
	writing bool
	seen    uint64      // acknowledged when the deadline was set
	timer   *time.Timer // moves the deadline on; nil before the first write
}

// NewWriter returns a Writer whose Write gives up when nothing moves for
// patience.
func NewWriter(conn net.Conn, patience time.Duration) *Writer {
	return &Writer{conn: conn, raw: rawConn(conn), patience: patience}
}

// rawConn is the socket below a connection; nil where there is none, or none
// that can be asked.
func rawConn(conn net.Conn) syscall.RawConn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = over.NetConn()
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// sample is what the kernel says of what was written.
type sample struct {
	acked   uint64        // bytes, since the connection began
	waiting bool          // there are bytes that are not acknowledged
	resent  bool          // some of them were sent again and not acknowledged
	heard   time.Duration // ago: when the other side's kernel acknowledged anything
}

// Write writes all of b, or fails with os.ErrDeadlineExceeded when the other
// side's kernel has taken nothing for the Writer's patience. No write deadline
// is left behind.
func (w *Writer) Write(b []byte) (done int, err error) {
	w.begin()
	defer w.end()
	for {
		n, err := w.conn.Write(b[done:])
		if done += n; err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return done, err
		}
		_ = w.conn.SetWriteDeadline(time.Now().Add(w.patience))
	}
}

// looks is how often in one patience a write that waits looks for progress.
const looks = 8

func (w *Writer) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.patience))
	w.writing = true
	if w.raw == nil {
		return
	}
	w.seen = 0 // whatever it is, the first look takes it for progress
	if w.timer == nil {
		w.timer = time.AfterFunc(w.patience/looks, w.extend)
	} else {
		w.timer.Reset(w.patience / looks)
	}
}

// extend gives a write that waits its whole time again if bytes were taken: the
// kernel tells the writer of them in large steps only.
func (w *Writer) extend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.writing {
		return
	}
	if s, ok := look(w.raw); ok && s.acked != w.seen {
		if w.seen != 0 {
			_ = w.conn.SetWriteDeadline(time.Now().Add(w.patience))
		}
		w.seen = s.acked
	}
	w.timer.Reset(w.patience / looks)
}

func (w *Writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	if w.timer != nil {
		w.timer.Stop()
	}
	_ = w.conn.SetWriteDeadline(time.Time{})
}

// Stalled returns for how long bytes that were written have been waiting without
// one of them being taken by the other side's kernel, as far as earlier calls
// saw it: never too long. unheard tells that the network does not answer either,
// though bytes were sent again: the way is cut. Both are zero when nothing waits
// and where the kernel cannot be asked.
func (w *Writer) Stalled() (stalled time.Duration, unheard bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := look(w.raw)
	if !ok || !s.waiting {
		w.waiting = false
		return 0, false
	}
	now := Now()
	if !w.waiting || s.acked != w.acked {
		w.waiting, w.acked, w.since = true, s.acked, now
	}
	stalled = now - w.since
	return stalled, s.resent && s.heard >= stalled
}
