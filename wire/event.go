package wire

import "time"

// Topics of events.
const (
	TopicComponent = "component"
	TopicService   = "service"
	TopicJob       = "job"
	TopicMember    = "member"
	TopicLock      = "lock"
	TopicFlow      = "flow"
)

// Event is one change of the replicated state. Every coordinator has the same
// events in the same order, by (Index, Seq).
type Event struct {
	Index  uint64    `json:"index"`
	Seq    int       `json:"seq"` // order within one index, from 0
	Topic  string    `json:"topic"`
	Kind   string    `json:"kind"` // signed_in, moved, signed_out, expired, removed; submitted, part_assigned, ...; leader_elected, promoted, demoted, ...
	Key    string    `json:"key"`  // full name, job id, coordinator id
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"` // the proposer's clock: a label, never a judge
	// Data is the row after the change; receivers treat it as read only.
	Data any `json:"data,omitempty"`
}
