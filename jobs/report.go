package jobs

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// Start notes that attempts began, line by line. A stale line is a conflict
// by which the worker drops that attempt; the others go on.
func (t *Table) Start(c Start, at time.Time) ([]Verdict, error) {
	verdicts := make([]Verdict, len(c.Parts))
	for i, ref := range c.Parts {
		verdicts[i] = t.start(ref, at)
	}
	return verdicts, nil
}

func (t *Table) start(ref Ref, at time.Time) Verdict {
	r, p, v := t.checkFence(ref)
	if v.Code != "" {
		return v
	}
	switch p.State {
	case Running:
		return v // reported before
	case Assigned:
	default:
		return refusedVerdict(v.PartRef, wire.CodeConflict, fmt.Sprintf("part %d of job %s is %s", p.N, p.Job, p.State))
	}
	r = t.writable(r)
	old := r.job
	p.State, p.Started = Running, at
	t.movePart(r, Assigned, p)
	t.saveJob(r, old)
	t.emitPart(EventPartStarted, p, "", at)
	return v
}

// Finish takes the outcomes of attempts, line by line. The first report of the
// current attempt counts; repeated it is accepted and changes nothing. A
// stale attempt or session is a conflict.
func (t *Table) Finish(c Finish, at time.Time) ([]Verdict, error) {
	verdicts := make([]Verdict, len(c.Parts))
	for i, d := range c.Parts {
		verdicts[i] = t.finish(d, c.ResultQuota, at)
	}
	return verdicts, nil
}

func (t *Table) finish(d PartDone, quota int64, at time.Time) Verdict {
	r, p, v := t.checkFence(d.Ref)
	if v.Code != "" {
		return v
	}
	switch p.State {
	case Assigned, Running:
	case Cancelled:
		return refusedVerdict(v.PartRef, wire.CodeConflict, fmt.Sprintf("job %s is %s", p.Job, r.job.State))
	default:
		return v // reported before: done, failed, or waiting after this very attempt failed
	}
	r = t.writable(r)
	if !d.OK {
		t.fail(r, p, d, quota, at)
	} else if why := t.overQuota(r, len(d.Result), quota); why != "" {
		t.failOverQuota(r, p, d, why, at)
	} else {
		t.succeed(r, p, d, at)
	}
	return v
}

func (t *Table) succeed(r *record, p Part, d PartDone, at time.Time) {
	old, from := r.job, p.State
	p.State, p.Result, p.Error, p.Millis = Done, d.Result, "", d.Millis
	p.Ended, p.EndedIndex = at, t.index
	t.movePart(r, from, p)
	t.saveJob(r, old)
	t.emitPart(EventPartDone, p, "", at)
	t.recordSuccess(p, at)
	if r.job.Counts.Done == r.job.Total {
		t.endJob(r, Done, "", at)
	}
}

// failOverQuota fails a part for good whose result finds no room: another attempt
// would return the same. No worker is to blame.
func (t *Table) failOverQuota(r *record, p Part, d PartDone, why string, at time.Time) {
	old, from := r.job, p.State
	p.Failures++
	p.State, p.Error, p.Millis = Failed, why, d.Millis
	p.Ended, p.EndedIndex = at, t.index
	t.movePart(r, from, p)
	t.saveJob(r, old)
	t.emitPart(EventPartFailed, p, why, at)
	t.endJob(r, Failed, fmt.Sprintf("part %d failed: %s", p.N, why), at)
}

func (t *Table) fail(r *record, p Part, d PartDone, quota int64, at time.Time) {
	old, from := r.job, p.State
	p.Failures++
	before := p.bytes()
	if r.job.MaxLosses > 0 { // of a log from before, replicas must make what they made then
		p = t.recordFailure(r, p, quota)
	}
	p.Error, p.Millis = t.errorText(r, d.Error, p.bytes()-before, quota), d.Millis
	if p.Failures < r.job.MaxAttempts {
		p.State = Waiting // Session stays: a repeat of this report is known by it
		t.movePart(r, from, p)
		t.saveJob(r, old)
		t.emitPart(EventPartRetried, p, p.Error, at)
		return
	}
	p.State, p.Ended, p.EndedIndex = Failed, at, t.index
	t.movePart(r, from, p)
	t.saveJob(r, old)
	t.emitPart(EventPartFailed, p, p.Error, at)
	t.endJob(r, Failed, givenUpReason(p, p.Failures, "tried")+" and failed: "+lastLine(truncateError(d.Error)), at)
}

// checkFence finds the part a report is about, or refuses the report.
func (t *Table) checkFence(ref Ref) (*record, Part, Verdict) {
	v := Verdict{PartRef: ref.Wire()}
	r, ok := t.jobs.Get(ref.Job)
	if !ok {
		return nil, Part{}, refusedVerdict(v.PartRef, wire.CodeNotFound, "there is no job "+ref.Job)
	}
	if ref.Part < 0 || ref.Part >= r.job.Total {
		return nil, Part{}, refusedVerdict(v.PartRef, wire.CodeNotFound, fmt.Sprintf("job %s has no part %d", ref.Job, ref.Part))
	}
	p := r.part(ref.Part)
	if ref.Session == "" || p.Attempt != ref.Attempt || p.Session != ref.Session {
		return nil, Part{}, refusedVerdict(v.PartRef, wire.CodeConflict,
			fmt.Sprintf("attempt %d of part %d of job %s is not with this session: the part is %s at attempt %d", ref.Attempt, ref.Part, ref.Job, p.State, p.Attempt))
	}
	return r, p, v
}

// truncateError keeps an error text short enough for the log, at a character's border.
func truncateError(s string) string {
	if len(s) <= maxErrorText {
		return s
	}
	s = s[:maxErrorText]
	for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
		s = s[:len(s)-1]
	}
	return s + " ..."
}

// lastLine is the telling line of a traceback.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	if len(s) > maxLastLine {
		s = strings.ToValidUTF8(s[:maxLastLine], "") + " ..."
	}
	return s
}
