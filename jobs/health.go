package jobs

import (
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
	"time"
)

// The waits before a part is tried again after a failure: firstWait, doubling
// to lastWait, and up to a quarter more, so that parts that failed together do
// not come back together.
const (
	firstWait = time.Second
	lastWait  = 48 * time.Second // a minute with the quarter
)

// WorkerHealth is what is held against a worker that is signed in. There is a
// row for every session of which an attempt has failed, until it ends. Its
// fields are the words of a snapshot: add, never rename.
type WorkerHealth struct {
	Worker  string `json:"full_name"`
	Session string `json:"session"`
	Failed  int    `json:"failed,omitempty"` // attempts that failed in this session
	Blamed  int    `json:"blamed,omitempty"`
}

// Suspect says whether the worker gets fewer parts than its slots allow.
func (h WorkerHealth) Suspect() bool { return h.Blamed >= SuspectAt }

// Rest is how long a suspect worker waits from one part to the next: 1 s,
// doubling with every further blame to a minute.
func (h WorkerHealth) Rest() time.Duration {
	if !h.Suspect() {
		return 0
	}
	return min(time.Second<<(h.Blamed-SuspectAt), time.Minute)
}

// Reason says in a sentence why the worker is suspect.
func (h WorkerHealth) Reason() string {
	return fmt.Sprintf("%d of its attempts failed, and other workers did the same parts", h.Failed)
}

// Health returns what is held against a worker, the zero value if nothing is.
func (t *Table) Health(worker string) WorkerHealth {
	h, _ := t.health.Get(worker)
	return h
}

// HealthRows yields the rows of all workers of which an attempt has failed, by
// full name.
func (t *Table) HealthRows() iter.Seq[WorkerHealth] {
	return func(yield func(WorkerHealth) bool) {
		t.health.Scan(func(_ string, h WorkerHealth) bool { return yield(h) })
	}
}

// PutHealth writes a row. It checks nothing: it is for commands and for
// restoring a snapshot.
func (t *Table) PutHealth(h WorkerHealth) {
	t.writes++
	t.health.Set(h.Worker, h)
}

// ResetHealth drops what is held against a worker. It is called when a session
// ends: whoever signs in next under the name begins anew.
func (t *Table) ResetHealth(worker, session string) {
	if h, ok := t.health.Get(worker); ok && h.Session == session {
		t.writes++
		t.health.Delete(worker)
	}
}

// recordFailure remembers that the current attempt of a part failed; by whom only
// where the results have room for the name. The session is signed in, or the
// attempt would have been taken back.
func (t *Table) recordFailure(r *record, p Part, quota int64) Part {
	h := t.Health(p.Worker)
	if h.Session != p.Session {
		h = WorkerHealth{Worker: p.Worker, Session: p.Session}
	}
	h.Failed++
	t.PutHealth(h)
	if slices.Contains(p.FailedBy, p.Worker) || t.overQuota(r, len(p.Worker), quota) != "" {
		return p
	}
	p.FailedBy = slices.Concat(p.FailedBy[max(0, len(p.FailedBy)+1-maxFailedBy):], []string{p.Worker}) // old rows share the slice
	return p
}

// recordSuccess takes a blame from the worker that did a part, and blames those
// that failed it.
func (t *Table) recordSuccess(p Part, at time.Time) {
	if h, ok := t.health.Get(p.Worker); ok && h.Session == p.Session && h.Blamed > 0 {
		h.Blamed--
		t.PutHealth(h)
		if h.Blamed == SuspectAt-1 {
			t.emitWorker(EventWorkerTrusted, h, "its attempts succeed again", at)
		}
	}
	for _, worker := range p.FailedBy {
		h, ok := t.health.Get(worker)
		if !ok || worker == p.Worker || h.Blamed >= maxBlamed {
			continue
		}
		h.Blamed++
		t.PutHealth(h)
		if h.Blamed == SuspectAt {
			t.emitWorker(EventWorkerSuspect, h, h.Reason(), at)
		}
	}
}

// FailedLast says whether the part waits because its last attempt failed, and
// not because that was taken back.
func (p Part) FailedLast() bool { return p.State == Waiting && p.Failures > 0 && p.Session != "" }

// RetryAfter is how long a part whose last attempt failed waits for the next
// one. It is the same whoever asks, and another for every part and attempt.
func (p Part) RetryAfter() time.Duration {
	wait := lastWait
	if n := p.Failures - 1; n < 6 {
		wait = min(firstWait<<max(n, 0), lastWait)
	}
	h := fnv.New64a()
	h.Write([]byte(p.Job + "/" + strconv.Itoa(p.N) + "/" + strconv.Itoa(p.Attempt)))
	return wait + time.Duration(h.Sum64()%uint64(wait/4))
}

// Retrying yields the parts that wait because their last attempt failed.
func (t *Table) Retrying() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		t.ready.scan(func(k activeKey) bool {
			r, _ := t.jobs.Get(k.id)
			on := true
			r.waiting.Scan(func(n int) bool {
				p := r.part(n)
				on = !p.FailedLast() || yield(p)
				return on
			})
			return on
		})
	}
}
