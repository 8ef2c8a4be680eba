package router

import (
	"context"
	"sync"

	"github.com/folkmoot/folkmoot/wire"
)

// asker is someone who needs the directory to be at least as new as now.
type asker interface {
	// asks is called when a round begins, before the directory is asked.
	asks()
	// told is called when the round has ended.
	told(err *wire.Error)
}

// lookups makes the directory fresh, one round for all who ask while the round
// before is under way. What waits for a round is bounded by the accounts of
// the messages that wait for it.
type lookups struct {
	mu   sync.Mutex
	list []asker
	wake chan struct{} // capacity 1
}

func (q *lookups) add(a asker) {
	q.mu.Lock()
	q.list = append(q.list, a)
	q.mu.Unlock()
	rouse(q.wake)
}

func rouse(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// lookUp runs the rounds until ctx ends; those who still wait are then told.
func (r *Router) lookUp(ctx context.Context) {
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
			a.asks()
		}
		err := r.freshen(ctx)
		for _, a := range round {
			a.told(err)
		}
	}
	r.lookups.mu.Lock()
	rest := r.lookups.list
	r.lookups.list = nil
	r.lookups.mu.Unlock()
	for _, a := range rest {
		a.asks()
		a.told(stopping("an unknown name"))
	}
}

func (r *Router) freshen(ctx context.Context) *wire.Error {
	r.stats.add(cFresh)
	ctx, cancel := context.WithTimeout(ctx, r.limits.Fresh)
	defer cancel()
	if err := r.dir.Fresh(ctx); err != nil {
		return wire.NotTried("the name could not be looked up within %s: %v", r.limits.Fresh, err)
	}
	return nil
}

// look has a pair wait for a fresh directory; the shard's mu is held.
func (r *Router) look(p *pair) {
	p.looking = true
	r.lookups.add(pairAsks{r, p})
}

type pairAsks struct {
	r *Router
	p *pair
}

func (a pairAsks) asks() {
	a.p.shard.mu.Lock()
	defer a.p.shard.mu.Unlock()
	for e := a.p.parked.head; e != nil; e = e.next {
		e.asked = true
	}
}

func (a pairAsks) told(err *wire.Error) {
	a.p.shard.mu.Lock()
	defer a.p.shard.mu.Unlock()
	a.p.looking = false
	for e := a.p.parked.head; e != nil; e = e.next {
		if e.asked {
			e.asked, e.fresh, e.freshErr = false, true, err
		}
	}
	a.r.pump(a.p, nil)
}
