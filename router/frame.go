package router

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/folkmoot/folkmoot/wire"
)

// linkVersion is the newest version of the link's frames that this build
// speaks. 1: the first seven kinds, 2026-11. 2: routes over other coordinators,
// 2026-11. A stream begins in openVersion, which all builds read; the acceptor
// tells its newest version with every pong, and the dialler uses no more.
const (
	linkVersion = 2
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
//	6 pong        acceptor  the 8 bytes of the ping; since version 2: the acceptor's linkVersion 1
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
//	8    turn: higher than in any message that came before to the same home and whose outcome
//	     the origin never learnt
//	2,n  the route: an id 1,n for each coordinator, the origin first, the receiver's home last
//	     a data body, its id and seen those of this link
const (
	kindOpen     byte = 1
	kindData     byte = 2
	kindChunk    byte = 3
	kindOutcomes byte = 4
	kindPing     byte = 5
	kindPong     byte = 6
	kindBye      byte = 7
	kindRelay    byte = 8
	kindReport   byte = 9

	headSize = 9
	maxBody  = 64 << 10
	dataHead = 4 + 8 + 4 + 8 + 2

	outcomeSize = 5

	chunkFirst byte = 1
	chunkLast  byte = 2
	chunkAbort byte = 4
	chunkRelay byte = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame appends the head of a frame; endFrame completes the frame that
// begins at start once its body is appended.
func beginFrame(dst []byte, kind byte) []byte {
	return append(dst, kind, 0, 0, 0, 0, 0, 0, 0, 0)
}

func endFrame(dst []byte, start int) {
	f := dst[start:]
	binary.BigEndian.PutUint32(f[1:], uint32(len(f)-headSize))
	binary.BigEndian.PutUint32(f[5:], checksum(f, f[headSize:]))
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, head[:5]), castagnoli, body)
}

func appendFrame(dst []byte, kind byte, body []byte) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, kind), body...)
	endFrame(dst, start)
	return dst
}

// readBuffer holds the largest frame, and seldom ends within one.
const readBuffer = 128 << 10

// frameReader reads frames through one buffer; a body is valid until the next
// call.
type frameReader struct {
	r    *bufio.Reader
	used int // bytes of the frame returned last, still in the buffer
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, readBuffer)}
}

// ready tells whether the next frame can be had without waiting.
func (f *frameReader) ready() bool {
	have := f.r.Buffered() - f.used
	if have < headSize {
		return false
	}
	b, _ := f.r.Peek(f.used + headSize)
	n := binary.BigEndian.Uint32(b[f.used+1:])
	return n > maxBody || have >= headSize+int(n) // a wrong length is an error at once
}

func (f *frameReader) next() (kind byte, body []byte, err error) {
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
	if n == 0 || n > maxBody {
		return 0, nil, protocolErrorf("link frame of kind %d announces a body of %d bytes, possible are 1 to %d", kind, n, maxBody)
	}
	b, err := f.r.Peek(headSize + int(n))
	if err != nil {
		return 0, nil, truncated(err, len(b))
	}
	body = b[headSize:]
	if got, want := checksum(b, body), binary.BigEndian.Uint32(b[5:]); got != want {
		return 0, nil, protocolErrorf("link frame of kind %d with %d bytes has checksum %08x, announced was %08x", kind, n, got, want)
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

// protocolError is a fault in what the other side sent.
type protocolError string

func (e protocolError) Error() string { return string(e) }

func protocolErrorf(format string, args ...any) error {
	return protocolError(fmt.Sprintf(format, args...))
}

// dataFrame is a data body, its message frame not yet read.
type dataFrame struct {
	id        uint32
	seen      uint64
	remaining uint32 // milliseconds
	epoch     uint64
	session   []byte
	message   []byte
}

func appendDataHead(dst []byte, d *dataFrame, session string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, d.id)
	dst = binary.BigEndian.AppendUint64(dst, d.seen)
	dst = binary.BigEndian.AppendUint32(dst, d.remaining)
	dst = binary.BigEndian.AppendUint64(dst, d.epoch)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(session)))
	return append(dst, session...)
}

func parseData(b []byte) (d dataFrame, err error) {
	if len(b) < dataHead {
		return d, protocolErrorf("data of %d bytes, the head alone has %d", len(b), dataHead)
	}
	d.id = binary.BigEndian.Uint32(b)
	d.seen = binary.BigEndian.Uint64(b[4:])
	d.remaining = binary.BigEndian.Uint32(b[12:])
	d.epoch = binary.BigEndian.Uint64(b[16:])
	n := int(binary.BigEndian.Uint16(b[24:]))
	b = b[dataHead:]
	if n > len(b) {
		return d, protocolErrorf("a session id of %d bytes where %d are left", n, len(b))
	}
	d.session, d.message = b[:n], b[n:]
	return d, nil
}

// parseMessage reads the one message of a data body.
func parseMessage(b []byte, names *wire.Names) (wire.Message, error) {
	m, n, err := wire.ParseFrame(b, names)
	if err != nil {
		return m, protocolErrorf("message: %v", err)
	}
	if n != len(b) {
		return m, protocolErrorf("%d bytes after the message", len(b)-n)
	}
	return m, nil
}
