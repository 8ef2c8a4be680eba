package jobs

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Assign gives waiting parts to sessions, line by line: a line that no longer
// fits (stale attempt, job ended, limit reached) is skipped, with a verdict.
func (t *Table) Assign(c Assign, at time.Time) ([]Verdict, error) {
	verdicts := make([]Verdict, len(c.Assignments))
	for i, a := range c.Assignments {
		verdicts[i] = t.assign(a, at)
	}
	return verdicts, nil
}

func (t *Table) assign(a Assignment, at time.Time) Verdict {
	conflict := func(format string, args ...any) Verdict {
		return refusedVerdict(a.ref(), wire.CodeConflict, fmt.Sprintf(format, args...))
	}
	r, ok := t.jobs.Get(a.Job)
	if !ok {
		return refusedVerdict(a.ref(), wire.CodeNotFound, "there is no job "+a.Job)
	}
	j := r.job
	switch {
	case a.Session == "":
		return refusedVerdict(a.ref(), wire.CodeInvalid, "an assignment needs a session")
	case a.Part < 0 || a.Part >= j.Total:
		return refusedVerdict(a.ref(), wire.CodeNotFound, fmt.Sprintf("job %s has no part %d", a.Job, a.Part))
	case Final(j.State):
		return conflict("job %s is %s", j.ID, j.State)
	}
	p := r.part(a.Part)
	if p.State != Waiting {
		if p.Attempt == a.Attempt && p.Session == a.Session {
			return Verdict{PartRef: a.ref()} // applied before
		}
		return conflict("part %d of job %s is %s", p.N, j.ID, p.State)
	}
	running, busy := t.groups.Get(j.Group)
	switch {
	case a.Attempt != p.Attempt+1:
		return conflict("part %d of job %s is at attempt %d", p.N, j.ID, p.Attempt)
	case a.Part > j.NextPart:
		return conflict("part %d of job %s is not next: parts are given out in order", p.N, j.ID)
	case j.Parallel > 0 && j.Counts.Assigned+j.Counts.Running >= j.Parallel:
		return conflict("job %s has its %d parts at work", j.ID, j.Parallel)
	case j.Group != "" && busy && running != j.ID:
		return conflict("job %s of group %s is running", running, j.Group)
	}
	r = t.writable(r)
	p.State, p.Attempt, p.Worker, p.Session, p.Home = Assigned, a.Attempt, a.Worker, a.Session, a.Home
	p.Error, p.Started = "", time.Time{}
	if p.Attempt > 1 {
		r.job.Counts.Retries++
	}
	if p.N == r.job.NextPart {
		r.job.NextPart++
	}
	begun := r.job.State == Queued
	if begun {
		r.job.State, r.job.Started = Running, at
	}
	t.movePart(r, Waiting, p)
	t.saveJob(r, j)
	if begun {
		t.emitJob(EventRunning, r.job, "", at)
	}
	t.emitPart(EventPartAssigned, p, "", at)
	return Verdict{PartRef: a.ref()}
}
