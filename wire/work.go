package wire

import "encoding/json"

// The words between a worker and its home. A worker is a component; its home
// sends it "run_parts" and "cancel_parts" as JSON-RPC notifications from
// COORDINATOR, and it calls the COORDINATOR's methods start_parts,
// finish_parts, append_log and sync_parts. The messages are hints: sync_parts
// alone, repeated, is enough to get all work done.

// PartRef names one try of one part; a stale attempt is refused.
type PartRef struct {
	Job     string `json:"job"`
	Part    int    `json:"part"`
	Attempt int    `json:"attempt"`
}

// RunPart is one part to run now.
type RunPart struct {
	PartRef
	Name        string          `json:"name,omitempty"`
	Runtime     string          `json:"runtime"`
	Script      string          `json:"script"`
	Args        json.RawMessage `json:"args,omitempty"`
	Item        json.RawMessage `json:"item"`
	PartTimeout Duration        `json:"part_timeout"`
}

// RunParts is the params of run_parts.
type RunParts struct {
	Parts []RunPart `json:"parts"`
}

// PartRefs is the params of cancel_parts and start_parts.
type PartRefs struct {
	Parts []PartRef `json:"parts"`
}

// PartDone is one finished try.
type PartDone struct {
	PartRef
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	Millis int64           `json:"millis"`
}

// FinishParts is the params of finish_parts.
type FinishParts struct {
	Parts []PartDone `json:"parts"`
}

// PartVerdict is the outcome of one part of a start_parts or finish_parts:
// accepted when Code is empty, else refused (stale attempt, job ended).
type PartVerdict struct {
	PartRef
	Code    Code   `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// PartVerdicts answers start_parts and finish_parts, in the order asked.
type PartVerdicts struct {
	Parts []PartVerdict `json:"parts"`
}

// A log keeps of a try's output the first LogHead bytes and the last LogTail.
const (
	LogHead = 256 << 10
	LogTail = 768 << 10
)

// AppendLog is the params of append_log: more output of one try.
type AppendLog struct {
	PartRef
	// Offset is how many bytes of this try's output came before Data; a repeat is
	// harmless. Behind the first LogHead bytes some may be left out.
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"` // stdout and stderr as they came
}

// SyncParts is the params of sync_parts: every part the worker holds.
type SyncParts struct {
	Holding []PartRef `json:"holding"`
}

// SyncedParts answers sync_parts: what to run that it does not hold, and what
// it holds that it must drop.
type SyncedParts struct {
	Run    []RunPart `json:"run"`
	Cancel []PartRef `json:"cancel"`
}
