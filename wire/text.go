package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// textFrame is a frame as the JSON of a WebSocket text message
// (docs/protocol.md, section 8).
type textFrame struct {
	To           string          `json:"to,omitempty"`
	From         string          `json:"from,omitempty"`
	Conversation string          `json:"conversation_id,omitempty"`
	ID           uint32          `json:"id,omitempty"`
	Type         *byte           `json:"type,omitempty"`
	Content      json.RawMessage `json:"content,omitempty"`
	Payload      [][]byte        `json:"payload,omitempty"`
}

// ParseText reads a message from its JSON. A missing conversation id is all
// zero. The error is a refusal.
func ParseText(b []byte) (Message, error) {
	var t textFrame
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return Message{}, Invalid("frame", "the text is no frame: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Message{}, Invalid("frame", "something follows the frame")
	}
	if err := Unique(b, &t); err != nil {
		return Message{}, err
	}
	m := Message{To: t.To, From: t.From, ID: t.ID}
	if t.To == "" {
		return m, Invalid("to", "a message needs a receiver")
	}
	if t.Conversation != "" {
		var err error
		if m.Conversation, err = ParseConversation(t.Conversation); err != nil {
			return m, err
		}
	}
	if len(t.Content) > 0 {
		m.Type, m.Payload = TypeJSON, append(make([][]byte, 0, 1+len(t.Payload)), t.Content)
	}
	if t.Type != nil {
		m.Type = *t.Type
	}
	m.Payload = append(m.Payload, t.Payload...)
	return m, m.Check()
}

// AppendText appends the message as JSON: its first payload frame is the
// content if it is JSON.
func AppendText(dst []byte, m *Message) ([]byte, error) {
	if err := m.Check(); err != nil {
		return dst, err
	}
	t := textFrame{To: m.To, From: m.From, Conversation: ConversationString(m.Conversation), ID: m.ID, Type: &m.Type, Payload: m.Payload}
	if len(m.Payload) > 0 && json.Valid(m.Payload[0]) {
		t.Content, t.Payload = m.Payload[0], m.Payload[1:]
	}
	b, err := json.Marshal(t)
	if err != nil {
		return dst, Invalid("frame", "the message has no JSON: %v", err)
	}
	return append(dst, b...), nil
}

// ConversationString writes a conversation id as a UUID.
func ConversationString(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseConversation reads what ConversationString wrote. Errors: invalid.
func ParseConversation(s string) (id [16]byte, err error) {
	plain := strings.ReplaceAll(s, "-", "")
	b, err := hex.DecodeString(plain)
	if err != nil || len(b) != 16 || len(s) != 36 || ConversationString([16]byte(b)) != strings.ToLower(s) {
		return id, Invalid("conversation_id", "a conversation id is a UUID, not %.80q", s)
	}
	return [16]byte(b), nil
}
