package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
)

// deadlines measures how long things take on the leader's own clock: the log's
// times are labels of many clocks.
type deadlines struct {
	cfg   Config
	parts map[partKey]partMark
	jobs  map[string]time.Time // running jobs with a timeout: first seen so
	avoid map[string]time.Time // sessions that started nothing: until when
	last  time.Time            // of the last look
	age   ageClock
}

type partKey struct {
	job string
	n   int
}

type partMark struct {
	ref   jobs.Ref
	state string
	since time.Time
}

// overduePart is an attempt to be taken back, with the reason.
type overduePart struct {
	ref    jobs.Ref
	reason string
}

func newDeadlines(cfg Config) *deadlines {
	return &deadlines{cfg: cfg, parts: map[partKey]partMark{}, jobs: map[string]time.Time{}, avoid: map[string]time.Time{}}
}

func (j *deadlines) avoided(session string, now time.Time) bool {
	until, ok := j.avoid[session]
	return ok && now.Before(until)
}

// resetIfStalled forgets all marks when this process, or the log, stood still: then
// nobody could report, and everybody gets the whole time again.
func (j *deadlines) resetIfStalled(now time.Time) {
	if still := now.Sub(j.last); !j.last.IsZero() && still > j.cfg.Tick+stallThreshold {
		clear(j.parts)
		clear(j.jobs)
		j.age.skip(still)
	}
	j.last = now
	for session, until := range j.avoid {
		if !now.Before(until) {
			delete(j.avoid, session)
		}
	}
}

// overdue returns the attempts whose time is over or whose session is gone.
func (j *deadlines) overdue(view *fsm.State, now time.Time) (list []overduePart) {
	marks := make(map[partKey]partMark, len(j.parts))
	for p := range view.Jobs.Busy() {
		k, ref := partKey{p.Job, p.N}, p.Ref()
		m := j.parts[k]
		if m.ref != ref || m.state != p.State {
			m = partMark{ref: ref, state: p.State, since: now}
		}
		marks[k] = m
		if reason := j.overdueReason(view, p, now.Sub(m.since)); reason != "" {
			list = append(list, overduePart{ref, reason})
			if p.State == jobs.Assigned {
				j.avoid[p.Session] = now.Add(j.cfg.AvoidFor)
			}
		}
	}
	j.parts = marks
	return list
}

func (j *deadlines) overdueReason(view *fsm.State, p jobs.Part, took time.Duration) string {
	if _, ok := view.Registry.SessionByID(p.Session); !ok {
		return fmt.Sprintf("worker %s is gone", p.Worker)
	}
	if p.State == jobs.Assigned {
		if took < j.cfg.StartGrace {
			return ""
		}
		return fmt.Sprintf("worker %s did not start it within %v", p.Worker, j.cfg.StartGrace)
	}
	job, _ := view.Jobs.Job(p.Job)
	if limit := time.Duration(job.PartTimeout) + j.cfg.FinishGrace; took >= limit {
		return fmt.Sprintf("worker %s did not finish it within %v", p.Worker, limit)
	}
	return ""
}

// timedOut returns the running jobs that took longer than their timeout.
func (j *deadlines) timedOut(view *fsm.State, now time.Time) (list []jobs.Job) {
	marks := make(map[string]time.Time, len(j.jobs))
	for job := range view.Jobs.Active() {
		if job.Timeout <= 0 || job.State != jobs.Running {
			continue
		}
		since, ok := j.jobs[job.ID]
		if !ok {
			since = now
		}
		marks[job.ID] = since
		if now.Sub(since) >= time.Duration(job.Timeout) && len(list) < batchJobs {
			list = append(list, job)
		}
	}
	j.jobs = marks
	return list
}

// checkDeadlines ends what has taken too long: attempts, jobs, and the time that a final
// job is kept. The first failed proposal ends it; the next look goes on.
func (d *dispatcher) checkDeadlines(ctx context.Context) error {
	now := time.Now()
	d.deadlines.resetIfStalled(now)
	view := d.Machine.View()
	d.retries.prune(view, now)
	if err := d.requeue(ctx, d.deadlines.overdue(view, now)); err != nil {
		return fmt.Errorf("take parts back: %w", err)
	}
	for _, job := range d.deadlines.timedOut(view, now) {
		if err := d.failTimedOut(ctx, job); err != nil {
			return err
		}
	}
	return d.countAge(ctx, view, now)
}

func (d *dispatcher) failTimedOut(ctx context.Context, job jobs.Job) error {
	reason := fmt.Sprintf("timed out: it ran longer than its timeout of %v", time.Duration(job.Timeout))
	_, err := write[jobs.Job](ctx, d, jobs.KindCancel, jobs.Cancel{ID: job.ID, State: jobs.Failed, Reason: reason})
	if err != nil && !alreadyDone(err) {
		return fmt.Errorf("end job %s: %w", job.ID, err)
	}
	d.Logger.Info("job timed out", "job", job.ID, "timeout", time.Duration(job.Timeout))
	return nil
}

// requeue proposes to requeue attempts, those with the same reason together.
func (d *dispatcher) requeue(ctx context.Context, late []overduePart) error {
	for len(late) > 0 {
		n := 1
		for n < len(late) && n < batchParts && late[n].reason == late[0].reason {
			n++
		}
		refs := make([]jobs.Ref, n)
		for i := range refs {
			refs[i] = late[i].ref
		}
		if _, err := write[[]jobs.Verdict](ctx, d, jobs.KindRequeue, jobs.Requeue{Parts: refs, Reason: late[0].reason}); err != nil {
			return err
		}
		d.Logger.Info("parts taken back", "parts", n, "reason", late[0].reason)
		late = late[n:]
	}
	return nil
}
