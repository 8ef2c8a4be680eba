package dispatch

import (
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
)

// retries says when parts that failed, and workers that fail, may be tried
// again, on the leader's own clock from when it learnt of the failure.
type retries struct {
	parts map[partKey]rest
	given map[string]time.Time // suspect sessions: when one was last given a part
	next  time.Time            // the first end of a rest that a plan came upon

	index uint64 // place in the feed up to which failures are known
	seq   int
	began bool
}

// rest of a part after its failed attempt.
type rest struct {
	attempt int
	until   time.Time
}

func newRetries() *retries {
	return &retries{parts: map[partKey]rest{}, given: map[string]time.Time{}}
}

// follow records the failures that were emitted since it was last called.
func (r *retries) follow(m Machine, now time.Time) {
	for r.began {
		events, lagged := m.Feed().Since(r.index, r.seq)
		if lagged {
			break
		}
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			if e.Kind == jobs.EventPartRetried {
				r.note(*e.Part, now)
			}
		}
		last := events[len(events)-1]
		r.index, r.seq = last.Index, last.Seq
	}
	view := m.View()
	r.began = true
	r.index, r.seq = view.Position()
	for p := range view.Jobs.Retrying() {
		r.note(p, now)
	}
}

// note returns the rest of a part, which begins now if it is not known.
func (r *retries) note(p jobs.Part, now time.Time) rest {
	k := partKey{p.Job, p.N}
	known, ok := r.parts[k]
	if !ok || known.attempt != p.Attempt {
		known = rest{p.Attempt, now.Add(p.RetryAfter())}
		r.parts[k] = known
	}
	return known
}

// rests is what a plan asks of a part that failed.
func (r *retries) rests(now time.Time) func(jobs.Part) bool {
	r.next = time.Time{}
	return func(p jobs.Part) bool {
		until := r.note(p, now).until
		if !now.Before(until) {
			return false
		}
		r.wakeAt(until)
		return true
	}
}

func (r *retries) wakeAt(at time.Time) {
	if r.next.IsZero() || at.Before(r.next) {
		r.next = at
	}
}

// slots is how many parts a worker may have at once: of a suspect one is tried
// at a time, with a rest between them.
func (r *retries) slots(h jobs.WorkerHealth, session string, all int, now time.Time) int {
	if h.Session != session || !h.Suspect() {
		return all
	}
	if until := r.given[session].Add(h.Rest()); now.Before(until) {
		r.wakeAt(until)
		return 0
	}
	return 1
}

// noteGiven notes what was given to suspects.
func (r *retries) noteGiven(view *fsm.State, plan []jobs.Assignment, now time.Time) {
	for _, a := range plan {
		if h := view.Jobs.Health(a.Worker); h.Session == a.Session && h.Suspect() {
			r.given[a.Session] = now
		}
	}
}

// prune drops what is no longer of use.
func (r *retries) prune(view *fsm.State, now time.Time) {
	for k, known := range r.parts {
		if p, ok := view.Jobs.Part(k.job, k.n); !ok || !p.FailedLast() || p.Attempt != known.attempt {
			delete(r.parts, k)
		}
	}
	for session, at := range r.given {
		if now.Sub(at) > time.Minute {
			delete(r.given, session)
		}
	}
}
