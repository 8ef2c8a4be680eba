package jobs

import (
	"encoding/json"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// States of a job: Queued, Running, Done, Failed, Cancelled. States of a part:
// Waiting, Assigned, Running, Done, Failed, Cancelled, Lost.
const (
	Queued    = "queued"
	Waiting   = "waiting"
	Assigned  = "assigned"
	Running   = "running"
	Done      = "done"
	Failed    = "failed"
	Cancelled = "cancelled"
	Lost      = "lost"
)

// Final says whether a job or part in this state never changes again.
func Final(state string) bool {
	switch state {
	case Done, Failed, Cancelled, Lost:
		return true
	}
	return false
}

// Job is one row of the table. Its fields are the words of a snapshot: add,
// never rename.
type Job struct {
	ID string `json:"id"`
	Spec
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
	// ResultQuota bounds the bytes of its results; jobs of before have 0, for no
	// bound.
	ResultQuota int64 `json:"result_quota,omitempty"`
	// Labels of the proposers' clocks, for people and for judges outside.
	Submitted time.Time `json:"submitted"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	// SubmitIndex, EndIndex and Index are the entries that submitted it, ended
	// it and last changed it or one of its parts.
	SubmitIndex uint64 `json:"submit_index"`
	EndIndex    uint64 `json:"end_index,omitempty"`
	Index       uint64 `json:"index"`
	Total       int    `json:"total"`
	// NextPart is the first part that was never assigned; it and those after
	// it have no rows.
	NextPart int `json:"next_part,omitempty"`
	// Since is what the cluster had counted (Elapse) at the first step after the
	// job began to run or, later, ended; 0 before that. The times above are no
	// judges of age.
	Since  time.Duration `json:"since,omitempty"` // nanoseconds
	Counts Counts        `json:"counts,omitzero"`
}

// Counts are a job's parts by state; all others wait. Retries are attempts
// beyond the first.
type Counts struct {
	Assigned  int `json:"assigned,omitempty"`
	Running   int `json:"running,omitempty"`
	Done      int `json:"done,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Cancelled int `json:"cancelled,omitempty"`
	Lost      int `json:"lost,omitempty"`
	Retries   int `json:"retries,omitempty"`
}

// Waiting returns how many parts wait for an attempt.
func (j Job) Waiting() int {
	c := j.Counts
	return j.Total - c.Assigned - c.Running - c.Done - c.Failed - c.Cancelled - c.Lost
}

func (c *Counts) add(state string, n int) {
	switch state {
	case Assigned:
		c.Assigned += n
	case Running:
		c.Running += n
	case Done:
		c.Done += n
	case Failed:
		c.Failed += n
	case Cancelled:
		c.Cancelled += n
	case Lost:
		c.Lost += n
	}
}

// Part is one row of the table, and the data of its events. Its fields are the
// words of a snapshot: add, never rename.
type Part struct {
	Job     string `json:"job"`
	N       int    `json:"part"`
	State   string `json:"state"`
	Attempt int    `json:"attempt"` // the current or last one; 0 before the first
	// Worker, Session and Home are of that attempt. Session is empty once the
	// attempt was taken back, so that its late report is known as stale.
	Worker     string          `json:"worker,omitempty"`
	Session    string          `json:"session,omitempty"`
	Home       string          `json:"home,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Error      string          `json:"error,omitempty"`
	Started    time.Time       `json:"started,omitzero"`
	Ended      time.Time       `json:"ended,omitzero"`
	EndedIndex uint64          `json:"ended_index,omitempty"`
	Millis     int64           `json:"millis,omitempty"` // the worker's own measure
	Failures   int             `json:"failures,omitempty"`
	Losses     int             `json:"losses,omitempty"`
	// Vanished are the losses whose worker died or vanished under the part,
	// counted where the job has MaxLosses.
	Vanished int `json:"vanished,omitempty"`
	// FailedBy are the workers whose attempts at it failed, in the order of
	// their first failure; the next attempt goes to another one.
	FailedBy []string `json:"failed_by,omitempty"`
}

// Ref returns what names the part's current attempt in a command.
func (p Part) Ref() Ref { return Ref{Job: p.Job, Part: p.N, Attempt: p.Attempt, Session: p.Session} }

// Wire returns the part as everybody may see it, without its item.
func (p Part) Wire() wire.Part {
	return wire.Part{
		Job: p.Job, Part: p.N, State: p.State, Attempt: p.Attempt, Worker: p.Worker, Home: p.Home,
		Result: p.Result, Error: p.Error, Started: p.Started, Ended: p.Ended, Millis: p.Millis,
		Failures: p.Failures, Losses: p.Losses, FailedBy: p.FailedBy,
	}
}

// Line returns the part as a line of the job's results.
func (p Part) Line() wire.PartResult {
	return wire.PartResult{
		Part: p.N, State: p.State, Attempt: p.Attempt, Worker: p.Worker, Result: p.Result, Error: p.Error, Millis: p.Millis,
	}
}

// Wire returns the job as everybody may see it; full adds script and args.
func (j Job) Wire(full bool) wire.Job {
	c := j.Counts
	w := wire.Job{
		ID: j.ID, Name: j.Name, State: j.State, Reason: j.Reason, Runtime: j.Runtime, Priority: j.Priority,
		Group: j.Group, Parallel: j.Parallel, MaxAttempts: j.MaxAttempts, Timeout: j.Timeout,
		PartTimeout: j.PartTimeout, Labels: j.Labels, Keep: j.Keep, Namespace: j.Namespace,
		Parts: wire.PartCounts{
			Total: j.Total, Waiting: j.Waiting(), Assigned: c.Assigned, Running: c.Running, Done: c.Done,
			Failed: c.Failed, Cancelled: c.Cancelled, Lost: c.Lost, Retries: c.Retries,
		},
		ResultQuota: j.ResultQuota, By: j.By, Submitted: j.Submitted, Started: j.Started, Ended: j.Ended, Index: j.Index,
	}
	if full {
		w.Script, w.Args = j.Script, j.Args
	}
	return w
}

// Run returns what a worker needs to run the part's current attempt.
func (j Job) Run(p Part) wire.RunPart {
	return wire.RunPart{
		PartRef: wire.PartRef{Job: j.ID, Part: p.N, Attempt: p.Attempt},
		Name:    j.Name, Runtime: j.Runtime, Script: j.Script, Args: j.Args, Item: j.Item(p.N), PartTimeout: j.PartTimeout,
	}
}
