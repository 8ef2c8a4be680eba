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
	waiting bool          // at the last look bytes were not acknowledged
	acked   uint64        // at the last look
	since   time.Duration // nothing has moved since, while waiting
	writing bool
	written bool
	wrote   time.Duration // when the last write ended, if one was written
	seen    uint64        // acknowledged when the deadline was set
	timer   *time.Timer   // moves the deadline on; nil before the first write
	asked   question
	final   time.Time // no write lasts longer; zero: none is so bounded
}

// question is the one that is under way: a ping, say.
type question struct {
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
		w.kernel = func() (sample, bool) { return look(raw) }
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

// Prompt has the kernel hold little that it cannot send yet. It would take
// megabytes, and a ping or its answer that is written behind them would wait
// until all are sent. What is sent and not yet acknowledged is not bounded by
// this, so a fast link stays as fast. It does nothing where that is not possible.
func Prompt(conn net.Conn) {
	if raw := rawConn(conn); raw != nil {
		holdLittle(raw)
	}
}

// unsent is how many bytes the kernel holds that it cannot send yet.
const unsent = 128 << 10

// sample is what the kernel says of what was written.
type sample struct {
	acked  uint64        // bytes, since the connection began
	left   uint64        // bytes that are not acknowledged
	resent bool          // some of them were sent again and not acknowledged
	heard  time.Duration // ago: when the other side's kernel acknowledged anything
}

// Write writes all of b, or fails with os.ErrDeadlineExceeded when the other
// side's kernel has taken nothing for the Writer's patience. No write deadline
// is left behind but that of Hurry.
func (w *Writer) Write(b []byte) (done int, err error) {
	err = w.Patiently(func() error {
		n, err := w.conn.Write(b[done:])
		done += n
		if err != nil && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return errSome
		}
		return err
	})
	return done, err
}

// WriteBuffers is Write of several pieces, which it empties.
func (w *Writer) WriteBuffers(all *net.Buffers) error {
	return w.Patiently(func() error {
		n, err := all.WriteTo(w.conn)
		if err != nil && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return errSome
		}
		return err
	})
}

// errSome says that a write is to go on with what is left.
var errSome = errors.New("a part was written")

// Patiently runs write, which writes to the connection, and moves its deadline
// on while the other side takes bytes. It is for the goroutine that writes.
func (w *Writer) Patiently(write func() error) error {
	w.begin()
	defer w.end()
	for {
		if err := write(); err != errSome {
			return err
		}
		w.mu.Lock()
		_ = w.conn.SetWriteDeadline(w.deadline())
		w.mu.Unlock()
	}
}

// looks is how often in one patience a write that waits looks for progress.
const looks = 8

func (w *Writer) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.conn.SetWriteDeadline(w.deadline())
	w.writing = true
	if w.kernel == nil {
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
	if s, ok := w.look(Now()); ok && s.acked != w.seen {
		if w.seen != 0 {
			_ = w.conn.SetWriteDeadline(w.deadline())
		}
		w.seen = s.acked
	}
	w.timer.Reset(w.patience / looks)
}

func (w *Writer) end() {
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

// Hurry lets writing go on for d more at most, however much moves.
func (w *Writer) Hurry(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.final = time.Now().Add(d)
	_ = w.conn.SetWriteDeadline(w.final)
}

// look asks the kernel and notes what has changed; mu is held.
func (w *Writer) look(now time.Duration) (s sample, ok bool) {
	if w.kernel == nil {
		return s, false
	}
	if s, ok = w.kernel(); !ok {
		return s, false
	}
	if s.left == 0 {
		w.waiting = false
	} else if !w.waiting || s.acked != w.acked {
		w.waiting, w.since = true, now
	}
	w.acked = s.acked
	if q := &w.asked; q.open && !q.reached {
		if s.left == 0 || s.acked >= q.end {
			q.reached = true
		} else {
			q.last = now
		}
	}
	return s, true
}

// Stalled returns for how long bytes that were written have been waiting without
// one of them being taken by the other side's kernel, as far as earlier calls
// saw it: never too long. unheard tells that the network does not answer either,
// though bytes were sent again: the way is cut. Both are zero when nothing waits
// and where the kernel cannot be asked.
func (w *Writer) Stalled() (stalled time.Duration, unheard bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Now()
	s, ok := w.look(now)
	if !ok || !w.waiting {
		return 0, false
	}
	stalled = now - w.since
	return stalled, s.resent && s.heard >= stalled
}

// Asked notes that what was written so far ends with a question that the other
// side answers as soon as it reads it. It is called for every one.
func (w *Writer) Asked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Now()
	s, ok := w.look(now)
	if w.asked.open {
		return // the first of those without an answer is the one that counts
	}
	w.asked = question{open: true, end: s.acked + s.left, at: now, last: now, reached: !ok}
}

// Answered notes that an answer came.
func (w *Writer) Answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked.open && !w.asked.reached {
		w.look(Now())
	}
	if w.asked.reached {
		w.asked = question{} // else it was the answer to one before
	}
}

// Reaching tells whether a question is still on its way to the other side and
// bytes have moved within the time: it cannot have been answered, and the
// connection lives.
func (w *Writer) Reaching(within time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := Now()
	_, ok := w.look(now)
	return ok && w.asked.open && !w.asked.reached && now-w.since < within
}

// More returns how much longer the other side may be silent from which nothing
// has come for a time that is at least limit; 0: no longer. Questions are asked
// about every third of limit. The time for which one was on its way, or could not
// be written, does not count, as long as bytes moved.
func (w *Writer) More(silent, limit time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, soon := Now(), limit/4
	s, _ := w.look(now)
	switch q := &w.asked; {
	case q.reached:
		late := max(0, q.at-(now-silent)-limit/3) // it could not be written in time either
		return max(0, late+q.last-q.at+limit-silent)
	case !q.open && (w.writing || w.written && now-w.wrote < limit):
		return soon // the question cannot be written: the write has its own limit
	case !q.open, s.resent && s.heard >= limit-soon, w.waiting && now-w.since >= limit:
		return 0 // the way is cut, or the other side takes nothing
	}
	return soon
}
