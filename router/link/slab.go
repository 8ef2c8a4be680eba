package link

import "github.com/folkmoot/folkmoot/wire"

// Slab is memory that short payloads share: one of them keeps at most slabSize
// from being collected.
type Slab struct{ rest []byte }

const (
	slabSize  = 16 << 10
	shortSize = 1 << 10
)

// Own copies a payload out of the read buffer.
func (s *Slab) Own(m *wire.Message) {
	size := m.Size()
	if size > shortSize {
		m.CopyPayload()
		return
	}
	if len(s.rest) < size {
		s.rest = make([]byte, slabSize)
	}
	m.CopyPayloadTo(s.rest[:0:size])
	s.rest = s.rest[size:]
}
