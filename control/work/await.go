package work

import (
	"context"
	"math"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// longestJobWait bounds the wait of jobs.get: it holds up what the session asks
// next.
const longestJobWait = 30 * time.Second

// AwaitJob returns one job with its script: with wait not before it ended, or as it
// is after that time. Errors: invalid, not_found, unavailable.
func (w *Work) AwaitJob(ctx context.Context, who control.Principal, id string, wait time.Duration) (wire.Job, error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: id}); err != nil {
		return wire.Job{}, err
	}
	if wait < 0 || wait > longestJobWait {
		return wire.Job{}, wire.Invalid("wait", "wait is at most %v", longestJobWait)
	}
	ctx, release := w.Hold(ctx, who)
	defer release()
	ctx, cancel := context.WithTimeout(ctx, wait+control.ReadTimeout)
	defer cancel()
	view, _, err := w.View(ctx, control.Read{})
	if err != nil {
		return wire.Job{}, err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := w.Feed().Changed()
		if latest := w.State(); latest.Index > view.Index {
			view = latest
		}
		j, err := w.jobFor(view, who, control.JobsRead, id)
		if err != nil {
			return wire.Job{}, err
		}
		if wait == 0 || jobs.Final(j.State) {
			return jobWire(view, j, true), nil
		}
		select {
		case <-changed:
		case <-over.C:
			return jobWire(view, j, true), nil
		case <-ctx.Done():
			if err := w.Authorize(who, control.AnyRight, control.Thing{}); err != nil {
				return wire.Job{}, err
			}
			return wire.Job{}, wire.NotTried("the wait was given up: %v", ctx.Err())
		}
	}
}

// roomForResults is how many bytes of results one answer holds, and one more.
const roomForResults = 4 << 20

// EndedResults returns a page of the results of the parts that have ended, by
// number, behind the part after (below 0: from the first). more reports that others
// follow. Errors: invalid, not_found, unavailable.
func (w *Work) EndedResults(ctx context.Context, who control.Principal, id string, after, limit int) (list []wire.PartResult, more bool, err error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: id}); err != nil {
		return nil, false, err
	}
	if limit, err = (control.Page{Limit: limit}).Size(); err != nil {
		return nil, false, err
	}
	view, _, err := w.View(ctx, control.Read{})
	if err != nil {
		return nil, false, err
	}
	if _, err := w.jobFor(view, who, control.JobsRead, id); err != nil {
		return nil, false, err
	}
	list, size := []wire.PartResult{}, 0
	for p := range partsAfter(view, id, min(max(after, -1), math.MaxInt32)) {
		if !jobs.Final(p.State) {
			continue
		}
		if len(list) == limit || size > roomForResults {
			return list, true, nil
		}
		list = append(list, p.Line())
		size += len(p.Result) + len(p.Error) + 128
	}
	return list, false, nil
}
