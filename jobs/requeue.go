package jobs

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Requeue takes attempts back, line by line, so that their parts wait again. A
// part that was lost LossLimit times is lost for good and its job fails; so is
// one whose workers vanished MaxLosses times, that is: did not end what they had
// begun and did not say why.
func (t *Table) Requeue(c Requeue, at time.Time) ([]Verdict, error) {
	verdicts := make([]Verdict, len(c.Parts))
	for i, ref := range c.Parts {
		r, p, v := t.checkFence(ref)
		if v.Code == "" && p.State != Assigned && p.State != Running {
			v = refusedVerdict(v.PartRef, wire.CodeConflict, fmt.Sprintf("part %d of job %s is %s", p.N, p.Job, p.State))
		}
		if v.Code == "" {
			t.revoke(r, p, p.State == Running, c.Reason, at)
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// Release takes back all a session holds. It is called when a session ends,
// not when it moves.
func (t *Table) Release(session string, reason string, at time.Time) {
	t.release(session, false, reason, at)
}

// ReleaseVanished is Release where the session's lease ran out: a part that
// sees that too often is taken for the cause of it.
func (t *Table) ReleaseVanished(session string, reason string, at time.Time) {
	t.release(session, true, reason, at)
}

func (t *Table) release(session string, vanished bool, reason string, at time.Time) {
	var held []Part
	for p := range t.HeldBy(session) {
		held = append(held, p)
	}
	for _, p := range held {
		r, ok := t.jobs.Get(p.Job)
		if !ok {
			continue
		}
		// An earlier one may have failed the job and with it this part.
		if now := r.part(p.N); now.State == Assigned || now.State == Running {
			t.revoke(r, now, vanished, reason, at)
		}
	}
}

func (t *Table) revoke(r *record, p Part, vanished bool, reason string, at time.Time) {
	r = t.writable(r)
	old, from := r.job, p.State
	p.Losses++
	limit := r.job.MaxLosses
	if vanished && limit > 0 {
		p.Vanished++
	}
	p.Session, p.Started = "", time.Time{}
	if p.Losses < LossLimit && (limit == 0 || p.Vanished < limit) {
		p.State = Waiting
		t.movePart(r, from, p)
		t.saveJob(r, old)
		t.emitPart(EventPartRequeued, p, reason, at)
		return
	}
	p.State, p.Error, p.Ended, p.EndedIndex = Lost, truncateError(reason), at, t.index
	t.movePart(r, from, p)
	t.saveJob(r, old)
	t.emitPart(EventPartLost, p, reason, at)
	why := givenUpReason(p, p.Losses, "lost")
	if limit > 0 && p.Vanished >= limit {
		why += fmt.Sprintf(", and %d times its worker died or vanished under it; at last", p.Vanished)
	}
	t.endJob(r, Failed, why+": "+truncateError(reason), at)
}
