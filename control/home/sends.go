package home

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of the memory of keyed sends.
const (
	keptSends = 1000             // per session
	keptFor   = 10 * time.Minute // after the outcome
)

// sends remembers what became of keyed sends, so that a repeat is not sent
// twice. It is this coordinator's own memory: bounded, lost with the process.
type sends struct {
	// mu guards by and what hangs on it. It is not held while a message is sent.
	mu sync.Mutex
	by map[string]map[string]*outcome // session, key
}

type outcome struct {
	what  [32]byte
	done  chan struct{} // closed when err and ended are set
	err   error
	ended time.Time
}

// once calls do for a key that is new, and answers the outcome of the first
// call otherwise, waiting for it if it is under way. A certain refusal is
// forgotten: a repeat tries again.
func (o *sends) once(ctx context.Context, session, key string, what [32]byte, now time.Time, do func() error) error {
	o.mu.Lock()
	if o.by == nil {
		o.by = map[string]map[string]*outcome{}
	}
	entries := o.by[session]
	if entries == nil {
		entries = map[string]*outcome{}
		o.by[session] = entries
	}
	if first, ok := entries[key]; ok && !first.over(now) {
		o.mu.Unlock()
		if first.what != what {
			return wire.Refuse(wire.CodeConflict, "the idempotency key was used for another message")
		}
		select {
		case <-first.done:
			return first.err
		case <-ctx.Done():
			return wire.Unknown(ctx.Err())
		}
	}
	if len(entries) >= keptSends {
		for k, e := range entries {
			if e.over(now) {
				delete(entries, k)
			}
		}
		if len(entries) >= keptSends {
			o.mu.Unlock()
			e := wire.Refuse(wire.CodeBusy, "%d keyed messages within %v are the most of one session", keptSends, keptFor)
			e.RetryAfter = time.Minute
			return e
		}
	}
	entry := &outcome{what: what, done: make(chan struct{})}
	entries[key] = entry
	o.mu.Unlock()

	err := do()

	o.mu.Lock()
	defer o.mu.Unlock()
	entry.err, entry.ended = err, now
	close(entry.done)
	if err != nil && wire.CodeOf(err) != wire.CodeUnknown && wire.CodeOf(err) != wire.CodeInternal && entries[key] == entry {
		delete(entries, key)
	}
	return err
}

// over reports whether the entry ended and was kept long enough. mu is held.
func (e *outcome) over(now time.Time) bool {
	select {
	case <-e.done:
		return now.Sub(e.ended) > keptFor
	default:
		return false
	}
}

// forget drops what is kept for an ended session.
func (o *sends) forget(session string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.by, session)
}

// sweep drops what was kept long enough, of all sessions.
func (o *sends) sweep(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for session, entries := range o.by {
		for k, e := range entries {
			if e.over(now) {
				delete(entries, k)
			}
		}
		if len(entries) == 0 {
			delete(o.by, session)
		}
	}
}
