package control

import (
	"context"
	"iter"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// MaxPartLog bounds the log of one try of one part, in bytes; what comes
// behind it is dropped.
const MaxPartLog = 1 << 20

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
	Offset  int64  `json:"offset"` // of the first byte of Data
	Data    []byte `json:"data"`   // stdout and stderr as they came; empty at the end for now
	// End tells that the try has ended and nothing follows Data; Cut that the
	// log reached MaxPartLog and the rest was dropped.
	End bool `json:"end"`
	Cut bool `json:"cut,omitempty"`
}

// PartLog reads up to 128 KiB of a part's log, from here or from the
// coordinator that keeps it. A part that never ran has an empty one. Errors:
// not_found (job or part), invalid, unavailable (its keeper is not reached).
func (c *Control) PartLog(ctx context.Context, job string, q LogQuery) (LogChunk, error) {
	return c.partLog(ctx, job, q)
}

// JobLogs reads the logs of all parts of a job in order, or of one part if
// part >= 0. With follow it goes on, polling, until the job has ended and all
// is read; it then shows every part's newest try. The sequence ends with one
// error as its last element if it cannot go on; a log whose keeper is not
// reached is left out.
func (c *Control) JobLogs(ctx context.Context, job string, part int, follow bool) (iter.Seq2[LogChunk, error], error) {
	view := c.machine.View()
	if _, err := jobOf(view, job); err != nil {
		// It may be younger than this view.
		if view, _, err = c.View(ctx, Read{}); err != nil {
			return nil, err
		}
		if _, err = jobOf(view, job); err != nil {
			return nil, err
		}
	}
	if part >= 0 {
		if _, ok := view.Jobs.Part(job, part); !ok {
			return nil, wire.Refuse(wire.CodeNotFound, "job %s has no part %d", job, part)
		}
	}
	return c.jobLogs(ctx, job, part, follow), nil
}
