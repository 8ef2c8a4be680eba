package work

import (
	"context"
	"iter"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// logPoll is how often a followed log is looked at.
const logPoll = 500 * time.Millisecond

// LogQuery names a log: that of one try of one part.
type LogQuery struct {
	Part    int
	Attempt int   // 0: the newest
	Offset  int64 // bytes to leave out
}

// PartLog reads up to 128 KiB of a part's log, from here or from the
// coordinator that keeps it. A part that never ran has an empty one. Errors:
// not_found (job or part), invalid, unavailable (its keeper is not reached).
func (w *Work) PartLog(ctx context.Context, who control.Principal, job string, q LogQuery) (home.LogChunk, error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: job}); err != nil {
		return home.LogChunk{}, err
	}
	if q.Offset < 0 || q.Attempt < 0 || q.Part < 0 {
		return home.LogChunk{}, wire.Invalid("offset", "part, attempt and offset are not below 0")
	}
	part, err := control.Certain(ctx, w.Core, func(view *fsm.State) (jobs.Part, error) {
		if _, err := w.jobFor(view, who, control.JobsRead, job); err != nil {
			return jobs.Part{}, err
		}
		part, ok := view.Jobs.Part(job, q.Part)
		switch {
		case !ok:
			return part, wire.Refuse(wire.CodeNotFound, "job %s has no part %d", job, q.Part)
		case q.Attempt > part.Attempt:
			return part, wire.Refuse(wire.CodeNotFound, "part %d of job %s has had %d tries, not %d", q.Part, job, part.Attempt, q.Attempt)
		}
		return part, nil
	})
	if err != nil {
		return home.LogChunk{}, err
	}
	if q.Attempt == 0 {
		q.Attempt = part.Attempt
	}
	chunk, _, err := w.readLog(ctx, part, q)
	return chunk, err
}

// JobLogs reads the logs of all parts of a job in order, or of one part if
// part >= 0. With follow it goes on, polling, until the job has ended and all
// is read; it then shows every part's newest try. The sequence ends with one
// error as its last element if it cannot go on; a log whose keeper is not
// reached is left out.
func (w *Work) JobLogs(ctx context.Context, who control.Principal, job string, part int, follow bool) (iter.Seq2[home.LogChunk, error], error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: job}); err != nil {
		return nil, err
	}
	view, err := w.withJob(ctx, who, job)
	if err != nil {
		return nil, err
	}
	if part >= 0 {
		if _, ok := view.Jobs.Part(job, part); !ok {
			return nil, wire.Refuse(wire.CodeNotFound, "job %s has no part %d", job, part)
		}
	}
	return func(yield func(home.LogChunk, error) bool) {
		ctx, release := w.Hold(ctx, who)
		defer release()
		t := &tail{work: w, job: job, only: part, at: map[int]LogQuery{}, done: map[int]bool{}}
		for {
			view := w.State()
			j, err := w.jobFor(view, who, control.JobsRead, job)
			if err != nil {
				yield(home.LogChunk{}, err)
				return
			}
			ended := jobs.Final(j.State)
			if !t.round(ctx, view, ended || !follow, yield) || ended || !follow {
				return
			}
			select {
			case <-time.After(logPoll):
			case <-ctx.Done():
				yield(home.LogChunk{}, context.Cause(ctx))
				return
			}
		}
	}, nil
}

// withJob returns a view that has the job, for a principal; one that it does not
// know yet is looked for once more in a fresh one.
func (w *Work) withJob(ctx context.Context, who control.Principal, job string) (*fsm.State, error) {
	view := w.State()
	if _, err := w.jobFor(view, who, control.JobsRead, job); err == nil {
		return view, nil
	}
	view, _, err := w.View(ctx, control.Read{})
	if err != nil {
		return nil, err
	}
	_, err = w.jobFor(view, who, control.JobsRead, job)
	return view, err
}

// readLog reads one chunk wherever it is, and reports whether there is more now.
// part is of a view from before the read: if the try had ended in it, nothing
// follows what is read now.
func (w *Work) readLog(ctx context.Context, part jobs.Part, q LogQuery) (chunk home.LogChunk, more bool, err error) {
	over := q.Attempt < part.Attempt || part.State != jobs.Assigned && part.State != jobs.Running
	if q.Attempt == 0 {
		return home.LogChunk{Part: part.N, Offset: q.Offset, Next: q.Offset, End: jobs.Final(part.State)}, false, nil
	}
	keepers := []string{part.Home}
	if q.Attempt < part.Attempt {
		// Only the newest try's keeper is in the row.
		keepers = keepers[:0]
		for row := range w.State().Registry.Coordinators() {
			keepers = append(keepers, row.ID)
		}
	}
	var stored home.StoredChunk
	for _, keeper := range keepers {
		stored, err = w.home.ReadLog(ctx, keeper, wire.PartRef{Job: part.Job, Part: part.N, Attempt: q.Attempt}, q.Offset)
		if err == nil && len(stored.Data) > 0 {
			break
		}
	}
	if err != nil && len(stored.Data) == 0 {
		return home.LogChunk{}, false, control.ReadError(err)
	}
	chunk = stored.LogChunk
	chunk.Part, chunk.Attempt, chunk.Offset = part.N, q.Attempt, q.Offset
	if chunk.Next == 0 { // of a keeper that does not send it: its logs have no gaps
		chunk.Next = chunk.Offset + int64(len(chunk.Data))
	}
	more = stored.More || len(chunk.Data) == home.LogChunkSize
	chunk.End = over && !more
	return chunk, more, nil
}

// tail is how far the logs of a job were read.
type tail struct {
	work *Work
	job  string
	only int // one part; below 0: all
	at   map[int]LogQuery
	done map[int]bool
}

// round reads what there is; last says that no round follows. It is false when
// the taker wants no more or ctx ended.
func (t *tail) round(ctx context.Context, view *fsm.State, last bool, yield func(home.LogChunk, error) bool) bool {
	for part := range view.Jobs.Parts(t.job) {
		if t.only >= 0 && part.N != t.only || t.done[part.N] || part.Attempt == 0 {
			continue
		}
		q := t.at[part.N]
		if q.Attempt != part.Attempt {
			q = LogQuery{Part: part.N, Attempt: part.Attempt}
		}
		for {
			if ctx.Err() != nil {
				yield(home.LogChunk{}, context.Cause(ctx))
				return false
			}
			chunk, more, err := t.work.readLog(ctx, part, q)
			if err != nil {
				break // its keeper is not reached: perhaps in the next round
			}
			q.Offset = chunk.Next
			if len(chunk.Data) > 0 && !yield(chunk, nil) {
				return false
			}
			if chunk.End && jobs.Final(part.State) {
				t.done[part.N] = true
			}
			if !more {
				break
			}
		}
		t.at[part.N] = q
	}
	return !last
}
