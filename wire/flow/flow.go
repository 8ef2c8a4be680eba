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
// however slowly, and judges whether the other side had a chance to answer what
// was written. One goroutine writes; the other methods are safe for concurrent
// use.
type Writer struct {
	conn     net.Conn
	kernel   func() (s sample, ok bool) // asks it; nil: it cannot be asked
	patience time.Duration

	// mu guards what follows.
	mu      sync.Mutex
	waiting bool          // at the last poll bytes were not acknowledged
	acked   uint64        // at the last poll
	since   time.Duration // nothing has moved since, while waiting
	writing bool
	written bool
	wrote   time.Duration // when the last write ended, if one was written
	seen    uint64        // acknowledged when the deadline was set
	timer   *time.Timer   // moves the deadline on; nil before the first write
	ping    ping
	final   time.Time // no write lasts longer; zero: none is so bounded
}

// ping is the one that is under way.
type ping struct {
	open    bool
	end     uint64        // it has reached the other side when so much is acknowledged
	at      time.Duration // when it was written
	last    time.Duration // when it was last seen not to have reached it
	reached bool
}

// NewWriter returns a Writer whose Write gives up when nothing moves for
// patience.
func NewWriter(conn net.Conn, patience time.Duration) *Writer {
	w := &Writer{conn: conn, patience: patience}
	if raw := rawConn(conn); raw != nil {
		w.kernel = func() (sample, bool) { return query(raw) }
	}
	return w
}

// rawConn is the socket below a connection; nil where there is none, or none
// that can be asked.
func rawConn(conn net.Conn) syscall.RawConn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = over.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// LimitUnsent has the kernel hold little that it cannot send yet. It would take
// megabytes, and a ping or its answer that is written behind them would wait
// until all are sent. What is sent and not yet acknowledged is not bounded by
// this, so a fast link stays as fast. It does nothing where that is not possible.
func LimitUnsent(conn net.Conn) {
	if raw := rawConn(conn); raw != nil {
		setUnsentLimit(raw)
	}
}

// unsent is how many bytes the kernel holds that it cannot send yet.
const unsent = 128 << 10

// sample is what the kernel says of what was written.
type sample struct {
	acked   uint64        // bytes, since the connection began
	unacked uint64        // bytes that are not acknowledged
	resent  bool          // some of them were sent again and not acknowledged
	lastAck time.Duration // ago: when the other side's kernel acknowledged anything
}

// Write writes all of b, or fails with os.ErrDeadlineExceeded when the other
// side's kernel has taken nothing for the Writer's patience. No write deadline
// is left behind but that of FinishWithin.
func (w *Writer) Write(b []byte) (done int, err error) {
	err = w.RunWrite(func() error {
		n, err := w.conn.Write(b[done:])
		done += n
		if err != nil && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return errPartial
		}
		return err
	})
	return done, err
}

// WriteBuffers is Write of several pieces, which it empties.
func (w *Writer) WriteBuffers(all *net.Buffers) error {
	return w.RunWrite(func() error {
		n, err := all.WriteTo(w.conn)
		if err != nil && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return errPartial
		}
		return err
	})
}

// errPartial says that a write is to go on with what is left.
var errPartial = errors.New("a part was written")

// RunWrite runs write, which writes to the connection, and moves its deadline
// on while the other side takes bytes. It is for the goroutine that writes.
func (w *Writer) RunWrite(write func() error) error {
	w.beginWrite()
	defer w.endWrite()
	for {
		if err := write(); err != errPartial {
			return err
		}
		w.mu.Lock()
		_ = w.conn.SetWriteDeadline(w.deadline())
		w.mu.Unlock()
	}
}

// progressChecks is how often in one patience a write that waits checks for progress.
const progressChecks = 8

func (w *Writer) beginWrite() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.conn.SetWriteDeadline(w.deadline())
	w.writing = true
	if w.kernel == nil {
		return
	}
	w.seen = 0 // whatever it is, the first poll takes it for progress
	if w.timer == nil {
		w.timer = time.AfterFunc(w.patience/progressChecks, w.extendDeadline)
	} else {
		w.timer.Reset(w.patience / progressChecks)
	}
}

// extendDeadline gives a write that waits its whole time again if bytes were taken: the
// kernel tells the writer of them in large steps only.
func (w *Writer) extendDeadline() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.writing {
		return
	}
	if s, ok := w.poll(Now()); ok && s.acked != w.seen {
		if w.seen != 0 {
			_ = w.conn.SetWriteDeadline(w.deadline())
		}
		w.seen = s.acked
	}
	w.timer.Reset(w.patience / progressChecks)
}

func (w *Writer) endWrite() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing, w.written, w.wrote = false, true, Now()
	if w.timer != nil {
		w.timer.Stop()
	}
	_ = w.conn.SetWriteDeadline(w.final)
}

// deadline is that of a write that begins or goes on now; mu is held.
func (w *Writer) deadline() time.Time {
	if !w.final.IsZero() {
		return w.final
	}
	return time.Now().Add(w.patience)
}

// FinishWithin lets writing go on for d more at most, however much moves.
func (w *Writer) FinishWithin(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.final = time.Now().Add(d)
	_ = w.conn.SetWriteDeadline(w.final)
}

// poll asks the kernel and notes what has changed; mu is held.
func (w *Writer) poll(now time.Duration) (s sample, ok bool) {
	if w.kernel == nil {
		return s, false
	}
	if s, ok = w.kernel(); !ok {
		return s, false
	}
	if s.unacked == 0 {
		w.waiting = false
	} else if !w.waiting || s.acked != w.acked {
		w.waiting, w.since = true, now
	}
	w.acked = s.acked
	if q := &w.ping; q.open && !q.reached {
		if s.unacked == 0 || s.acked >= q.end {
			q.reached = true
		} else {
			q.last = now
		}
	}
	return s, true
}

// Stalled returns for how long bytes that were written have been waiting without
// one of them being taken by the other side's kernel, as far as earlier calls
// saw it: never too long. noAck tells that the network does not answer either,
// though bytes were sent again: the way is cut. Both are zero when nothing waits
// and where the kernel cannot be asked.
func (w *Writer) Stalled() (stalled time.Duration, noAck bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Now()
	s, ok := w.poll(now)
	if !ok || !w.waiting {
		return 0, false
	}
	stalled = now - w.since
	return stalled, s.resent && s.lastAck >= stalled
}

// PingSent notes that what was written so far ends with a ping, which the other
// side answers as soon as it reads it. It is called for every one.
func (w *Writer) PingSent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Now()
	s, ok := w.poll(now)
	if w.ping.open {
		return // the first of those without an answer is the one that counts
	}
	w.ping = ping{open: true, end: s.acked + s.unacked, at: now, last: now, reached: !ok}
}

// PongReceived notes that an answer to a ping came.
func (w *Writer) PongReceived() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ping.open && !w.ping.reached {
		w.poll(Now())
	}
	if w.ping.reached {
		w.ping = ping{} // else it was the answer to one before
	}
}

// PingInTransit tells whether a ping is still on its way to the other side and
// bytes have moved within the time: it cannot have been answered, and the
// connection lives.
func (w *Writer) PingInTransit(within time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Now()
	_, ok := w.poll(now)
	return ok && w.ping.open && !w.ping.reached && now-w.since < within
}

// SilenceAllowance returns how much longer the other side may be silent from which
// nothing has come for a time that is at least limit; 0: no longer. Pings are sent
// about every third of limit. The time for which one was on its way, or could not
// be written, does not count, as long as bytes moved.
func (w *Writer) SilenceAllowance(silent, limit time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, soon := Now(), limit/4
	s, _ := w.poll(now)
	switch q := &w.ping; {
	case q.reached:
		late := max(0, q.at-(now-silent)-limit/3) // it could not be written in time either
		return max(0, late+q.last-q.at+limit-silent)
	case !q.open && (w.writing || w.written && now-w.wrote < limit):
		return soon // the ping cannot be written: the write has its own limit
	case !q.open, s.resent && s.lastAck >= limit-soon, w.waiting && now-w.since >= limit:
		return 0 // the way is cut, or the other side takes nothing
	}
	return soon
}
