package jobs

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Requeue takes attempts back, line by line, so that their parts wait again. A
// part that was lost LossLimit times is lost for good and its job fails.
func (t *Table) Requeue(c Requeue, at time.Time) ([]Verdict, error) {
	verdicts := make([]Verdict, len(c.Parts))
	for i, ref := range c.Parts {
		r, p, v := t.fence(ref)
		if v.Code == "" && p.State != Assigned && p.State != Running {
			v = refuse(v.PartRef, wire.CodeConflict, fmt.Sprintf("part %d of job %s is %s", p.N, p.Job, p.State))
		}
		if v.Code == "" {
			t.takeBack(r, p, c.Reason, at)
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// Release takes back all a session holds. It is called when a session ends,
// not when it moves.
func (t *Table) Release(session string, reason string, at time.Time) {
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
			t.takeBack(r, now, reason, at)
		}
	}
}

func (t *Table) takeBack(r *record, p Part, reason string, at time.Time) {
	r = t.writable(r)
	old, from := r.job, p.State
	p.Losses++
	p.Session, p.Started = "", time.Time{}
	if p.Losses < LossLimit {
		p.State = Waiting
		t.move(r, from, p)
		t.saveJob(r, old)
		t.tellPart(EventPartRequeued, p, reason, at)
		return
	}
	p.State, p.Error, p.Ended, p.EndedIndex = Lost, clip(reason), at, t.index
	t.move(r, from, p)
	t.saveJob(r, old)
	t.tellPart(EventPartLost, p, reason, at)
	t.end(r, Failed, giveUp(p, p.Losses, "lost")+": "+clip(reason), at)
}
