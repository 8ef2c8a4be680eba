package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Version is the newest version of the link's frames that this build
// speaks. 1: the first seven kinds, 2026-11. 2: routes over other coordinators,
// 2026-11. A stream begins in openVersion, which all builds read; the acceptor
// tells its newest version with every pong, and the dialler uses no more.
const (
	Version     = 2
	openVersion = 1
)

// A link is one stream from the coordinator that dialled (it sends messages)
// to the one that accepted (it sends outcomes). Both send frames; all numbers
// are big-endian:
//
//	1    kind
//	4    length of the body: 1..65,536
//	4    CRC-32C of kind, length and body
//	n    body
//
// Whatever is wrong with a frame closes the link; nobody looks for the next
// one in the rest.
//
//	kind          from      body
//	1 open        dialler   openVersion 1, instance 16, number 8: first frame; a process has one
//	                        instance, and its next link to the same coordinator a higher number
//	2 data        dialler   a message, see below
//	3 chunk       dialler   id 4, flags 1 (1 first, 2 last, 4 given up, 8 with first: of a relay),
//	                        if first: total 4; bytes. The bytes of all chunks of one id are the
//	                        body of a data or relay frame that would be above 65,536 bytes; the
//	                        next message of the same sender and receiver follows its outcome
//	4 outcomes    acceptor  for each message: id 4, verdict 1
//	5 ping        dialler   8 bytes
//	6 pong        acceptor  the 8 bytes of the ping; since version 2: the acceptor's Version 1
//	7 bye         both      reason, text: no more will come
//	8 relay       dialler   a message with its route, see below; version 2
//	9 report      dialler   which links of a coordinator are down: its id 1,n; 8 a number that is
//	                        higher in each report of one coordinator; count 2; so many ids 1,n;
//	                        version 2
//
// A data body is
//
//	4    id: free for another message once its outcome has come
//	8    seen: how many verdicts unknownTo and moved the dialler has read on this link. After
//	     such a verdict for a sender and receiver the acceptor gives the same to each of their
//	     messages until seen says that the dialler knows; so none overtakes one that will be
//	     sent again
//	4    milliseconds the message has left (its remaining time, never an absolute time)
//	8    epoch of the receiver's session as the dialler knows it
//	2,n  id of that session
//	     the message as wire.Message's frame
//
// A relay body is
//
//	1    hops: how many links the message has taken with this one, 1 or more
//	8    epoch: higher than in any message that came before to the same home and whose outcome
//	     the origin never learnt
//	2,n  the route: an id 1,n for each coordinator, the origin first, the receiver's home last
//	     a data body, its id and seen those of this link
const (
	// KindOpen and the others are the kinds of frames.
	KindOpen     byte = 1
	KindData     byte = 2
	KindChunk    byte = 3
	KindOutcomes byte = 4
	KindPing     byte = 5
	KindPong     byte = 6
	KindBye      byte = 7
	KindRelay    byte = 8
	KindReport   byte = 9

	headSize = 9
	// MaxBody is the longest body of a frame, in bytes.
	MaxBody = 64 << 10
	// DataHead is how long a data body is without session id and message.
	DataHead = 4 + 8 + 4 + 8 + 2
	// OutcomeSize is how long one outcome is.
	OutcomeSize = 5

	chunkFirst byte = 1
	chunkLast  byte = 2
	chunkAbort byte = 4
	chunkRelay byte = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BeginFrame appends the head of a frame; EndFrame completes it once its body is
// appended.
func BeginFrame(dst []byte, kind byte) []byte {
	return append(dst, kind, 0, 0, 0, 0, 0, 0, 0, 0)
}

// EndFrame writes length and checksum of the frame that begins at start.
func EndFrame(dst []byte, start int) {
	f := dst[start:]
	binary.BigEndian.PutUint32(f[1:], uint32(len(f)-headSize))
	binary.BigEndian.PutUint32(f[5:], checksum(f, f[headSize:]))
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, head[:5]), castagnoli, body)
}

// AppendFrame appends a whole frame.
func AppendFrame(dst []byte, kind byte, body []byte) []byte {
	start := len(dst)
	dst = append(BeginFrame(dst, kind), body...)
	EndFrame(dst, start)
	return dst
}

// readBuffer holds the largest frame, and seldom ends within one.
const readBuffer = 128 << 10

// Reader reads frames through one buffer; a body is valid until the next
// call.
type Reader struct {
	r    *bufio.Reader
	used int // bytes of the frame returned last, still in the buffer
}

// NewReader returns a Reader of frames from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, readBuffer)}
}

// Ready tells whether the next frame can be had without waiting.
func (f *Reader) Ready() bool {
	have := f.r.Buffered() - f.used
	if have < headSize {
		return false
	}
	b, _ := f.r.Peek(f.used + headSize)
	n := binary.BigEndian.Uint32(b[f.used+1:])
	return n > MaxBody || have >= headSize+int(n) // a wrong length is an error at once
}

// Next waits for the next frame. Errors but those of the stream are ProtocolErrors.
func (f *Reader) Next() (kind byte, body []byte, err error) {
	if f.used > 0 {
		if _, err := f.r.Discard(f.used); err != nil {
			return 0, nil, err
		}
		f.used = 0
	}
	head, err := f.r.Peek(headSize)
	if err != nil {
		return 0, nil, truncated(err, len(head))
	}
	kind = head[0]
	n := binary.BigEndian.Uint32(head[1:])
	if n == 0 || n > MaxBody {
		return 0, nil, Malformed("link frame of kind %d announces a body of %d bytes, possible are 1 to %d", kind, n, MaxBody)
	}
	b, err := f.r.Peek(headSize + int(n))
	if err != nil {
		return 0, nil, truncated(err, len(b))
	}
	body = b[headSize:]
	if got, want := checksum(b, body), binary.BigEndian.Uint32(b[5:]); got != want {
		return 0, nil, Malformed("link frame of kind %d with %d bytes has checksum %08x, announced was %08x", kind, n, got, want)
	}
	f.used = len(b)
	return kind, body, nil
}

func truncated(err error, have int) error {
	if err == io.EOF && have > 0 {
		return fmt.Errorf("link frame cut short after %d bytes: %w", have, io.ErrUnexpectedEOF)
	}
	return err
}

// ProtocolError is a fault in what the other side sent.
type ProtocolError string

// Error implements error.
func (e ProtocolError) Error() string { return string(e) }

// Malformed returns a ProtocolError.
func Malformed(format string, args ...any) error {
	return ProtocolError(fmt.Sprintf(format, args...))
}

// Data is a data body, its message frame not yet read.
type Data struct {
	ID        uint32
	Seen      uint64
	Remaining uint32 // milliseconds
	Epoch     uint64
	Session   []byte
	Message   []byte
}

// AppendDataHead appends a data body up to its message.
func AppendDataHead(dst []byte, d *Data, session string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, d.ID)
	dst = binary.BigEndian.AppendUint64(dst, d.Seen)
	dst = binary.BigEndian.AppendUint32(dst, d.Remaining)
	dst = binary.BigEndian.AppendUint64(dst, d.Epoch)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(session)))
	return append(dst, session...)
}

// ParseData reads a data body; what it returns aliases b.
func ParseData(b []byte) (d Data, err error) {
	if len(b) < DataHead {
		return d, Malformed("data of %d bytes, the head alone has %d", len(b), DataHead)
	}
	d.ID = binary.BigEndian.Uint32(b)
	d.Seen = binary.BigEndian.Uint64(b[4:])
	d.Remaining = binary.BigEndian.Uint32(b[12:])
	d.Epoch = binary.BigEndian.Uint64(b[16:])
	n := int(binary.BigEndian.Uint16(b[24:]))
	b = b[DataHead:]
	if n > len(b) {
		return d, Malformed("a session id of %d bytes where %d are left", n, len(b))
	}
	d.Session, d.Message = b[:n], b[n:]
	return d, nil
}

// ParseMessage reads the one message of a data body.
func ParseMessage(b []byte, names *wire.Names) (wire.Message, error) {
	m, n, err := wire.ParseFrame(b, names)
	if err != nil {
		return m, Malformed("message: %v", err)
	}
	if n != len(b) {
		return m, Malformed("%d bytes after the message", len(b)-n)
	}
	return m, nil
}

// RemainingMillis is the time a message has left, as it travels: never 0.
func RemainingMillis(deadline, now time.Time) uint32 {
	ms := deadline.Sub(now).Milliseconds()
	return uint32(max(1, min(ms, 1<<31)))
}

// FrameSize is how long a frame is with a body of so many bytes.
func FrameSize(body int) int { return headSize + body }
