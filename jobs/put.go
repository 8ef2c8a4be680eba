package jobs

import "github.com/folkmoot/folkmoot/wire"

// PutJob writes a job's row and brings every index in line with it. It checks
// nothing: it is for commands and for restoring a snapshot.
func (t *Table) PutJob(j Job) {
	t.noteWrite()
	r, ok := t.jobs.Get(j.ID)
	if ok {
		t.unindex(r.job)
		r = t.ownRecord(r)
	} else {
		r = &record{own: t.owner}
	}
	r.job = j
	t.jobs.Set(j.ID, r)
	t.resize(r, Size{Jobs: 1, Parts: j.Total, Input: j.Spec.Bytes(), Results: r.size.Results})
	t.indexJob(j)
}

// PutPart writes a part's row and brings every index in line with it, but not
// the counts of its job, which are in the job's own row. The job must be there
// already; false says that it is not.
func (t *Table) PutPart(p Part) bool {
	r, ok := t.jobs.Get(p.Job)
	if !ok {
		return false
	}
	t.putPart(t.writable(r), p)
	return true
}

func (t *Table) indexJob(j Job) {
	t.states.add(j.State, 1)
	t.indexAge(j)
	if Final(j.State) {
		return
	}
	k := activeKey{j.Priority, j.SubmitIndex, j.ID}
	t.active.insert(k)
	if j.Waiting() > 0 {
		t.ready.insert(k)
	}
	if j.State == Running && j.Group != "" {
		t.groups.Set(j.Group, j.ID)
	}
}

func (t *Table) unindex(j Job) {
	t.states.add(j.State, -1)
	t.unindexAge(j)
	if Final(j.State) {
		return
	}
	k := activeKey{j.Priority, j.SubmitIndex, j.ID}
	t.active.remove(k)
	t.ready.remove(k)
	if id, ok := t.groups.Get(j.Group); ok && id == j.ID {
		t.groups.Delete(j.Group)
	}
}

// writable returns the record of this copy of the table in place of r.
func (t *Table) writable(r *record) *record {
	w := t.ownRecord(r)
	if w != r {
		t.jobs.Set(w.job.ID, w)
	}
	return w
}

func (t *Table) ownRecord(r *record) *record {
	t.noteWrite()
	if t.owner == nil {
		t.owner = new(owner)
	}
	if r.own == t.owner {
		return r
	}
	return &record{
		own: t.owner, job: r.job, parts: *r.parts.Copy(), waiting: *r.waiting.Copy(), busy: *r.busy.Copy(), ended: r.ended.copy(),
		size: r.size,
	}
}

// saveJob puts back the job of a writable record after a change, touching only
// the indexes that the change is about.
func (t *Table) saveJob(r *record, old Job) {
	r.job.Index = t.index
	j := r.job
	if j.State != old.State {
		t.unindex(old)
		t.indexJob(j)
		return
	}
	if was, is := old.Waiting() > 0, j.Waiting() > 0; was != is {
		k := activeKey{j.Priority, j.SubmitIndex, j.ID}
		if is {
			t.ready.insert(k)
		} else {
			t.ready.remove(k)
		}
	}
}

func (t *Table) putPart(r *record, p Part) {
	size := r.size
	size.Results += p.bytes()
	if old, ok := r.parts.Get(p.N); ok {
		size.Results -= old.bytes()
		switch {
		case old.State == Waiting:
			r.waiting.Delete(p.N)
		case Final(old.State):
			r.ended.remove(endedKey{old.EndedIndex, old.N})
		default:
			r.busy.Delete(p.N)
			t.held.remove(heldKey{old.Session, old.Job, old.N})
			t.addHeld(old.Session, -1)
		}
	}
	switch {
	case p.State == Waiting:
		r.waiting.Insert(p.N)
	case Final(p.State):
		r.ended.insert(endedKey{p.EndedIndex, p.N})
	default:
		r.busy.Insert(p.N)
		t.held.insert(heldKey{p.Session, p.Job, p.N})
		t.addHeld(p.Session, 1)
	}
	r.parts.Set(p.N, &p)
	t.resize(r, size)
}

func (t *Table) addHeld(session string, n int) {
	t.changed.Holds = t.index
	if have, _ := t.holds.Get(session); have+n > 0 {
		t.holds.Set(session, have+n)
	} else {
		t.holds.Delete(session)
	}
}

// movePart writes a part in its new state and counts it. The caller saves the job.
func (t *Table) movePart(r *record, from string, p Part) {
	r.job.Counts.add(from, -1)
	r.job.Counts.add(p.State, 1)
	t.putPart(r, p)
}

// refusedVerdict makes the verdict on one line that was not carried out.
func refusedVerdict(ref wire.PartRef, code wire.Code, message string) Verdict {
	return Verdict{PartRef: ref, Code: code, Message: message}
}

// noteWrite notes that a job or a part is changed.
func (t *Table) noteWrite() {
	t.writes++
	t.changed.Jobs = t.index
}
