// Package awake counts the time in which this process could run. A process that
// is stopped, frozen with its container, or starved of the processor finds every
// deadline over when it goes on, although what it waited for may lie unread in a
// socket, or be about to come from a disk that worked all the time. So whoever
// judges others by time (a disk that hangs, a connection that is silent, a lease
// that was not renewed) counts it in steps, and a step that took far longer than
// it should counts for one that did not.
package awake

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// stoppedFactor is how many times as long as meant a step takes in a process that could
// not run meanwhile. Less than that is a busy machine.
const stoppedFactor = 4

// awakeTime is what of a step that took so long, instead of step, the process was
// awake.
func awakeTime(took, step time.Duration) time.Duration {
	if took > stoppedFactor*step {
		return step
	}
	return took
}

// Clock shows how long this process has been awake since New. It advances when
// it is looked at, so somebody must look at it often: Run does. Its methods may
// be called from any goroutine.
type Clock struct {
	step time.Duration

	mu   sync.Mutex
	last time.Time // of the last look
	now  time.Duration
}

// New returns a clock at zero that is looked at every step. What passes between
// two looks counts in full up to four steps; if it is more, the process stood
// still, and it counts as one step. A step is a small part of what is judged: a
// tenth of it, say.
func New(step time.Duration) *Clock {
	return &Clock{step: step, last: time.Now()}
}

// Now is how long the process has been awake.
func (c *Clock) Now() time.Duration {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.advance(now)
}

func (c *Clock) advance(now time.Time) time.Duration {
	if took := now.Sub(c.last); took > 0 {
		c.now += awakeTime(took, c.step)
		c.last = now
	}
	return c.now
}

// Run looks at the clock every step until ctx ends. Without it a quiet process
// would be taken for one that stood still.
func (c *Clock) Run(ctx context.Context) {
	tick := time.NewTicker(c.step)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.Now()
		case <-ctx.Done():
			return
		}
	}
}

// Timer is a watchdog made by AfterFunc.
type Timer struct {
	step time.Duration

	mu        sync.Mutex
	timer     *time.Timer
	stepBegan time.Time     // when the step under way began
	left      time.Duration // of the whole, without the step under way
	done      bool          // stopped, or f was called
}

// timerSteps is in how many parts a watchdog counts its time.
const timerSteps = 16

// AfterFunc calls f in a goroutine of its own once the process has been awake
// for d, unless the timer is stopped before.
func AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{step: max(d/timerSteps, time.Millisecond), left: d, stepBegan: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(t.step, func() {
		if t.recordStep(time.Now()) {
			f()
		}
	})
	return t
}

// recordStep takes account of a step that has passed; true says that all have.
func (t *Timer) recordStep(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return false
	}
	t.left -= awakeTime(now.Sub(t.stepBegan), t.step)
	t.stepBegan = now
	if t.done = t.left <= 0; !t.done {
		t.timer.Reset(min(t.step, t.left))
	}
	return t.done
}

// Stop ends the timer; false says that f has been called, or Stop before.
func (t *Timer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer.Stop()
	first := !t.done
	t.done = true
	return first
}

// Reader reads from a connection until nothing has come for Limit in which the
// process was awake. It then fails like a read whose deadline is over. Nobody
// else gives the connection a read deadline, but to end the read, with Ended
// failing from before. It is for one goroutine at a time.
type Reader struct {
	Conn  net.Conn
	Limit time.Duration
	// Ended, if it is not nil, is asked after every deadline that is set; its
	// error is returned instead of reading.
	Ended func() error
	// More, if it is not nil, is asked when nothing has come for so long, which
	// is at least Limit: how much longer to wait; 0 is no longer.
	More func(silent time.Duration) time.Duration

	deadline time.Time // the deadline
}

// readerSteps is in how many parts a Reader counts its limit: few, since each costs a
// wake-up of an idle connection.
const readerSteps = 3

// Read reads what comes. What lay unread while the process stood still is read
// before anybody counts as silent.
func (r *Reader) Read(b []byte) (int, error) {
	step := r.Limit / readerSteps
	silent := time.Duration(0)
	for left := r.Limit; ; {
		began := time.Now()
		// Setting a deadline is not free, so one is used for a while.
		if until := began.Add(min(step, left)); until.Sub(r.deadline) > step/8 || silent > 0 {
			if err := r.Conn.SetReadDeadline(until); err != nil {
				return 0, err
			}
			r.deadline = until
		}
		if r.Ended != nil {
			if err := r.Ended(); err != nil {
				return 0, err
			}
		}
		n, err := r.Conn.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		r.deadline = time.Time{}
		// After a step that was slept through, one read must come before the judgement.
		if took := time.Since(began); took < 2*step {
			left -= took
			silent += took
		}
		if left <= 0 && r.More != nil {
			left = r.More(silent)
		}
		if left <= 0 {
			return 0, err
		}
	}
}
