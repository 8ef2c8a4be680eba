package work

import (
	"context"
	"iter"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// Orders of results.
const (
	ByPart = "part"  // by number; with Follow part 7 waits for part 6
	ByEnd  = "ended" // as they end
)

// ResultQuery says how results are read.
type ResultQuery struct {
	Order  string // ByPart (default) or ByEnd
	Follow bool   // go on until the job has ended
	State  string // "" all final parts, else done, failed, cancelled or lost
}

// Results returns the results of a job's parts that have ended. The sequence
// blocks only with Follow; it ends with the job, or with one error as its last
// element: ctx's own, or not_found when the job was forgotten meanwhile. The
// error of Results itself is not_found, invalid or unavailable.
func (w *Work) Results(ctx context.Context, who control.Principal, r control.Read, id string, q ResultQuery) (iter.Seq2[wire.PartResult, error], control.Fresh, error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: id}); err != nil {
		return nil, control.Fresh{}, err
	}
	if q.Order == "" {
		q.Order = ByPart
	}
	if q.Order != ByPart && q.Order != ByEnd {
		return nil, control.Fresh{}, wire.Invalid("order", "order is %s or %s, not %.40q", ByPart, ByEnd, q.Order)
	}
	if err := checkState(q.State, finalStates); err != nil {
		return nil, control.Fresh{}, err
	}
	view, _, fresh, err := w.ViewFor(ctx, who, control.JobsRead, r, onJob(id))
	if err != nil {
		return nil, fresh, err
	}
	if _, err := w.jobFor(view, who, control.JobsRead, id); err != nil {
		return nil, fresh, err
	}
	return func(yield func(wire.PartResult, error) bool) {
		ctx, release := w.Hold(ctx, who)
		defer release()
		next := &reader{job: id, query: q, part: -1}
		for {
			changed := w.Feed().Changed()
			ended, more := next.some(view, yield)
			if !more || ended || !q.Follow {
				return
			}
			if latest := w.State(); latest.Index > view.Index {
				view = latest
			} else {
				select {
				case <-changed:
					view = w.State()
				case <-ctx.Done():
					yield(wire.PartResult{}, context.Cause(ctx))
					return
				}
			}
			if _, err := w.jobFor(view, who, control.JobsRead, id); err != nil {
				yield(wire.PartResult{}, err)
				return
			}
		}
	}, fresh, nil
}

// reader is a place in the results of a job.
type reader struct {
	job   string
	query ResultQuery
	index uint64 // ByEnd: of the last one
	part  int    // the last one
}

// some yields what a view has beyond the place. ended reports that the job has
// ended in this view; more is false when the caller wants no more.
func (r *reader) some(view *fsm.State, yield func(wire.PartResult, error) bool) (ended, more bool) {
	j, ok := view.Jobs.Job(r.job)
	ended = !ok || jobs.Final(j.State)
	if r.query.Order == ByEnd {
		for p := range view.Jobs.Ended(r.job, r.index, r.part) {
			r.index, r.part = p.EndedIndex, p.N
			if !r.give(p, yield) {
				return ended, false
			}
		}
		return ended, true
	}
	for p := range partsAfter(view, r.job, r.part) {
		if !jobs.Final(p.State) {
			if ended || !r.query.Follow {
				continue // no more of it will come
			}
			return ended, true // its turn has not come
		}
		r.part = p.N
		if !r.give(p, yield) {
			return ended, false
		}
	}
	return ended, true
}

func (r *reader) give(p jobs.Part, yield func(wire.PartResult, error) bool) bool {
	if r.query.State != "" && p.State != r.query.State {
		return true
	}
	return yield(p.Line(), nil)
}
