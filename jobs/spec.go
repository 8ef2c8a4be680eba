package jobs

import (
	"bytes"
	"encoding/json"

	"github.com/folkmoot/folkmoot/wire"
)

// Spec is what a job is to do, with all defaults filled in. It never changes.
type Spec struct {
	Name        string            `json:"name,omitempty"`
	Runtime     string            `json:"runtime"`
	Script      string            `json:"script"`
	Args        json.RawMessage   `json:"args,omitempty"`
	Items       []json.RawMessage `json:"items,omitempty"`
	Range       wire.Range        `json:"range,omitzero"`
	Priority    int               `json:"priority"`
	Group       string            `json:"group,omitempty"`
	Parallel    int               `json:"parallel,omitempty"`
	MaxAttempts int               `json:"max_attempts"`
	Timeout     wire.Duration     `json:"timeout,omitempty"`
	PartTimeout wire.Duration     `json:"part_timeout"`
	Labels      map[string]string `json:"labels,omitempty"`
	Keep        wire.Duration     `json:"keep"`
	// MaxLosses is how often the workers of one part may die or vanish until it
	// is given up. It is not the submitter's choice; jobs of before have 0, for
	// LossLimit alone.
	MaxLosses int `json:"max_losses,omitempty"`
	// Namespace says who may see the job, change it and work for it; "" is
	// DefaultNamespace, which is never written down. See InNamespace.
	Namespace string `json:"namespace,omitempty"`
}

// DefaultNamespace is that of a job that names none.
const DefaultNamespace = "default"

// InNamespace is the namespace of the job.
func (s Spec) InNamespace() string {
	if s.Namespace == "" {
		return DefaultNamespace
	}
	return s.Namespace
}

// Parts returns how many parts the job has.
func (s Spec) Parts() int {
	if len(s.Items) > 0 {
		return len(s.Items)
	}
	return int(chunks(s.Range))
}

// Item returns what part n works on: its item, or {"from":a,"to":b}.
func (s Spec) Item(n int) json.RawMessage {
	if len(s.Items) > 0 {
		if n < 0 || n >= len(s.Items) {
			return nil
		}
		return s.Items[n]
	}
	if n < 0 || uint64(n) >= chunks(s.Range) {
		return nil
	}
	from := s.Range.From + int64(n)*s.Range.Chunk
	to := s.Range.To
	if uint64(to)-uint64(from) > uint64(s.Range.Chunk) {
		to = from + s.Range.Chunk
	}
	b, _ := json.Marshal(struct {
		From int64 `json:"from"`
		To   int64 `json:"to"`
	}{from, to})
	return b
}

// chunks counts without overflow: To-From may exceed an int64.
func chunks(r wire.Range) uint64 {
	if r.Chunk < 1 || r.From >= r.To {
		return 0
	}
	return (uint64(r.To)-uint64(r.From)-1)/uint64(r.Chunk) + 1
}

func (s Spec) same(o Spec) bool {
	o.MaxLosses = s.MaxLosses // of the binary that took the request
	a, errA := json.Marshal(s)
	b, errB := json.Marshal(o)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
