package router

import (
	"context"

	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/wire"
)

// lookupWaiter is someone who needs the directory to be at least as new as now.
type lookupWaiter interface {
	// asks is called when a round begins, before the directory is asked.
	lookupStarted()
	// told is called when the round has ended.
	lookupDone(err *wire.Error)
}

// lookupQueue makes the directory fresh, one round for all who ask while the round
// before is under way. What waits for a round is bounded by the accounts of
// the messages that wait for it.
type lookupQueue struct {
	mu   lockorder.Mutex[lockorder.Leaf]
	list []lookupWaiter
	wake chan struct{} // capacity 1
}

func (q *lookupQueue) enqueue(a lookupWaiter) {
	q.mu.Lock()
	q.list = append(q.list, a)
	q.mu.Unlock()
	wake(q.wake)
}

func wake(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// runLookups runs the rounds until ctx ends; those who still wait are then told.
func (r *Router) runLookups(ctx context.Context) {
	for ctx.Err() == nil {
		r.lookups.mu.Lock()
		round := r.lookups.list
		r.lookups.list = nil
		r.lookups.mu.Unlock()
		if len(round) == 0 {
			select {
			case <-r.lookups.wake:
			case <-ctx.Done():
			}
			continue
		}
		for _, a := range round {
			a.lookupStarted()
		}
		err := r.refreshDirectory(ctx)
		for _, a := range round {
			a.lookupDone(err)
		}
	}
	r.lookups.mu.Lock()
	rest := r.lookups.list
	r.lookups.list = nil
	r.lookups.mu.Unlock()
	for _, a := range rest {
		a.lookupStarted()
		a.lookupDone(stoppingError("an unknown name"))
	}
}

func (r *Router) refreshDirectory(ctx context.Context) *wire.Error {
	r.stats.inc(cLookups)
	ctx, cancel := context.WithTimeout(ctx, r.limits.Fresh)
	defer cancel()
	if err := r.dir.Fresh(ctx); err != nil {
		return wire.NotTried("the name could not be looked up within %s: %v", r.limits.Fresh, err)
	}
	return nil
}

// requestLookup has a stream wait for a fresh directory; the shard's mu is held.
func (r *Router) requestLookup(st *stream) {
	st.lookupPending = true
	r.lookups.enqueue(streamLookup{r, st})
}

type streamLookup struct {
	r *Router
	p *stream
}

func (a streamLookup) lookupStarted() {
	a.p.shard.mu.Lock()
	defer a.p.shard.mu.Unlock()
	for e := a.p.parked.head; e != nil; e = e.next {
		e.lookupStarted = true
	}
}

func (a streamLookup) lookupDone(err *wire.Error) {
	a.p.shard.mu.Lock()
	defer a.p.shard.mu.Unlock()
	a.p.lookupPending = false
	for e := a.p.parked.head; e != nil; e = e.next {
		if e.lookupStarted {
			e.lookupStarted, e.lookedUp, e.lookupErr = false, true, err
		}
	}
	a.r.pump(a.p, nil)
}
