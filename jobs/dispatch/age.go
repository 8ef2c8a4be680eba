package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
)

// Steps in which the time that passes is written down: every longStep; earlier
// in a leadership, so that much of a short one counts; and earlier when a job is to
// be counted that has little time, so that it gets at most a tenth more.
const (
	longStep  = time.Minute
	firstStep = 5 * time.Second
)

// ageClock is how far the leader's own monotonic clock is beyond what the cluster
// has counted. Wall clocks have no part in it: they jump.
type ageClock struct {
	began   time.Time     // the leadership
	counted time.Duration // jobs.Table.Elapsed when last seen
	at      time.Time     // when the count was that
}

// sync brings a in line with what the state has counted.
func (a *ageClock) sync(counted time.Duration, now time.Time) {
	switch {
	case a.began.IsZero():
		a.began, a.at = now, now
	case counted > a.counted:
		if a.at = a.at.Add(counted - a.counted); a.at.After(now) {
			a.at = now
		}
	}
	a.counted = counted
}

// uncounted is what is not counted yet.
func (a *ageClock) uncounted(now time.Time) time.Duration { return now.Sub(a.at) }

// skip does not count a time in which this process or the log stood still.
func (a *ageClock) skip(still time.Duration) { a.at = a.at.Add(still) }

// stepDue says whether what passed is to be written down now.
func (a *ageClock) stepDue(view *fsm.State, now time.Time) bool {
	passed := a.uncounted(now)
	if passed <= 0 {
		return false
	}
	if limit, ok := view.Jobs.ShortestUncounted(); ok && passed >= limit/10 {
		return true
	}
	return passed >= min(longStep, max(firstStep, now.Sub(a.began)/2))
}

// countAge lets jobs age: it ends and forgets those whose time is over, and
// writes down in coarse steps what passed. Nothing is written while no job's
// age counts.
func (d *dispatcher) countAge(ctx context.Context, view *fsm.State, now time.Time) error {
	a := &d.deadlines.age
	a.sync(view.Jobs.Elapsed(), now)
	if !view.Jobs.HasAging() {
		a.at = now
		return nil
	}
	over := 0
	for job := range view.Jobs.Due(a.counted + a.uncounted(now)) {
		if over++; over > batchJobs {
			break
		}
		if err := d.ageOutJob(ctx, job); err != nil {
			return err
		}
	}
	if !a.stepDue(view, now) {
		return nil
	}
	_, err := write[time.Duration](ctx, d, jobs.KindElapse, jobs.Elapse{From: a.counted, By: a.uncounted(now)})
	if err != nil && !alreadyDone(err) {
		return fmt.Errorf("count %v that passed: %w", a.uncounted(now), err)
	}
	return nil
}

// ageOutJob ends a running job, and forgets one that has ended.
func (d *dispatcher) ageOutJob(ctx context.Context, job jobs.Job) error {
	if !jobs.Final(job.State) {
		return d.failTimedOut(ctx, job)
	}
	if _, err := write[struct{}](ctx, d, jobs.KindForget, jobs.Forget{ID: job.ID}); err != nil && !alreadyDone(err) {
		return fmt.Errorf("forget job %s: %w", job.ID, err)
	}
	return nil
}
