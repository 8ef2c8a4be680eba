package jobs

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of the commands in the log. For ever: add, never reuse.
const (
	KindSubmit  = "jobs.submit"
	KindAssign  = "jobs.assign"
	KindStart   = "jobs.start"
	KindFinish  = "jobs.finish"
	KindRequeue = "jobs.requeue"
	KindCancel  = "jobs.cancel"
	KindForget  = "jobs.forget"
	KindElapse  = "jobs.elapse"
)

// Submit is the command for a new job. The same id with the same spec,
// applied twice, is the same job.
type Submit struct {
	ID   string `json:"id"`
	Spec Spec   `json:"spec"`
	By   string `json:"by,omitempty"`
	// ResultQuota bounds the bytes of the job's results, 0 by nothing. It is not
	// the submitter's choice, and travels with the job, so that every coordinator
	// judges by the same one.
	ResultQuota int64 `json:"result_quota,omitempty"`
}

// Assign gives parts to sessions.
type Assign struct {
	Assignments []Assignment `json:"assignments"`
}

// Assignment gives one part to one session. Attempt is one more than the
// part's last.
type Assignment struct {
	Job     string `json:"job"`
	Part    int    `json:"part"`
	Attempt int    `json:"attempt"`
	Worker  string `json:"worker"` // full name
	Session string `json:"session"`
	Home    string `json:"home"`
}

func (a Assignment) ref() wire.PartRef {
	return wire.PartRef{Job: a.Job, Part: a.Part, Attempt: a.Attempt}
}

// Ref names one attempt and the session it was given to: the fence of every
// report.
type Ref struct {
	Job     string `json:"job"`
	Part    int    `json:"part"`
	Attempt int    `json:"attempt"`
	Session string `json:"session"`
}

// Wire returns the ref as a worker knows it.
func (r Ref) Wire() wire.PartRef { return wire.PartRef{Job: r.Job, Part: r.Part, Attempt: r.Attempt} }

// RefOf returns the fence of a worker's report.
func RefOf(p wire.PartRef, session string) Ref {
	return Ref{Job: p.Job, Part: p.Part, Attempt: p.Attempt, Session: session}
}

// Start reports attempts that began.
type Start struct {
	Parts []Ref `json:"parts"`
}

// Finish reports attempts that ended.
type Finish struct {
	Parts []PartDone `json:"parts"`
	// ResultQuota bounds the bytes of the results of all jobs together, 0 by
	// nothing.
	ResultQuota int64 `json:"result_quota,omitempty"`
}

// PartDone is one ended attempt. Result counts only with OK, Error only
// without.
type PartDone struct {
	Ref
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	Millis int64           `json:"millis,omitempty"`
}

// Requeue takes attempts back because their workers were not heard of.
type Requeue struct {
	Parts  []Ref  `json:"parts"`
	Reason string `json:"reason,omitempty"`
}

// Cancel ends a job before its time. State is Cancelled (default) or Failed.
type Cancel struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
	State  string `json:"state,omitempty"`
}

// Forget removes a final job and its parts.
type Forget struct {
	ID string `json:"id"`
}

// Verdict is the outcome of one line of a command: carried out when Code is
// empty, else refused without harm to the other lines.
type Verdict = wire.PartVerdict

// sorted yields a map in the order of its keys.
func sorted(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
