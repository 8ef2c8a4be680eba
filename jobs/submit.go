package jobs

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// namespaceLevel is the level from which on jobs have a namespace.
const namespaceLevel = 2

// MinLevel is the level that the command needs: older binaries know no namespaces
// of jobs.
func (c *Submit) MinLevel() int {
	if c.Spec.Namespace != "" {
		return namespaceLevel
	}
	return 1
}

// Submit takes a job in. It costs the same for one part as for 100,000.
func (t *Table) Submit(c Submit, at time.Time) (Job, error) {
	if c.Spec.Namespace == DefaultNamespace {
		c.Spec.Namespace = ""
	}
	if r, ok := t.jobs.Get(c.ID); ok {
		if !r.job.Spec.same(c.Spec) {
			return Job{}, wire.Refuse(wire.CodeConflict, "there is a job %s with other content", c.ID)
		}
		return r.job, nil
	}
	if err := c.checkRules(); err != nil {
		return Job{}, err
	}
	j := Job{
		ID: c.ID, Spec: c.Spec, State: Queued, By: c.By, ResultQuota: c.ResultQuota, Submitted: at,
		SubmitIndex: t.index, Index: t.index, Total: c.Spec.Parts(),
	}
	t.PutJob(j)
	t.emitJob(EventSubmitted, j, "", at)
	return j, nil
}

// Cancel ends a job and takes all its parts back. Applied twice it changes
// nothing more; a job that ended otherwise is a conflict.
func (t *Table) Cancel(c Cancel, at time.Time) (Job, error) {
	if c.State == "" {
		c.State = Cancelled
	}
	if c.State != Cancelled && c.State != Failed {
		return Job{}, wire.Invalid("state", "a job is cancelled or failed, not %q", c.State)
	}
	r, ok := t.jobs.Get(c.ID)
	if !ok {
		return Job{}, errNoJob(c.ID)
	}
	if r.job.State == c.State {
		return r.job, nil
	}
	if Final(r.job.State) {
		return Job{}, wire.Refuse(wire.CodeConflict, "job %s is already %s", c.ID, r.job.State)
	}
	r = t.writable(r)
	t.endJob(r, c.State, c.Reason, at)
	return r.job, nil
}

// Forget removes a final job. It costs the same for one part as for 100,000.
// Applied twice it changes nothing more.
func (t *Table) Forget(c Forget, at time.Time) (struct{}, error) {
	r, ok := t.jobs.Get(c.ID)
	if !ok {
		return struct{}{}, nil
	}
	if !Final(r.job.State) {
		return struct{}{}, wire.Refuse(wire.CodeConflict, "job %s is %s: only a job that ended is forgotten", c.ID, r.job.State)
	}
	t.noteWrite()
	t.unindex(r.job)
	t.jobs.Delete(c.ID)
	t.size.add(r.size, -1)
	t.emitJob(EventForgotten, r.job, "", at)
	return struct{}{}, nil
}

// endJob brings the job of a writable record to its final state. Parts that are
// not final become cancelled; those never assigned need no row for that.
func (t *Table) endJob(r *record, state, reason string, at time.Time) {
	old := r.job
	var open []int
	r.busy.Scan(func(n int) bool { open = append(open, n); return true })
	r.waiting.Scan(func(n int) bool { open = append(open, n); return true })
	for _, n := range open {
		p := r.part(n)
		from := p.State
		p.State, p.Ended, p.EndedIndex = Cancelled, at, t.index
		t.movePart(r, from, p)
		if from != Waiting {
			t.emitPart(EventPartCancelled, p, reason, at)
		}
	}
	r.job.Counts.Cancelled += r.job.Waiting()
	r.job.State, r.job.Reason, r.job.Ended, r.job.EndIndex = state, reason, at, t.index
	r.job.Since = 0 // from now on the time that it is kept counts
	t.saveJob(r, old)
	kind := EventDone
	switch state {
	case Failed:
		kind = EventFailed
	case Cancelled:
		kind = EventCancelled
	}
	t.emitJob(kind, r.job, reason, at)
}

func errNoJob(id string) error { return wire.Refuse(wire.CodeNotFound, "there is no job %s", id) }

func givenUpReason(p Part, times int, how string) string {
	return fmt.Sprintf("part %d was %s %d times", p.N, how, times)
}
