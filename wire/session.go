package wire

import (
	"encoding/binary"
	"encoding/json"
	"time"
)

// SessionVersion is the version of the native session protocol
// (docs/protocol.md). 1: the first, 2026-11.
const SessionVersion = 1

// Numbers of the native session protocol. Sizes are in bytes.
const (
	PreambleSize = 8
	MaxFirst     = 4 << 10  // a frame before the sign-in
	MaxWhole     = 64 << 10 // a longer frame is cut into chunks
	MaxPiece     = 32 << 10 // bytes of a frame in one chunk
	MaxTransfers = 4        // frames that come in chunks at once, each way

	DefaultPing  = 2 * time.Second // between two pings
	LongestPing  = time.Minute
	DeadAfter    = 3                // pings without a byte: the other side is gone
	DefaultLease = 10 * time.Second // of a native session, from its last sign of life
	SignInTime   = 5 * time.Second  // from the connection to the sign-in

	ShortestNativeLease = 3 * time.Second
)

// Types of the frames without a receiver: they are about the connection and
// are never passed on.
const (
	TypePing    byte = 2 // payload: up to 64 bytes, sent back
	TypePong    byte = 3 // payload: that of the ping
	TypeChunk   byte = 4 // a piece of a long frame
	TypeReceipt byte = 5 // message ids of three bytes each: delivered
	TypeBye     byte = 6 // a wire.Error as JSON: why the connection ends
)

// Flags of a chunk.
const (
	ChunkFirst byte = 1 // the length of the whole frame follows the flags
	ChunkLast  byte = 2
	ChunkAbort byte = 4 // the rest never comes
)

// Preamble is what either side sends first. Ping is the time between two pings, in
// whole seconds: the client proposes it, the coordinator decides.
type Preamble struct {
	Version byte
	Ping    time.Duration
}

// Append appends the eight bytes.
func (p Preamble) Append(dst []byte) []byte {
	return append(dst, 'F', 'O', 'L', 'K', p.Version, byte(p.Ping/time.Second), 0, 0)
}

// ParsePreamble reads the eight bytes. Errors: invalid.
func ParsePreamble(b []byte) (Preamble, error) {
	if len(b) != PreambleSize || string(b[:4]) != "FOLK" {
		return Preamble{}, Invalid("preamble", "the first bytes are not FOLK: this is no native session")
	}
	if b[6] != 0 || b[7] != 0 {
		return Preamble{}, Invalid("preamble", "bytes 7 and 8 of the preamble are not 0")
	}
	return Preamble{Version: b[4], Ping: time.Duration(b[5]) * time.Second}, nil
}

// AppendControlFrame appends a frame that concerns the connection itself (ping,
// pong, receipt, bye), with at most one payload frame, shorter than MaxWhole.
func AppendControlFrame(dst []byte, kind byte, payload []byte) []byte {
	m := Message{Type: kind}
	if payload != nil {
		m.Payload = [][]byte{payload}
	}
	dst, err := AppendFrame(dst, &m)
	if err != nil {
		panic(err) // lengths only, and they are fixed
	}
	return dst
}

// AppendBye appends the frame that says why the connection ends.
func AppendBye(dst []byte, why *Error) []byte {
	b, err := json.Marshal(why)
	if err != nil {
		panic(err) // strings only
	}
	return AppendControlFrame(dst, TypeBye, b)
}

// AppendChunk appends the piece of frame from at on, at most MaxPiece bytes of
// it, as a chunk of the transfer with this number, and returns where the next
// one begins.
func AppendChunk(dst []byte, transfer uint32, frame []byte, at int) ([]byte, int) {
	end := min(at+MaxPiece, len(frame))
	head := make([]byte, 1, 5)
	if at == 0 {
		head[0] |= ChunkFirst
		head = binary.BigEndian.AppendUint32(head, uint32(len(frame)))
	}
	if end == len(frame) {
		head[0] |= ChunkLast
	}
	m := Message{Type: TypeChunk, ID: transfer & MaxID, Payload: [][]byte{head, frame[at:end]}}
	dst, err := AppendFrame(dst, &m)
	if err != nil {
		panic(err) // lengths only, and they are fixed
	}
	return dst, end
}

// Reassembler joins the chunks of one connection to whole frames. It is not safe
// for concurrent use; the zero value works.
type Reassembler struct {
	// Begin, if given, is called for each frame that begins to come, so that what is held of
	// all together can be bounded.
	Begin func() Held

	partial map[uint32]*transfer
	names   Names
}

// Held is what counts the bytes that are held of one frame (wire/unfinished.Message).
type Held interface {
	Grow(n int) bool // false: it has to be given up
	End()            // may be called again
}

// Drop forgets what has begun and not ended, at the end of the connection.
func (r *Reassembler) Drop() {
	for id := range r.partial {
		r.forget(id)
	}
}

// forget forgets one transfer, if it has begun.
func (r *Reassembler) forget(id uint32) {
	if known := r.partial[id]; known != nil && known.held != nil {
		known.held.End()
	}
	delete(r.partial, id)
}

type transfer struct {
	held  Held // nil: nobody counts
	frame []byte
	total int
}

// Add takes one chunk. whole reports that m is the message it completed. The
// errors are refusals (invalid, too_large): the connection is out of step.
func (r *Reassembler) Add(chunk *Message) (m Message, whole bool, err error) {
	if len(chunk.Payload) == 0 || len(chunk.Payload) > 2 || len(chunk.Payload[0]) == 0 {
		return m, false, Invalid("chunk", "a chunk has its flags and one piece")
	}
	head := chunk.Payload[0]
	var piece []byte
	if len(chunk.Payload) == 2 {
		piece = chunk.Payload[1]
	}
	flags, known := head[0], r.partial[chunk.ID]
	switch {
	case flags&^(ChunkFirst|ChunkLast|ChunkAbort) != 0:
		return m, false, Invalid("chunk", "a chunk has unknown flags %d", flags)
	case flags&ChunkAbort != 0:
		r.forget(chunk.ID)
		return m, false, nil
	case flags&ChunkFirst == 0 && known == nil:
		return m, false, Invalid("chunk", "transfer %d has not begun", chunk.ID)
	case flags&ChunkFirst != 0 && known != nil:
		return m, false, Invalid("chunk", "transfer %d begins twice", chunk.ID)
	}
	if known == nil {
		if len(head) != 5 {
			return m, false, Invalid("chunk", "the first chunk has flags of %d bytes, not 5", len(head))
		}
		total := binary.BigEndian.Uint32(head[1:])
		switch {
		case total > 4+MaxFrame:
			return m, false, Refuse(CodeTooLarge, "a frame of %d bytes in chunks is above the limit of %d", total, 4+MaxFrame)
		case len(r.partial) >= MaxTransfers:
			return m, false, Refuse(CodeBusy, "more than %d frames come in chunks at once", MaxTransfers)
		}
		known = &transfer{total: int(total)}
		if r.Begin != nil {
			known.held = r.Begin()
		}
		if r.partial == nil {
			r.partial = map[uint32]*transfer{}
		}
		r.partial[chunk.ID] = known
	} else if len(head) != 1 {
		return m, false, Invalid("chunk", "a later chunk has flags of %d bytes, not 1", len(head))
	}
	if len(known.frame)+len(piece) > known.total {
		return m, false, Invalid("chunk", "transfer %d is longer than its %d bytes", chunk.ID, known.total)
	}
	if need := len(known.frame) + len(piece); need > cap(known.frame) {
		room := min(known.total, max(need, 2*cap(known.frame)))
		if known.held != nil && !known.held.Grow(room-cap(known.frame)) {
			return m, false, Refuse(CodeBusy, "too much is held here of frames that have begun, and this one began first: send it again")
		}
		larger := make([]byte, len(known.frame), room)
		copy(larger, known.frame)
		known.frame = larger
	}
	known.frame = append(known.frame, piece...)
	if flags&ChunkLast == 0 {
		return m, false, nil
	}
	r.forget(chunk.ID)
	m, n, err := ParseFrame(known.frame, &r.names)
	switch {
	case err != nil:
		return m, false, Invalid("chunk", "transfer %d is no frame: %v", chunk.ID, err)
	case n != len(known.frame) || n != known.total:
		return m, false, Invalid("chunk", "transfer %d is not one whole frame", chunk.ID)
	case m.To == "":
		return m, false, Invalid("chunk", "transfer %d is a frame about the connection", chunk.ID)
	}
	return m, true, nil
}

// Hello is the params of COORDINATOR's sign_in on a native session.
type Hello struct {
	SignIn
	// Key is the idempotency key: a repeat with it is the same session.
	Key   string `json:"key,omitempty"`
	Token string `json:"token,omitempty"` // where the coordinator asks for one
	// Address is the client's own end of the connection, host:port. A client that
	// sends it lets a connection end in an orderly way, as systems do it for a process that
	// is gone, only when it gives the session up, and resets it else.
	Address string `json:"address,omitempty"`
}

// Welcome is the result of COORDINATOR's sign_in on a native session.
type Welcome struct {
	SignedIn
	// Resumed: the session was at home here all the time and lost nothing.
	Resumed      bool   `json:"resumed"`
	Coordinators []Door `json:"coordinators"` // where else a session may be taken over
}

// Door is a coordinator's door for native sessions.
type Door struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Address   string `json:"address"` // host:port; "" when it has none
}
