// Package audit is the form of an audit trail: the lines, the chain of hashes that ties each to the one before it,
// what holds a trail to it, and the anchors that the cluster keeps of it.
package audit

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Doors that a line can name.
const (
	DoorHTTP   = "http"
	DoorNative = "native"
	DoorWS     = "ws"
	DoorLECO   = "leco"
	DoorPSI    = "psi"
	DoorPeer   = "peer"
)

// Outcomes of what was asked for.
const (
	Done     = "done"
	Refused  = "refused"   // it changed nothing
	NotTried = "not_tried" // it was certainly not carried out
	Unknown  = "unknown"   // nobody can say
)

// Event is one thing that was asked for, and what came of it. It holds no secret and nothing of a body.
type Event struct {
	At   time.Time
	Door string // "": what the coordinator says of the trail itself
	Who  Who
	// What was asked for: the method and the template of a path, the name of a method of COORDINATOR.
	What      string
	Target    string // whom or what it is about; "" is nobody, or not known
	Outcome   string
	Code      string // of a refusal; "" otherwise
	Needs     string // the grant that was missing; "" otherwise
	Index     uint64 // of the write; 0: none
	RequestID string // ""; not known
	Times     int    // how many equal ones the line stands for; 0 and 1 are one
	Polled    bool   // it reads the trail, again and again: equal ones become one line, as refusals do. It is not in the line
}

// Merges reports whether equal events within a minute become one line: what changed nothing costs whoever asks for it
// nothing either.
func (e *Event) Merges() bool { return e.Outcome == Refused || e.Outcome == NotTried || e.Polled }

// Who asked. All fields may be empty.
type Who struct {
	Token       string `json:"token,omitempty"`       // the id, never the secret
	Name        string `json:"name,omitempty"`        // of the token; of who has none, the name that it gives itself
	Session     string `json:"session,omitempty"`     // the id, never the secret
	Certificate string `json:"certificate,omitempty"` // the URI, else the subject, of the certificate that was presented
	Remote      string `json:"remote,omitempty"`      // address and port
}

// MaxField is how many bytes of a field that a caller chose are kept; what is longer is shortened.
const MaxField = 256

// bounded returns the event with every text valid, of bounded size and without secrets: a caller's names must not fill
// the disk, and may be something else by mistake.
func (e Event) bounded() Event {
	for _, s := range []*string{
		&e.Door, &e.What, &e.Target, &e.Outcome, &e.Code, &e.Needs, &e.RequestID,
		&e.Who.Token, &e.Who.Name, &e.Who.Session, &e.Who.Certificate, &e.Who.Remote,
	} {
		*s = clip(*s)
	}
	return e
}

func clip(s string) string {
	s = WithoutSecrets(s)
	if len(s) > MaxField {
		s = strings.ToValidUTF8(s[:MaxField], "") + "..."
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return s
}

// Size is about how many bytes the event takes in memory, for bounds.
func (e *Event) Size() int {
	return 256 + len(e.What) + len(e.Target) + len(e.Needs) + len(e.RequestID) +
		len(e.Who.Token) + len(e.Who.Name) + len(e.Who.Session) + len(e.Who.Certificate) + len(e.Who.Remote)
}

// Line is one line of a trail, as its JSON has it. The order of the fields is that of the bytes.
type Line struct {
	Prev        string `json:"prev"` // SHA-256 of the line before, in hex, without its newline; 64 zeros for the first
	Seq         uint64 `json:"seq"`  // 1, 2, ... over files and restarts
	At          string `json:"at"`   // UTC, to the millisecond
	Coordinator string `json:"coordinator"`
	Door        string `json:"door,omitempty"`
	Who         Who    `json:"who"`
	What        string `json:"what"`
	Target      string `json:"target,omitempty"`
	Outcome     string `json:"outcome"`
	Code        string `json:"code,omitempty"`
	Needs       string `json:"needs,omitempty"`
	Index       uint64 `json:"index,omitempty"`
	RequestID   string `json:"request_id,omitempty"`
	Times       int    `json:"times,omitempty"`
}

// timeFormat is that of Line.At.
const timeFormat = "2006-01-02T15:04:05.000Z"

// MaxLine bounds a line, in bytes; Chain writes none that is longer.
const MaxLine = 64 << 10

// ParseLine reads a line without its newline. Fields that this binary does not know are let pass, since a newer one
// may have written them. Errors: a *Fault without a place.
func ParseLine(raw []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fault(Changed, "this is no line of a trail: %v", err)
	}
	if !isHash(l.Prev) || l.Seq == 0 {
		return l, fault(Changed, "this is no line of a trail: prev is 64 hex digits, and seq counts from 1")
	}
	return l, nil
}

// Page is a part of a trail.
type Page struct {
	First, Last uint64            // numbers of the oldest and the newest line that there are; 0: there is none
	Lines       []json.RawMessage // as they stand in the files
	Next        uint64            // the number behind which there are more; 0: these were the last
}

func isHash(s string) bool {
	return len(s) == len(Zero) && strings.Trim(s, "0123456789abcdef") == ""
}
