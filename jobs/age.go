package jobs

import (
	"cmp"
	"iter"
	"math"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Elapse adds time that a leader saw pass, on its own monotonic clock, to what
// the cluster has counted. From is the count that it is added to: applied twice,
// or by a leader that is none any more, it is refused. Both are nanoseconds.
type Elapse struct {
	From time.Duration `json:"from"`
	By   time.Duration `json:"by"`
}

// Elapse moves the count on. The jobs that began to run or ended since the last
// step are counted from here on, so that no age is ever too high. It returns
// the new count.
func (t *Table) Elapse(c Elapse, _ time.Time) (time.Duration, error) {
	switch {
	case c.From != t.elapsed:
		return 0, wire.Refuse(wire.CodeConflict, "the cluster has counted %v, not %v", t.elapsed, c.From)
	case c.By <= 0 || c.By > math.MaxInt64-c.From:
		return 0, wire.Invalid("by", "%v cannot have passed", c.By)
	}
	t.PutElapsed(c.From + c.By)
	shown := t.changed // what a reader sees of a job stays as it is: nobody is woken
	var ids []string
	t.uncounted.scan(func(k ageKey) bool { ids = append(ids, k.id); return true })
	for _, id := range ids {
		r, _ := t.jobs.Get(id)
		r = t.writable(r)
		t.unindexAge(r.job)
		r.job.Since = t.elapsed
		t.indexAge(r.job)
	}
	t.changed = shown
	return t.elapsed, nil
}

// Elapsed is the time that leaders saw pass and counted. Only differences of it
// mean anything: while nothing ages it stands still.
func (t *Table) Elapsed() time.Duration { return t.elapsed }

// PutElapsed sets the count. It is for commands and for restoring a snapshot.
func (t *Table) PutElapsed(d time.Duration) {
	t.writes++
	t.elapsed = d
}

// Due yields the jobs whose time is over when the count is at now, longest over
// first: final ones that were kept long enough, and running ones whose timeout
// has passed.
func (t *Table) Due(now time.Duration) iter.Seq[Job] {
	return func(yield func(Job) bool) {
		t.due.scan(func(k ageKey) bool {
			if k.at > now {
				return false
			}
			r, _ := t.jobs.Get(k.id)
			return yield(r.job)
		})
	}
}

// HasAging says whether there is any job whose age counts.
func (t *Table) HasAging() bool {
	some := false
	any := func(ageKey) bool { some = true; return false }
	t.due.scan(any)
	t.uncounted.scan(any)
	return some
}

// ShortestUncounted returns the shortest time that a job has which is not
// counted before the next step; false when there is none.
func (t *Table) ShortestUncounted() (limit time.Duration, ok bool) {
	t.uncounted.scan(func(k ageKey) bool { limit, ok = k.at, true; return false })
	return limit, ok
}

// ageKey is a job whose age counts, by when its time is over; of those that are
// not counted yet by how long that takes.
type ageKey struct {
	at time.Duration
	id string
}

func (a ageKey) Compare(b ageKey) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id))
}

// limit is how long the job may be as it is; 0 is for ever.
func (j Job) limit() time.Duration {
	switch {
	case Final(j.State):
		return time.Duration(j.Keep)
	case j.State == Running:
		return time.Duration(j.Timeout)
	}
	return 0
}

func (t *Table) ageIndex(j Job) (*tree[ageKey], ageKey) {
	if j.Since == 0 {
		return &t.uncounted, ageKey{j.limit(), j.ID}
	}
	return &t.due, ageKey{j.Since + j.limit(), j.ID}
}

func (t *Table) indexAge(j Job) {
	if j.limit() > 0 {
		x, k := t.ageIndex(j)
		x.insert(k)
	}
}

func (t *Table) unindexAge(j Job) {
	if j.limit() > 0 {
		x, k := t.ageIndex(j)
		x.remove(k)
	}
}
