package trail

import (
	"time"

	"github.com/folkmoot/folkmoot/audit"
)

// run is the writer's goroutine. Close ends it.
func (t *Trail) run() {
	defer close(t.done)
	defer t.writer.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.wake:
		case <-timer.C:
		}
		wait, more := t.step(t.cfg.Now())
		if !more {
			return
		}
		timer.Reset(wait)
	}
}

// idle is how long the writer waits when nothing is to be done.
const idle = time.Hour

// step does what is to be done now. It returns for how long nothing more is, unless it is woken; more is false once the
// trail is closed.
func (t *Trail) step(now time.Time) (wait time.Duration, more bool) {
	t.mu.Lock()
	for _, e := range t.held.Due(now) {
		t.accept(e)
	}
	closing, atOnce := t.closing, t.atOnce
	t.atOnce = false
	t.mu.Unlock()
	t.sayLoss()
	t.writeAll(now, closing || atOnce)
	if closing {
		return 0, false
	}
	return t.nextStep(now), true
}

// sayLoss logs and counts, once, that more is recorded than there is room for.
func (t *Trail) sayLoss() {
	t.mu.Lock()
	first := t.lost > 0 && !t.loss
	t.loss = t.lost > 0
	if first {
		t.failures++
	}
	t.mu.Unlock()
	if first {
		t.cfg.Logger.Error("events of the audit trail are lost: more is recorded than the disk takes; a line will say how many", "dir", t.cfg.Dir)
	}
}

// writeAll writes what waits, and makes it certain when that is due, or at once.
func (t *Trail) writeAll(now time.Time, atOnce bool) {
	w := &t.writer
	if w.broken != nil {
		if !atOnce && now.Sub(t.lastTry) < retryEvery {
			return
		}
		t.lastTry = now
		if err := w.mend(); err != nil {
			t.failed(err)
			return
		}
	}
	for {
		batch := t.batch()
		if len(batch) == 0 {
			break
		}
		n, err := t.writeBatch(batch)
		t.took(n)
		if err == nil {
			err = t.sync(t.cfg.Now(), len(w.tail) >= maxUncertain) // more may come for ever
		}
		if err != nil {
			t.lastTry = now
			t.failed(err)
			return
		}
		t.well()
	}
	if err := t.sync(now, atOnce); err != nil {
		t.lastTry = now
		t.failed(err)
		return
	}
	t.well()
}

// sync makes what is written certain if that is due, or at once.
func (t *Trail) sync(now time.Time, atOnce bool) error {
	if !atOnce && (now.Sub(t.lastSync) < SyncEvery || len(t.writer.tail) == 0) {
		return nil
	}
	t.lastSync = now
	return t.writer.sync()
}

// batch is what waits, with a line before it that says what was lost. It is the writer's until took.
func (t *Trail) batch() []audit.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 && len(t.pending) == 0 {
		t.pending = append(t.pending, audit.Event{At: t.cfg.Now(), What: "record events", Outcome: audit.NotTried, Code: "unavailable", Times: t.lost})
		t.bytes += t.pending[0].Size()
		t.accepted++
		t.lost = 0
	}
	return t.pending[:len(t.pending):len(t.pending)]
}

// writeBatch writes as much of a batch as goes into one file at once and returns how many events were taken: what was
// taken is not lost by an error.
func (t *Trail) writeBatch(batch []audit.Event) (n int, err error) {
	if t.writer.full() {
		if err := t.writer.next(); err != nil {
			return 0, err
		}
	}
	n = t.writer.add(t.cfg.Coordinator, batch, maxBatch)
	return n, t.writer.write()
}

// took removes events from the queue.
func (t *Trail) took(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range n {
		t.bytes -= t.pending[i].Size()
	}
	if t.pending = t.pending[n:]; len(t.pending) == 0 {
		t.pending = nil
	}
	t.settled += uint64(n)
	t.moved()
}

// failed notes that nothing can be written.
func (t *Trail) failed(err error) {
	t.mu.Lock()
	first := t.failure == nil
	t.failure = err
	t.failures++
	t.moved()
	t.mu.Unlock()
	if first {
		t.cfg.Logger.Error("the audit trail cannot be written: what needs admin or cluster:write, and jobs, are refused until it can", "dir", t.cfg.Dir, "error", err)
	}
}

// well notes that nothing has failed, and what is certain.
func (t *Trail) well() {
	t.mu.Lock()
	before := t.failure
	t.failure, t.certain = nil, t.writer.certain
	if t.writer.certain == t.writer.chain {
		t.synced = t.settled
	}
	t.moved()
	t.mu.Unlock()
	if before != nil {
		t.cfg.Logger.Info("the audit trail is written again", "dir", t.cfg.Dir)
	}
}

// moved wakes those who wait for progress; mu is held.
func (t *Trail) moved() {
	close(t.progress)
	t.progress = make(chan struct{})
}

// nextStep is how long there is nothing to be done.
func (t *Trail) nextStep(now time.Time) time.Duration {
	t.mu.Lock()
	due, held := t.held.Next()
	t.mu.Unlock()
	wait := idle
	if held {
		wait = min(wait, due.Sub(now))
	}
	switch {
	case t.writer.broken != nil:
		wait = min(wait, t.lastTry.Add(retryEvery).Sub(now))
	case len(t.writer.tail) > 0:
		wait = min(wait, t.lastSync.Add(SyncEvery).Sub(now))
	}
	return max(wait, time.Millisecond)
}
