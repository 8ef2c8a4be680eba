// Package textframe encodes messages as the JSON of WebSocket text messages
// (docs/protocol.md, section 8).
package textframe

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// frame is one message as JSON.
type frame struct {
	To           string          `json:"to,omitempty"`
	From         string          `json:"from,omitempty"`
	Conversation string          `json:"conversation_id,omitempty"`
	ID           uint32          `json:"id,omitempty"`
	Type         *byte           `json:"type,omitempty"`
	Content      json.RawMessage `json:"content,omitempty"`
	Payload      [][]byte        `json:"payload,omitempty"`
}

// Parse decodes a message from its JSON. A missing conversation id is all zero.
// The error is a refusal.
func Parse(b []byte) (wire.Message, error) {
	var t frame
	switch err := strictjson.DecodeKnown(b, &t); {
	case errors.Is(err, strictjson.ErrTrailing):
		return wire.Message{}, wire.Invalid("frame", "something follows the frame")
	case err != nil:
		return wire.Message{}, wire.Invalid("frame", "the text is no frame: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := strictjson.UniqueKeys(b, &t); err != nil {
		return wire.Message{}, err
	}
	m := wire.Message{To: t.To, From: t.From, ID: t.ID}
	if t.To == "" {
		return m, wire.Invalid("to", "a message needs a receiver")
	}
	if t.Conversation != "" {
		var err error
		if m.Conversation, err = parseConversation(t.Conversation); err != nil {
			return m, err
		}
	}
	if len(t.Content) > 0 {
		m.Type, m.Payload = wire.TypeJSON, append(make([][]byte, 0, 1+len(t.Payload)), t.Content)
	}
	if t.Type != nil {
		m.Type = *t.Type
	}
	m.Payload = append(m.Payload, t.Payload...)
	return m, m.Check()
}

// Append appends the message as JSON: its first payload frame is the content if
// it is JSON.
func Append(dst []byte, m *wire.Message) ([]byte, error) {
	if err := m.Check(); err != nil {
		return dst, err
	}
	t := frame{To: m.To, From: m.From, Conversation: conversationString(m.Conversation), ID: m.ID, Type: &m.Type, Payload: m.Payload}
	if len(m.Payload) > 0 && json.Valid(m.Payload[0]) {
		t.Content, t.Payload = m.Payload[0], m.Payload[1:]
	}
	b, err := json.Marshal(t)
	if err != nil {
		return dst, wire.Invalid("frame", "the message has no JSON: %v", err)
	}
	return append(dst, b...), nil
}

// conversationString formats a conversation id as a UUID.
func conversationString(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// parseConversation parses what conversationString returned. Errors: invalid.
func parseConversation(s string) (id [16]byte, err error) {
	plain := strings.ReplaceAll(s, "-", "")
	b, err := hex.DecodeString(plain)
	if err != nil || len(b) != 16 || len(s) != 36 || conversationString([16]byte(b)) != strings.ToLower(s) {
		return id, wire.Invalid("conversation_id", "a conversation id is a UUID, not %.80q", s)
	}
	return [16]byte(b), nil
}
