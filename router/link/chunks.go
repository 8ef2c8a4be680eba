package link

import (
	"encoding/binary"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// LargeAtOnce is how many large messages of one link are cut in turn; others
// wait. The acceptor refuses a link that begins more.
const LargeAtOnce = 4

// maxLarge bounds the body that chunks may build up.
const maxLarge = relayHead + maxRouteCode + DataHead + 1<<16 + 4 + wire.MaxFrame

// Chunker cuts one message above one frame into chunks. Its methods are for one
// goroutine at a time.
type Chunker struct {
	id        uint32
	deadline  time.Time
	routeSize int      // bytes of the head before the data head; 0: no relay
	head      []byte   // the route, data head and the message's frame up to its payload
	payload   [][]byte // frames not begun yet
	rest      []byte   // of the frame that is being cut
	total     int
	begun     bool
}

// NewChunker returns the chunker of a message whose body has total bytes; sr is
// nil without a route. The payload stays the caller's and must not change.
func NewChunker(m *wire.Message, d *Data, session string, sr *SourceRoute, total int, deadline time.Time) *Chunker {
	c := &Chunker{id: d.ID, deadline: deadline, payload: m.Payload, total: total, routeSize: sr.Size()}
	if sr != nil {
		c.head = AppendSourceRoute(nil, sr)
	}
	c.head = wire.AppendFrameHead(AppendDataHead(c.head, d, session), m)
	c.rest = c.head
	return c
}

// Append appends the next chunk to dst and tells whether it is the last one.
func (c *Chunker) Append(dst []byte) (_ []byte, last bool) {
	start := len(dst)
	dst = BeginFrame(dst, KindChunk)
	dst = binary.BigEndian.AppendUint32(dst, c.id)
	flags := len(dst)
	dst = append(dst, 0)
	if !c.begun {
		c.begun = true
		dst[flags] |= chunkFirst
		if c.routeSize > 0 {
			dst[flags] |= chunkRelay
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(c.total))
		// The time that is left counts from here, not from its place in the queue.
		binary.BigEndian.PutUint32(c.head[c.routeSize+12:], RemainingMillis(c.deadline, time.Now()))
	}
	for {
		room := MaxBody - (len(dst) - start - headSize)
		n := min(room, len(c.rest))
		dst = append(dst, c.rest[:n]...)
		c.rest = c.rest[n:]
		if len(c.rest) > 0 {
			break
		}
		if len(c.payload) == 0 {
			dst[flags] |= chunkLast
			last = true
			break
		}
		if room-n < 4 {
			break // the next frame's length goes into the next chunk
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.payload[0])))
		c.rest, c.payload = c.payload[0], c.payload[1:]
	}
	EndFrame(dst, start)
	return dst, last
}

// AppendAbort appends the chunk by which a message is given up; nothing if none of
// it was sent.
func (c *Chunker) AppendAbort(dst []byte) []byte {
	if !c.begun {
		return dst
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(BeginFrame(dst, KindChunk), c.id)
	dst = append(dst, chunkAbort)
	EndFrame(dst, start)
	return dst
}

// Chunks puts the large messages of one link together. Its methods are for the
// link's reader. The zero value works.
type Chunks struct{ partial map[uint32]*Partial }

// Partial is a large message of which not all chunks are here.
type Partial struct {
	ID    uint32
	Since time.Time // when its first chunk came
	Relay bool      // its body is that of a relay frame

	pieces [][]byte // as they came: nothing large is moved while others wait
	have   int
	total  int
}

// Add takes one chunk and returns the message that it completes; nil if there is
// none. It copies what it keeps.
func (c *Chunks) Add(body []byte) (whole *Partial, err error) {
	if len(body) < 5 {
		return nil, Malformed("a chunk of %d bytes", len(body))
	}
	id, flags := binary.BigEndian.Uint32(body), body[4]
	body = body[5:]
	p := c.partial[id]
	if (flags&chunkFirst != 0) == (p != nil) {
		return nil, Malformed("chunk with flags %d of message %d, begun: %t", flags, id, p != nil)
	}
	if flags&chunkAbort != 0 {
		if p == nil {
			return nil, Malformed("message %d is given up before it began", id)
		}
		delete(c.partial, id)
		return nil, nil
	}
	if p == nil {
		if p, body, err = c.first(id, flags, body); err != nil {
			return nil, err
		}
	}
	if err := p.add(body); err != nil {
		return nil, err
	}
	if flags&chunkLast == 0 {
		return nil, nil
	}
	delete(c.partial, id)
	if p.have != p.total {
		return nil, Malformed("message %d ends after %d of %d bytes", id, p.have, p.total)
	}
	return p, nil
}

// first begins a message with its first chunk and returns what of it follows the
// length.
func (c *Chunks) first(id uint32, flags byte, body []byte) (*Partial, []byte, error) {
	if len(body) < 4 {
		return nil, nil, Malformed("the first chunk of message %d has no length", id)
	}
	total := binary.BigEndian.Uint32(body)
	if total <= MaxBody || total > maxLarge {
		return nil, nil, Malformed("message %d in chunks announces %d bytes, possible are %d to %d", id, total, MaxBody+1, maxLarge)
	}
	if len(c.partial) >= LargeAtOnce {
		return nil, nil, Malformed("more than %d large messages at once", LargeAtOnce)
	}
	if c.partial == nil {
		c.partial = make(map[uint32]*Partial)
	}
	p := &Partial{ID: id, total: int(total), Since: time.Now(), Relay: flags&chunkRelay != 0}
	c.partial[id] = p
	return p, body[4:], nil
}

// add keeps a piece.
func (p *Partial) add(b []byte) error {
	if len(b) > p.total-p.have {
		return Malformed("a large message of %d bytes is longer than announced", p.total)
	}
	p.pieces = append(p.pieces, append([]byte(nil), b...))
	p.have += len(b)
	return nil
}

// First is the beginning of a complete message, not yet joined.
func (p *Partial) First() []byte { return p.pieces[0] }

// Join puts the pieces together. It never holds more than twice what has come.
func (p *Partial) Join() []byte {
	body := make([]byte, 0, p.total)
	for i, b := range p.pieces {
		body = append(body, b...)
		p.pieces[i] = nil
	}
	return body
}
