package jobs

import (
	"fmt"
	"reflect"
)

// Verify says where rows, counts and indexes contradict each other; nil when
// they do not. It reads every row: it is for tests and for a restored snapshot.
func (t *Table) Verify() error {
	again := new(Table)
	var err error
	for j := range t.Jobs() {
		r, _ := t.jobs.Get(j.ID)
		if err = r.verify(); err != nil {
			return err
		}
		if j.Since > t.elapsed {
			return fmt.Errorf("job %s is counted since %v, but only %v have passed", j.ID, j.Since, t.elapsed)
		}
		again.PutJob(j)
	}
	again.elapsed = t.elapsed
	for p := range t.PartRows() {
		again.PutPart(p)
	}
	if got, want := t.indexes(), again.indexes(); !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the indexes are not those of the rows: got %v, want %v", got, want)
	}
	return nil
}

func (r *record) verify() error {
	j := r.job
	var c Counts
	lowest := j.NextPart
	var err error
	r.parts.Scan(func(n int, p *Part) bool {
		c.add(p.State, 1)
		c.Retries += max(p.Attempt-1, 0)
		switch {
		case p.Job != j.ID || p.N != n:
			err = fmt.Errorf("job %s has part %s/%d in place of %d", j.ID, p.Job, p.N, n)
		case n >= lowest:
			err = fmt.Errorf("part %d of job %s has a row, though none was assigned from %d on", n, j.ID, j.NextPart)
		case p.Attempt < 1:
			err = fmt.Errorf("part %d of job %s has a row and no attempt", n, j.ID)
		case Final(j.State) && !Final(p.State):
			err = fmt.Errorf("part %d of job %s is %s, though the job is %s", n, j.ID, p.State, j.State)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	if Final(j.State) {
		c.Cancelled += j.Total - j.NextPart
	}
	if r.parts.Len() != j.NextPart {
		return fmt.Errorf("job %s has %d rows, want one for each of %d parts", j.ID, r.parts.Len(), j.NextPart)
	}
	if c != j.Counts {
		return fmt.Errorf("job %s counts %+v, but its rows say %+v", j.ID, j.Counts, c)
	}
	if j.State == Done && c.Done != j.Total || j.State != Done && c.Done == j.Total {
		return fmt.Errorf("job %s is %s with %d of %d parts done", j.ID, j.State, c.Done, j.Total)
	}
	return nil
}

// indexes lists all that is derived, in order.
func (t *Table) indexes() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	add("size %+v", t.size)
	add("states %+v", t.states)
	t.active.scan(func(k activeKey) bool { add("active %v", k); return true })
	t.ready.scan(func(k activeKey) bool { add("ready %v", k); return true })
	t.due.scan(func(k ageKey) bool { add("due %v", k); return true })
	t.uncounted.scan(func(k ageKey) bool { add("uncounted %v", k); return true })
	t.groups.Scan(func(group, id string) bool { add("group %q %s", group, id); return true })
	t.held.scan(func(k heldKey) bool { add("held %v", k); return true })
	t.holds.Scan(func(session string, n int) bool { add("holds %s %d", session, n); return true })
	t.jobs.Scan(func(id string, r *record) bool {
		add("size %s %+v", id, r.size)
		r.waiting.Scan(func(n int) bool { add("waiting %s %d", id, n); return true })
		r.busy.Scan(func(n int) bool { add("busy %s %d", id, n); return true })
		r.ended.scan(func(k endedKey) bool { add("ended %s %v", id, k); return true })
		return true
	})
	return all
}
