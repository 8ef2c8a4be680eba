package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// Zero is the hash before the first line.
var Zero = strings.Repeat("0", 2*sha256.Size)

// HashLine is the hash of a line without its newline, in hex.
func HashLine(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Chain is the end of a trail: what the next line is tied to. The zero value is a trail without lines.
type Chain struct {
	Seq  uint64 // of the newest line; 0: there is none
	Hash string // of the newest line; "" is Zero
}

// Prev is what the next line names as the one before it.
func (c Chain) Prev() string {
	if c.Hash == "" {
		return Zero
	}
	return c.Hash
}

// Append appends the event as the next line, with its newline, and moves on to it.
func (c *Chain) Append(b []byte, coordinator string, e Event) []byte {
	e = e.bounded()
	l := Line{
		Prev: c.Prev(), Seq: c.Seq + 1, At: e.At.UTC().Format(timeFormat), Coordinator: coordinator,
		Door: e.Door, Who: e.Who, What: e.What, Target: e.Target, Outcome: e.Outcome, Code: e.Code, Needs: e.Needs,
		Index: e.Index, RequestID: e.RequestID,
	}
	if e.Times > 1 {
		l.Times = e.Times
	}
	start := len(b)
	out := bytes.NewBuffer(b)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(&l) // strings and numbers always have a JSON form
	b = out.Bytes()
	c.Seq, c.Hash = l.Seq, HashLine(b[start:len(b)-1])
	return b
}
