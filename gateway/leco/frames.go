package leco

import (
	"strings"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/wire"
)

// A LECO control message has four frames and its payload (LECO control
// protocol, 1.3):
//
//	version   1 byte, 0
//	receiver  COORDINATOR, name or namespace.name
//	sender    the same
//	header    conversation id 16, message id 3, message type 1
//	payload   any number of frames
const (
	fixedFrames = 4
	headerSize  = 20
	version     = 0
)

var versionFrame = []byte{version}

// encode is a message as frames.
func encode(m *wire.Message) [][]byte {
	frames := make([][]byte, 0, fixedFrames+len(m.Payload))
	names := make([]byte, 0, len(m.To)+len(m.From)+headerSize)
	names = append(names, m.To...)
	names = append(names, m.From...)
	names = append(names, m.Conversation[:]...)
	names = append(names, byte(m.ID>>16), byte(m.ID>>8), byte(m.ID), m.Type)
	to, from := len(m.To), len(m.To)+len(m.From)
	frames = append(frames, versionFrame, names[:to], names[to:from], names[from:])
	return append(frames, m.Payload...)
}

// decode is the reverse, names as they stand. ok is false if there are too few
// frames or the header has another size. The payload aliases frames.
func decode(frames [][]byte, names *wire.Names) (m wire.Message, ok bool) {
	if len(frames) < fixedFrames || len(frames[3]) != headerSize {
		return m, false
	}
	m.To, m.From = names.String(frames[1]), names.String(frames[2])
	h := frames[3]
	copy(m.Conversation[:], h)
	m.ID = uint32(h[16])<<16 | uint32(h[17])<<8 | uint32(h[18])
	m.Type = h[19]
	if len(frames) > fixedFrames {
		m.Payload = frames[fixedFrames:]
	}
	return m, true
}

// splitName parts a receiver or sender; a name alone has no namespace. ok is false
// for more than one dot and for a name that is empty or too long.
func splitName(full string) (namespace, name string, ok bool) {
	if len(full) > wire.MaxFullName {
		return "", "", false
	}
	namespace, name, dotted := strings.Cut(full, ".")
	if !dotted {
		return "", namespace, namespace != ""
	}
	return namespace, name, namespace != "" && name != "" && strings.IndexByte(name, '.') < 0
}

// newConversation opens a conversation: a UUIDv7.
func newConversation() [16]byte {
	id, err := uuid.NewV7()
	if err != nil {
		return [16]byte{} // no chance in this process: nobody else has any either
	}
	return id
}
