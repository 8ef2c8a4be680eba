// Package lease judges who is gone: a home its own sessions, the leader the homes.
package lease

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
)

// Propose ends sessions through the log. nil means that all of the fences are
// over or were stale; on any error they are proposed again later, which is
// harmless. It blocks.
type Propose func(ctx context.Context, sessions []registry.Fence, reason string) error

// Through returns a Propose that goes through the log; by is the id of the
// coordinator that judges.
func Through(p *propose.Proposer, by string) Propose {
	return func(ctx context.Context, sessions []registry.Fence, reason string) error {
		_, _, err := propose.Do[[]string](ctx, p, registry.KindExpire, propose.System(by), registry.Expire{Sessions: sessions, Reason: reason})
		return err
	}
}

// Config is what a Keeper is made of. Only Propose is needed.
type Config struct {
	Propose Propose
	Tick    time.Duration // how often leases are looked at; default 200 ms
	Retry   time.Duration // between two proposals for one session; default 1 s
	Batch   int           // fences of one proposal; default 500
	Logger  *slog.Logger
}

// Reason is why a session ended whose lease ran out.
const Reason = "its lease ran out"

// proposeTimeout bounds one proposal.
const proposeTimeout = 10 * time.Second

// stallThreshold is how late a tick must be to count as a pause of this process: the
// heartbeats of that time could not be heard and must not be missed.
const stallThreshold = time.Second

// clockStep is how often the clock of awake time is looked at.
const clockStep = 200 * time.Millisecond

// Keeper holds the leases of the sessions whose home is here. Renewing is a map look-up
// and a store: a lease is only moved in the queue when its old end has come.
// All methods are safe for concurrent use.
type Keeper struct {
	cfg Config

	// mu guards all below. It is not held while something is proposed.
	mu     sync.Mutex
	leases map[string]*leaseState // by session id
	queue  queue
}

// leaseState is one lease.
type leaseState struct {
	fence  registry.Fence
	lease  time.Duration
	ends   time.Time
	reason string    // it ends then, if that is sooner than the lease says; else ""
	due    time.Time // when to look at it, never after ends but for a retry
	pos    int       // in the queue
	// ending says that the session's end was proposed and may come about, whatever
	// the lease is by then.
	ending bool
}

// New returns a Keeper without leases; they are judged while Run runs.
func New(cfg Config) *Keeper {
	if cfg.Tick <= 0 {
		cfg.Tick = 200 * time.Millisecond
	}
	if cfg.Retry <= 0 {
		cfg.Retry = time.Second
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 500
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, leases: map[string]*leaseState{}}
}

// Grant gives a session whose home is here its full lease from now. A fence of
// an older epoch than the one known is ignored.
func (k *Keeper) Grant(fence registry.Fence, lease time.Duration) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	h, known := k.leases[fence.Session]
	if known && h.fence.Epoch > fence.Epoch {
		return
	}
	if !known {
		h = &leaseState{}
		k.leases[fence.Session] = h
	}
	if h.fence != fence {
		h.ending = false // what was proposed does not fit any more
	}
	h.fence, h.lease, h.ends, h.due, h.reason = fence, lease, now.Add(lease), now.Add(lease), ""
	if known {
		heap.Fix(&k.queue, h.pos)
	} else {
		heap.Push(&k.queue, h)
	}
}

// Renew lets a lease run anew from now; false if there is none of that session.
func (k *Keeper) Renew(session string) bool {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.leases[session]
	if ok {
		h.ends, h.reason = now.Add(h.lease), ""
	}
	return ok
}

// Ending reports whether the session is about to end: renewing does not help any
// more, and no answer may say that it did.
func (k *Keeper) Ending(session string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.leases[session]
	return ok && h.ending
}

// Shorten lets a lease end after the given time, for that reason, unless it is
// renewed. One that ends sooner, and one of another fence, stays as it is.
func (k *Keeper) Shorten(fence registry.Fence, within time.Duration, why string) {
	ends := time.Now().Add(within)
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.leases[fence.Session]
	if !ok || h.fence != fence || h.ending || h.ends.Before(ends) {
		return
	}
	h.ends, h.due, h.reason = ends, ends, why
	heap.Fix(&k.queue, h.pos)
}

// Drop forgets the lease of a session that ended or moved.
func (k *Keeper) Drop(session string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h, ok := k.leases[session]; ok {
		delete(k.leases, session)
		heap.Remove(&k.queue, h.pos)
	}
}

// Len returns the number of leases.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.leases)
}

// Run proposes the end of sessions whose lease ran out, in batches, until ctx
// ends; it returns ctx's error. What was not proposed (unavailable) is proposed
// again as long as the lease is neither renewed nor dropped; where that is not
// certain it is proposed until it is.
func (k *Keeper) Run(ctx context.Context) error {
	return tickLoop(ctx, k.cfg.Tick, k.tick)
}

// tickLoop calls look, with the time when the last one should have been and that of
// now, until ctx ends; it returns ctx's error. They are an interval apart, and
// what the process stood still since the look before began, be it while that
// waited for a proposal. What a look takes by itself is no pause of this process.
func tickLoop(ctx context.Context, interval time.Duration, look func(ctx context.Context, last, now time.Time)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	clock := awake.New(min(interval, clockStep))
	var ticking sync.WaitGroup
	ticking.Go(func() { clock.Run(ctx) })
	defer ticking.Wait()
	began, awakeAt := time.Now(), clock.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, awakeNow := time.Now(), clock.Now()
		stood := now.Sub(began) - (awakeNow - awakeAt)
		began, awakeAt = now, awakeNow
		look(ctx, now.Add(-interval-stood), now)
	}
}

// tick does what is due now; it looked last at the given time.
func (k *Keeper) tick(ctx context.Context, last, now time.Time) {
	if late := now.Sub(last) - k.cfg.Tick; late > stallThreshold {
		k.cfg.Logger.Warn("this process stood still: leases run on by that much", "for", late)
		k.extend(late)
	}
	k.expire(ctx, now)
}

// expire proposes all that is due.
func (k *Keeper) expire(ctx context.Context, now time.Time) {
	for ctx.Err() == nil {
		over, why := k.takeDue(now)
		if len(over) == 0 {
			return
		}
		proposing, cancel := context.WithTimeout(ctx, proposeTimeout)
		err := k.cfg.Propose(proposing, over, why)
		cancel()
		if err != nil {
			if wire.CodeOf(err) == wire.CodeUnavailable {
				k.clearEnding(over)
			}
			if ctx.Err() == nil {
				k.cfg.Logger.Warn("sessions could not be expired; they are tried again", "sessions", len(over), "error", err)
			}
			return
		}
		k.cfg.Logger.Info("sessions expired", "sessions", len(over), "first", over[0].FullName, "reason", why)
		k.dropAll(over)
	}
}

// takeDue returns a batch of fences whose leases ran out, all for one reason. They
// stay in the queue, to be looked at again after Retry.
func (k *Keeper) takeDue(now time.Time) (batch []registry.Fence, why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(batch) < k.cfg.Batch && len(k.queue) > 0 {
		h := k.queue[0]
		if h.due.After(now) {
			break
		}
		reason := Reason
		if h.reason != "" {
			reason = h.reason
		}
		switch {
		case h.ends.After(now) && !h.ending:
			h.due = h.ends // it was renewed
		case len(batch) > 0 && reason != why:
			return batch, why // the next batch
		default:
			why, h.ending = reason, true
			h.due = now.Add(k.cfg.Retry)
			batch = append(batch, h.fence)
		}
		heap.Fix(&k.queue, 0)
	}
	return batch, why
}

// clearEnding notes that the end with these fences was not proposed.
func (k *Keeper) clearEnding(over []registry.Fence) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range over {
		if h, ok := k.leases[f.Session]; ok && h.fence == f {
			h.ending = false
		}
	}
}

// dropAll drops the leases that ended with these fences.
func (k *Keeper) dropAll(over []registry.Fence) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range over {
		if h, ok := k.leases[f.Session]; ok && h.fence == f {
			delete(k.leases, f.Session)
			heap.Remove(&k.queue, h.pos)
		}
	}
}

// extend moves the end of every lease. All move by the same, so the queue
// stays in order but for what waits for a retry.
func (k *Keeper) extend(by time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.queue {
		h.ends = h.ends.Add(by)
	}
}

// queue is a heap by due.
type queue []*leaseState

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i, j
}

func (q *queue) Push(x any) {
	h := x.(*leaseState)
	h.pos = len(*q)
	*q = append(*q, h)
}

func (q *queue) Pop() any {
	old := *q
	h := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return h
}
