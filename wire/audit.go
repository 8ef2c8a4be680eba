package wire

import (
	"encoding/json"
	"time"
)

// MaxAuditLines is how many lines GET /v1/audit answers at most.
const MaxAuditLines = 1000

// Audit is the answer of GET /v1/audit: a part of one coordinator's audit trail.
type Audit struct {
	Coordinator string            `json:"coordinator"`
	First       uint64            `json:"first"`          // number of the oldest line that is kept; 0: there is none
	Last        uint64            `json:"last"`           // number of the newest
	Lines       []json.RawMessage `json:"lines"`          // as they stand in the files
	Next        uint64            `json:"next,omitempty"` // give it as after to read on
}

// AuditAnchor is what the cluster was told of the audit trail of a coordinator: that its line Seq has this SHA-256.
type AuditAnchor struct {
	Coordinator string    `json:"coordinator"`
	ServerID    string    `json:"server_id"`
	Seq         uint64    `json:"seq"`
	Hash        string    `json:"hash"`
	Index       uint64    `json:"index"`
	At          time.Time `json:"at"`
}

// AuditAnchors is the answer of GET /v1/audit/anchors, oldest first.
type AuditAnchors struct {
	Anchors []AuditAnchor `json:"anchors"`
}
