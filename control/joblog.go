package control

import (
	"context"
	"iter"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// MaxPartLog bounds the log of one try of one part, in bytes: when there was
// more output, the log has its first bytes and its last.
const MaxPartLog = wire.LogHead + wire.LogTail

// logChunk is how much of a log one read returns at most.
const logChunk = 128 << 10

// logPoll is how often a followed log is looked at.
const logPoll = 500 * time.Millisecond

// LogQuery names a log: that of one try of one part.
type LogQuery struct {
	Part    int
	Attempt int   // 0: the newest
	Offset  int64 // bytes to leave out
}

// LogChunk is a piece of the log of one try.
type LogChunk struct {
	Part    int    `json:"part"`
	Attempt int    `json:"attempt"`
	Offset  int64  `json:"offset"` // of the first byte of Data in the output of the try
	Data    []byte `json:"data"`   // stdout and stderr as they came; empty at the end for now
	Next    int64  `json:"next"`   // the offset to read on from
	// End tells that the try has ended and nothing follows Data; Cut that the
	// output from Offset to Next was dropped: Data is a mark in its place.
	End bool `json:"end"`
	Cut bool `json:"cut,omitempty"`
}

// storedChunk is what a log's keeper reads of it.
type storedChunk struct {
	LogChunk
	More bool `json:"more,omitempty"` // there is more behind Next already
}

// PartLog reads up to 128 KiB of a part's log, from here or from the
// coordinator that keeps it. A part that never ran has an empty one. Errors:
// not_found (job or part), invalid, unavailable (its keeper is not reached).
func (c *Control) PartLog(ctx context.Context, who Principal, job string, q LogQuery) (LogChunk, error) {
	if err := c.Authorize(who, JobsRead, Thing{ID: job}); err != nil {
		return LogChunk{}, err
	}
	if q.Offset < 0 || q.Attempt < 0 || q.Part < 0 {
		return LogChunk{}, wire.Invalid("offset", "part, attempt and offset are not below 0")
	}
	part, err := surely(ctx, c, func(view *fsm.State) (jobs.Part, error) {
		if _, err := jobOf(view, job); err != nil {
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
		return LogChunk{}, err
	}
	if q.Attempt == 0 {
		q.Attempt = part.Attempt
	}
	chunk, _, err := c.readLog(ctx, part, q)
	return chunk, err
}

// JobLogs reads the logs of all parts of a job in order, or of one part if
// part >= 0. With follow it goes on, polling, until the job has ended and all
// is read; it then shows every part's newest try. The sequence ends with one
// error as its last element if it cannot go on; a log whose keeper is not
// reached is left out.
func (c *Control) JobLogs(ctx context.Context, who Principal, job string, part int, follow bool) (iter.Seq2[LogChunk, error], error) {
	if err := c.Authorize(who, JobsRead, Thing{ID: job}); err != nil {
		return nil, err
	}
	view, err := c.withJob(ctx, job)
	if err != nil {
		return nil, err
	}
	if part >= 0 {
		if _, ok := view.Jobs.Part(job, part); !ok {
			return nil, wire.Refuse(wire.CodeNotFound, "job %s has no part %d", job, part)
		}
	}
	return func(yield func(LogChunk, error) bool) {
		t := &tail{control: c, job: job, only: part, at: map[int]LogQuery{}, done: map[int]bool{}}
		for {
			view := c.machine.View()
			j, err := jobOf(view, job)
			if err != nil {
				yield(LogChunk{}, err)
				return
			}
			ended := jobs.Final(j.State)
			if !t.round(ctx, view, ended || !follow, yield) || ended || !follow {
				return
			}
			select {
			case <-time.After(logPoll):
			case <-ctx.Done():
				yield(LogChunk{}, ctx.Err())
				return
			}
		}
	}, nil
}

// withJob returns a view that has the job; one that it does not know yet is
// looked for once more in a fresh one.
func (c *Control) withJob(ctx context.Context, job string) (*fsm.State, error) {
	view := c.machine.View()
	if _, err := jobOf(view, job); err == nil {
		return view, nil
	}
	view, _, err := c.View(ctx, Read{})
	if err != nil {
		return nil, err
	}
	_, err = jobOf(view, job)
	return view, err
}

// readLog reads one chunk wherever it is, and tells whether there is more now.
// part is of a view from before the read: if the try had ended in it, nothing
// follows what is read now.
func (c *Control) readLog(ctx context.Context, part jobs.Part, q LogQuery) (chunk LogChunk, more bool, err error) {
	over := q.Attempt < part.Attempt || part.State != jobs.Assigned && part.State != jobs.Running
	if q.Attempt == 0 {
		return LogChunk{Part: part.N, Offset: q.Offset, Next: q.Offset, End: jobs.Final(part.State)}, false, nil
	}
	keepers := []string{part.Home}
	if q.Attempt < part.Attempt {
		// Only the newest try's keeper is in the row.
		keepers = keepers[:0]
		for row := range c.machine.View().Registry.Coordinators() {
			keepers = append(keepers, row.ID)
		}
	}
	var stored storedChunk
	for _, keeper := range keepers {
		if keeper == c.self.ID {
			stored, err = c.logs.read(part.Job, part.N, q.Attempt, q.Offset)
		} else {
			asking, cancel := context.WithTimeout(ctx, callTimeout)
			stored, err = askHome[storedChunk](asking, c, keeper, "control.read_log", readLogAt{Job: part.Job, Part: part.N, Attempt: q.Attempt, Offset: q.Offset})
			cancel()
		}
		if err == nil && len(stored.Data) > 0 {
			break
		}
	}
	if err != nil && len(stored.Data) == 0 {
		return LogChunk{}, false, asRead(err)
	}
	chunk = stored.LogChunk
	chunk.Part, chunk.Attempt, chunk.Offset = part.N, q.Attempt, q.Offset
	if chunk.Next == 0 { // of a keeper that does not tell it: its logs have no gaps
		chunk.Next = chunk.Offset + int64(len(chunk.Data))
	}
	more = stored.More || len(chunk.Data) == logChunk
	chunk.End = over && !more
	return chunk, more, nil
}

// tail is how far the logs of a job were read.
type tail struct {
	control *Control
	job     string
	only    int // one part; below 0: all
	at      map[int]LogQuery
	done    map[int]bool
}

// round reads what there is; last says that no round follows. It is false when
// the taker wants no more or ctx ended.
func (t *tail) round(ctx context.Context, view *fsm.State, last bool, yield func(LogChunk, error) bool) bool {
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
				yield(LogChunk{}, ctx.Err())
				return false
			}
			chunk, more, err := t.control.readLog(ctx, part, q)
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
