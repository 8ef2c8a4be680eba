// Package jobs is the life of a job and its parts: a pure table, the commands
// that change it, and the plan that says which part goes to which worker.
package jobs

import (
	"cmp"
	"encoding/json"
	"iter"
	"time"

	"github.com/tidwall/btree"
)

// Table holds all jobs and parts. The zero value is an empty table. A table
// that others may see is frozen: only the applying goroutine calls Next, Put
// and the commands, and only on the newest copy. Reads need no lock.
type Table struct {
	index  uint64
	events []Event
	writes int
	// owner marks the records this copy may change in place. Only the applying
	// goroutine looks at it.
	owner *owner

	jobs    btree.Map[string, *record]
	elapsed time.Duration // counted by Elapse

	active    tree[activeKey]           // queued and running jobs
	ready     tree[activeKey]           // those of them that have waiting parts
	due       tree[ageKey]              // jobs whose age is counted, by when their time is over
	uncounted tree[ageKey]              // those whose age counts from the next Elapse on
	groups    btree.Map[string, string] // group: its one running job
	held      tree[heldKey]             // assigned and running parts by session
	holds     btree.Map[string, int]    // how many parts a session holds

	health  btree.Map[string, WorkerHealth] // by full name: sessions of which an attempt failed
	size    Size                            // sums over the records
	states  StateCounts                     // of the records
	changed Changed
	loading loading // where Load is; not copied
}

// Changed is at which index something changed last since the table was made or
// loaded: 0 is not since then. It is no part of the state: replicas that began
// with different snapshots differ in it.
type Changed struct {
	Jobs  uint64 // jobs and parts
	Holds uint64 // which parts are whose
}

type owner struct{ _ byte }

// record is a job with its parts. A record is copied before its first change
// in a copy of the table, which costs the same for one part as for 100,000.
type record struct {
	own     *owner
	job     Job
	parts   btree.Map[int, *Part] // rows; parts from job.NextPart on have none
	waiting btree.Set[int]        // rows that wait for another attempt
	busy    btree.Set[int]        // rows assigned or running
	ended   tree[endedKey]        // final rows in order of ending
	size    Size                  // of this job alone
}

type activeKey struct {
	priority int
	index    uint64
	id       string
}

func (a activeKey) Compare(b activeKey) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.index, b.index), cmp.Compare(a.id, b.id))
}

type heldKey struct {
	session, job string
	n            int
}

func (a heldKey) Compare(b heldKey) int {
	return cmp.Or(cmp.Compare(a.session, b.session), cmp.Compare(a.job, b.job), cmp.Compare(a.n, b.n))
}

type endedKey struct {
	index uint64
	n     int
}

func (a endedKey) Compare(b endedKey) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.n, b.n))
}

// Next returns a copy of t for the commands of the log entry at index, at the
// cost of a few pointers. t itself is frozen from then on.
func (t *Table) Next(index uint64) *Table {
	c := &Table{
		index:     index,
		owner:     new(owner),
		jobs:      *t.jobs.Copy(),
		active:    t.active.copy(),
		ready:     t.ready.copy(),
		elapsed:   t.elapsed,
		due:       t.due.copy(),
		uncounted: t.uncounted.copy(),
		groups:    *t.groups.Copy(),
		held:      t.held.copy(),
		holds:     *t.holds.Copy(),
		health:    *t.health.Copy(),
		size:      t.size,
		states:    t.states,
		changed:   t.changed,
	}
	t.owner = new(owner)
	return c
}

// Changed returns when something changed last.
func (t *Table) Changed() Changed { return t.changed }

// Writes counts what was changed in this copy or emitted by it, so that a caller
// can see whether a refused command left it as it was.
func (t *Table) Writes() int { return t.writes }

// Len returns the number of jobs.
func (t *Table) Len() int { return t.jobs.Len() }

// Job returns the job of that id.
func (t *Table) Job(id string) (Job, bool) {
	r, ok := t.jobs.Get(id)
	if !ok {
		return Job{}, false
	}
	return r.job, true
}

// Jobs yields all jobs by id.
func (t *Table) Jobs() iter.Seq[Job] { return t.JobsAfter("") }

// JobsAfter yields the jobs with an id after the given one.
func (t *Table) JobsAfter(id string) iter.Seq[Job] {
	return func(yield func(Job) bool) {
		t.jobs.Ascend(id, func(k string, r *record) bool { return k == id || yield(r.job) })
	}
}

// Active yields the queued and running jobs, highest priority first, then by
// the order of submission.
func (t *Table) Active() iter.Seq[Job] {
	return func(yield func(Job) bool) {
		t.active.scan(func(k activeKey) bool {
			r, _ := t.jobs.Get(k.id)
			return yield(r.job)
		})
	}
}

// Part returns part n of a job; one that was never assigned has no row and is
// made up here.
func (t *Table) Part(job string, n int) (Part, bool) {
	r, ok := t.jobs.Get(job)
	if !ok || n < 0 || n >= r.job.Total {
		return Part{}, false
	}
	return r.part(n), true
}

// Parts yields all parts of a job by number.
func (t *Table) Parts(job string) iter.Seq[Part] { return t.PartsAfter(job, -1) }

// PartsAfter yields the parts of a job after part n, by number.
func (t *Table) PartsAfter(job string, n int) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		r, ok := t.jobs.Get(job)
		if !ok {
			return
		}
		for i := max(n+1, 0); i < r.job.Total; i++ {
			if !yield(r.part(i)) {
				return
			}
		}
	}
}

// Ended yields the final parts of a job in the order (EndedIndex, N), from
// after that place on; (0, -1) is the beginning.
func (t *Table) Ended(job string, afterIndex uint64, afterPart int) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		r, ok := t.jobs.Get(job)
		if !ok {
			return
		}
		from, on := endedKey{afterIndex, afterPart}, true
		r.ended.ascend(from, func(k endedKey) bool {
			on = k == from || yield(r.part(k.n))
			return on
		})
		if !on || !Final(r.job.State) || r.job.EndIndex < afterIndex {
			return
		}
		// Those never assigned ended with their job; their numbers are higher
		// than all that have a row.
		n := r.job.NextPart
		if r.job.EndIndex == afterIndex {
			n = max(n, afterPart+1)
		}
		for ; n < r.job.Total; n++ {
			if !yield(r.part(n)) {
				return
			}
		}
	}
}

// Item returns what part n of j works on: its item, or {"from":a,"to":b}.
func (t *Table) Item(j Job, n int) json.RawMessage { return j.Item(n) }

// HeldBy yields the assigned and running parts of a session, by job and number.
func (t *Table) HeldBy(session string) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		t.held.ascend(heldKey{session: session}, func(k heldKey) bool {
			return k.session == session && yield(t.partAt(k.job, k.n))
		})
	}
}

// Busy yields all assigned and running parts, by session.
func (t *Table) Busy() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		t.held.scan(func(k heldKey) bool { return yield(t.partAt(k.job, k.n)) })
	}
}

// Held returns how many parts a session holds.
func (t *Table) Held(session string) int {
	n, _ := t.holds.Get(session)
	return n
}

func (t *Table) partAt(job string, n int) Part {
	r, _ := t.jobs.Get(job)
	return r.part(n)
}

func (r *record) part(n int) Part {
	if p, ok := r.parts.Get(n); ok {
		return *p
	}
	p := Part{Job: r.job.ID, N: n, State: Waiting}
	if Final(r.job.State) {
		p.State, p.Ended, p.EndedIndex = Cancelled, r.job.Ended, r.job.EndIndex
	}
	return p
}

// HasWaiting says whether any active job has a part that waits for an attempt.
func (t *Table) HasWaiting() bool {
	some := false
	t.ready.scan(func(activeKey) bool { some = true; return false })
	return some
}
