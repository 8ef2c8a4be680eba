package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// FrameVersion is the version byte of a message frame. 1: the layout below,
// 2026-11.
const FrameVersion = 1

// Limits of one message frame.
const (
	MaxFullName = 2*MaxName + 1 // bytes of a receiver or sender
	MaxFrames   = 1<<16 - 1     // payload frames of one message
	MaxID       = 1<<24 - 1     // the header has three bytes for the message id

	frameHead = 1 + 2 + 2 + 20 + 2 // version, two empty names, header, frame count
	// MaxFrame is the largest value of the length field: the largest payload
	// in the largest number of frames under the longest names.
	MaxFrame = MaxMessage + frameHead + 2*MaxFullName + 4*MaxFrames
)

// Message is one message between two components: LECO's control message (LECO
// control protocol, section 1.3). A coordinator reads the names and the header
// and never the payload.
//
// On TCP a message is one frame; all numbers are big-endian:
//
//	bytes     what
//	4         length of all that follows: 27..MaxFrame
//	1         FrameVersion
//	2, r      length of the receiver's name (0..511), the name
//	2, s      length of the sender's name (0..511), the name
//	16        conversation id (UUIDv7, made by the component that opens it)
//	3         message id
//	1         message type: 0 not defined, 1 JSON, >127 free for users
//	2         number of payload frames (0..65535)
//	4, n      for each payload frame its length and its bytes
//
// All payload frames together have at most MaxMessage bytes. Nothing may
// follow the last payload frame inside the length.
type Message struct {
	To, From     string
	Conversation [16]byte
	ID           uint32 // 24 bit
	Type         byte
	Payload      [][]byte
}

// Types of a message. A coordinator does not judge by them.
const (
	TypeAny  byte = 0 // not defined
	TypeJSON byte = 1 // the first payload frame is JSON-RPC 2.0
)

// Size returns the bytes of all payload frames together.
func (m *Message) Size() int {
	n := 0
	for _, p := range m.Payload {
		n += len(p)
	}
	return n
}

// FrameSize returns the bytes of the message as a frame, length field
// included.
func (m *Message) FrameSize() int {
	return 4 + frameHead + len(m.To) + len(m.From) + 4*len(m.Payload) + m.Size()
}

// CopyPayload gives the message its own copy of the payload, which may lie in a
// read buffer until then.
func (m *Message) CopyPayload() {
	if len(m.Payload) == 1 {
		m.Payload[0] = append([]byte{}, m.Payload[0]...) // not zeroed before
		return
	}
	m.CopyPayloadTo(make([]byte, 0, m.Size()))
}

// CopyPayloadTo is CopyPayload with the caller's memory, which must have room for
// the payload behind its length.
func (m *Message) CopyPayloadTo(b []byte) {
	for i, p := range m.Payload {
		b = append(b, p...)
		m.Payload[i] = b[len(b)-len(p) : len(b) : len(b)]
	}
}

// Check refuses a message that has no frame: names too long, id above 24 bit,
// too many payload frames (invalid) or too many bytes (too_large).
func (m *Message) Check() error {
	switch {
	case len(m.To) > MaxFullName:
		return Invalid("to", "the receiver's name has %d bytes, at most %d are possible", len(m.To), MaxFullName)
	case len(m.From) > MaxFullName:
		return Invalid("from", "the sender's name has %d bytes, at most %d are possible", len(m.From), MaxFullName)
	case m.ID > MaxID:
		return Invalid("id", "message id %d is above %d", m.ID, MaxID)
	case len(m.Payload) > MaxFrames:
		return Invalid("payload", "%d payload frames, at most %d are possible", len(m.Payload), MaxFrames)
	}
	if n := m.Size(); n > MaxMessage {
		return Refuse(CodeTooLarge, "a message of %d bytes is above the limit of %d: cut it in several, or send the place where its content is", n, MaxMessage)
	}
	return nil
}

// AppendFrame appends the message as one frame to dst. The error is that of
// Check; dst is then returned as it was.
func AppendFrame(dst []byte, m *Message) ([]byte, error) {
	if err := m.Check(); err != nil {
		return dst, err
	}
	dst = AppendFrameHead(dst, m)
	for _, p := range m.Payload {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p)))
		dst = append(dst, p...)
	}
	return dst, nil
}

// AppendFrameHead appends what comes before the first payload frame, the
// length field of the whole frame included, for those who write a large
// payload themselves. The message must have passed Check.
func AppendFrameHead(dst []byte, m *Message) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.FrameSize()-4))
	dst = append(dst, FrameVersion)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.To)))
	dst = append(dst, m.To...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.From)))
	dst = append(dst, m.From...)
	dst = append(dst, m.Conversation[:]...)
	dst = append(dst, byte(m.ID>>16), byte(m.ID>>8), byte(m.ID), m.Type)
	return binary.BigEndian.AppendUint16(dst, uint16(len(m.Payload)))
}

// ParseFrame reads the frame at the start of b and returns the message and the
// number of bytes it took. The payload aliases b. A frame that is cut short is
// an error that wraps io.ErrUnexpectedEOF; every other error is a refusal
// (invalid or too_large), and a stream is out of step after it. names may be
// nil.
func ParseFrame(b []byte, names *Names) (Message, int, error) {
	if len(b) < 4 {
		return Message{}, 0, fmt.Errorf("frame: %d bytes of the length field: %w", len(b), io.ErrUnexpectedEOF)
	}
	n, err := frameLength(b)
	if err != nil {
		return Message{}, 0, err
	}
	if len(b)-4 < n {
		return Message{}, 0, fmt.Errorf("frame: %d of %d bytes: %w", len(b)-4, n, io.ErrUnexpectedEOF)
	}
	m, err := parseBody(b[4:4+n:4+n], names)
	return m, 4 + n, err
}

// frameLength reads and judges the length field, before anything is allocated
// for what it announces.
func frameLength(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b)
	switch {
	case n < frameHead:
		return 0, Invalid("frame", "frame length %d, the shortest is %d", n, frameHead)
	case n > MaxFrame:
		return 0, Refuse(CodeTooLarge, "frame length %d is above the limit of %d", n, MaxFrame)
	}
	return int(n), nil
}

// parseBody reads what follows the length field; len(b) is at least frameHead.
func parseBody(b []byte, names *Names) (Message, error) {
	var m Message
	if b[0] != FrameVersion {
		return m, Invalid("frame", "frame version %d, this build speaks %d", b[0], FrameVersion)
	}
	to, b, err := frameName(b[1:], "to")
	if err != nil {
		return m, err
	}
	from, b, err := frameName(b, "from")
	if err != nil {
		return m, err
	}
	if len(b) < 22 {
		return m, Invalid("frame", "the frame ends inside the header")
	}
	copy(m.Conversation[:], b)
	m.ID = uint32(b[16])<<16 | uint32(b[17])<<8 | uint32(b[18])
	m.Type = b[19]
	count := int(binary.BigEndian.Uint16(b[20:]))
	b = b[22:]
	if 4*count > len(b) {
		return m, Invalid("frame", "%d payload frames announced in %d bytes", count, len(b))
	}
	if count > 0 {
		m.Payload = names.frames(count, len(b))
	}
	size := 0
	for i := range m.Payload {
		if len(b) < 4 {
			return m, Invalid("frame", "the frame ends before payload frame %d of %d", i+1, count)
		}
		n := int64(binary.BigEndian.Uint32(b))
		b = b[4:]
		if n > int64(len(b)) {
			return m, Invalid("frame", "payload frame %d announces %d bytes where %d are left", i+1, n, len(b))
		}
		m.Payload[i] = b[:n:n]
		b = b[n:]
		size += int(n)
	}
	if len(b) > 0 {
		return m, Invalid("frame", "%d bytes after the last payload frame", len(b))
	}
	if size > MaxMessage {
		return m, Refuse(CodeTooLarge, "a message of %d bytes is above the limit of %d: cut it in several, or send the place where its content is", size, MaxMessage)
	}
	m.To, m.From = names.String(to), names.String(from)
	return m, nil
}

func frameName(b []byte, field string) (name, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, Invalid(field, "the frame ends before the name")
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	switch {
	case n > MaxFullName:
		return nil, nil, Invalid(field, "a name of %d bytes, at most %d are possible", n, MaxFullName)
	case n > len(b):
		return nil, nil, Invalid(field, "a name of %d bytes where %d are left", n, len(b))
	}
	return b[:n], b[n:], nil
}

// Names keeps the strings of names that were read before, so that the same few
// names on a connection are allocated once, and what short messages need beside
// their bytes a few at a time. Not safe for concurrent use; the
// zero value and nil work.
type Names struct {
	known map[string]string
	spare [][]byte // payload slices of short messages, shared by a few
}

// Short messages that were read one after the other share what holds their
// payload slices, so that no allocation is needed for each.
const (
	sharedFrames = 16
	sharedBytes  = 2 << 10
)

// frames returns count payload slices, all nil, for a message of size bytes.
func (n *Names) frames(count, size int) [][]byte {
	if n == nil || count > sharedFrames/4 || size > sharedBytes {
		return make([][]byte, count)
	}
	if len(n.spare) < count {
		n.spare = make([][]byte, sharedFrames)
	}
	f := n.spare[:count:count]
	n.spare = n.spare[count:]
	return f
}

// maxNames bounds a Names; a fuller one starts anew.
const maxNames = 4096

// String returns b as a string.
func (n *Names) String(b []byte) string {
	if n == nil || len(b) == 0 {
		return string(b)
	}
	if s, ok := n.known[string(b)]; ok {
		return s
	}
	if n.known == nil || len(n.known) >= maxNames {
		n.known = make(map[string]string)
	}
	s := string(b)
	n.known[s] = s
	return s
}

// FrameReader reads one frame after the other from a stream. Not safe for
// concurrent use.
type FrameReader struct {
	r     *bufio.Reader
	names Names
}

// NewFrameReader reads through a buffer of 64 KiB, or through r itself if it
// is a bufio.Reader of at least that size.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: bufio.NewReaderSize(r, readStep)}
}

// readStep is what a frame may make us allocate before its bytes came.
const readStep = 64 << 10

// Next waits for the next frame. The caller owns the message. The error is
// io.EOF when the stream ended between two frames, wraps io.ErrUnexpectedEOF
// when it ended inside one, and else is that of the stream or of ParseFrame.
// After an error the stream is out of step: close it.
func (f *FrameReader) Next() (Message, error) {
	head, err := f.r.Peek(4)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = fmt.Errorf("frame: %d bytes of the length field: %w", len(head), io.ErrUnexpectedEOF)
		}
		return Message{}, err
	}
	n, err := frameLength(head)
	if err != nil {
		return Message{}, err
	}
	if _, err := f.r.Discard(4); err != nil {
		return Message{}, err
	}
	body, err := readBody(f.r, n)
	if err != nil {
		return Message{}, err
	}
	return parseBody(body, &f.names)
}

// readBody reads n bytes and never holds more than twice what has come.
func readBody(r io.Reader, n int) ([]byte, error) {
	body := make([]byte, min(n, readStep))
	for have := 0; ; {
		got, err := io.ReadFull(r, body[have:])
		have += got
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("frame: %d of %d bytes: %w", have, n, io.ErrUnexpectedEOF)
			}
			return nil, err
		}
		if have == n {
			return body, nil
		}
		larger := make([]byte, min(n, 2*have))
		copy(larger, body)
		body = larger
	}
}
