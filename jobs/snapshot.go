package jobs

import (
	"fmt"
	"iter"
	"time"
)

// Names of the tables in a snapshot.
const (
	rowClock  = "jobs.clock"
	rowJob    = "jobs.job"
	rowPart   = "jobs.part"
	rowHealth = "jobs.worker"
)

// clock is the one row of its table: what Elapse has counted.
type clock struct {
	Elapsed time.Duration `json:"elapsed"` // nanoseconds
}

// Rows yields every row with the name of its table, in the order of a snapshot.
// A row is good only until the next one. Parts that were never assigned have
// none.
func (t *Table) Rows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if t.elapsed > 0 && !yield(rowClock, &clock{t.elapsed}) {
			return
		}
		_ = each(rowJob, t.Jobs(), yield) && each(rowPart, t.PartRows(), yield) && each(rowHealth, t.HealthRows(), yield)
	}
}

func each[R any](name string, rows iter.Seq[R], yield func(string, any) bool) bool {
	for row := range rows {
		if !yield(name, &row) {
			return false
		}
	}
	return true
}

// PartRows yields the rows of parts, by job and number.
// Those never assigned are not among them; PutJob and PutPart are enough to
// build the same table again.
func (t *Table) PartRows() iter.Seq[Part] {
	return func(yield func(Part) bool) {
		t.jobs.Scan(func(_ string, r *record) bool {
			on := true
			r.parts.Scan(func(_ int, p *Part) bool {
				on = yield(*p)
				return on
			})
			return on
		})
	}
}

// loading is the last row of each table that was loaded: rows come in order.
type loading struct {
	job, worker string
	part        Part
}

// Load adds one row of a snapshot to a table that is being built. decode fills
// its argument with the row. known is false when the table's name is not one of
// this package's.
func (t *Table) Load(name string, decode func(any) error) (known bool, err error) {
	switch name {
	case rowClock:
		return true, t.loadClock(decode)
	case rowJob:
		return true, t.loadJob(decode)
	case rowPart:
		return true, t.loadPart(decode)
	case rowHealth:
		return true, t.loadHealth(decode)
	}
	return false, nil
}

func (t *Table) loadClock(decode func(any) error) error {
	var c clock
	if err := decode(&c); err != nil {
		return err
	}
	if c.Elapsed <= 0 || t.elapsed > 0 {
		return fmt.Errorf("%v have passed, after %v", c.Elapsed, t.elapsed)
	}
	t.PutElapsed(c.Elapsed)
	return nil
}

func (t *Table) loadJob(decode func(any) error) error {
	var j Job
	if err := decode(&j); err != nil {
		return err
	}
	if j.ID <= t.loading.job {
		return fmt.Errorf("job %q is out of order", j.ID)
	}
	t.loading.job = j.ID
	t.PutJob(j)
	return nil
}

func (t *Table) loadPart(decode func(any) error) error {
	var p Part
	if err := decode(&p); err != nil {
		return err
	}
	last := &t.loading.part
	if p.Job < last.Job || p.Job == last.Job && p.N <= last.N {
		return fmt.Errorf("part %d of job %q is out of order", p.N, p.Job)
	}
	*last = Part{Job: p.Job, N: p.N}
	if !t.PutPart(p) {
		return fmt.Errorf("part %d of a job %q that is not there", p.N, p.Job)
	}
	return nil
}

func (t *Table) loadHealth(decode func(any) error) error {
	var h WorkerHealth
	if err := decode(&h); err != nil {
		return err
	}
	if h.Worker <= t.loading.worker {
		return fmt.Errorf("worker %q is out of order", h.Worker)
	}
	t.loading.worker = h.Worker
	t.PutHealth(h)
	return nil
}
