package session

import (
	"encoding/binary"

	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of what waits because a long message is on its way.
const (
	maxTransfers = 2
	maxHeld      = 256
	maxHeldBytes = 1 << 20
)

// chunker orders the frames of messages: short ones at once,
// long ones in chunks, and behind a long one whatever has the same sender. It
// is guarded by the connection's mu.
type chunker struct {
	whole     bool // nothing is cut
	transfers []*transfer
	rotation  int
	next      uint32
	held      []heldMessage
	heldBytes int
	ownBytes  int // bytes of the coordinator's own messages in held and transfers
}

type heldMessage struct {
	m           wire.Message
	fromMailbox bool // from the mailbox
}

// transfer is one long message on its way.
type transfer struct {
	heldMessage
	id    uint32
	total int
	at    int      // bytes of the frame that are cut
	rest  [][]byte // what follows them
}

// add appends the frame of a message to dst, or holds the message for later. The
// message was checked.
func (c *chunker) add(dst []byte, m *wire.Message, mailed bool) []byte {
	if len(c.transfers) == 0 || c.whole {
		if size := m.FrameSize(); size <= wire.MaxWhole || c.whole {
			return mustAppendFrame(dst, m)
		}
	}
	return c.place(dst, heldMessage{*m, mailed}, c.held)
}

// place writes, begins to cut or holds one message; earlier are those that are
// held before it.
func (c *chunker) place(dst []byte, h heldMessage, earlier []heldMessage) []byte {
	size := h.m.FrameSize()
	if !c.blocked(h.m.From, earlier) {
		if size <= wire.MaxWhole {
			return mustAppendFrame(dst, &h.m)
		}
		if len(c.transfers) < maxTransfers {
			c.beginTransfer(h, size)
			return dst
		}
	}
	c.held = append(c.held, h)
	c.heldBytes += size
	if !h.fromMailbox {
		c.ownBytes += size
	}
	return dst
}

func (c *chunker) blocked(from string, earlier []heldMessage) bool {
	for _, t := range c.transfers {
		if t.m.From == from {
			return true
		}
	}
	for i := range earlier {
		if earlier[i].m.From == from {
			return true
		}
	}
	return false
}

func (c *chunker) beginTransfer(h heldMessage, size int) {
	t := &transfer{heldMessage: h, id: c.next & wire.MaxID, total: size}
	c.next++
	t.rest = append(t.rest, wire.AppendFrameHead(nil, &t.m))
	for _, p := range t.m.Payload {
		t.rest = append(t.rest, binary.BigEndian.AppendUint32(nil, uint32(len(p))), p)
	}
	c.transfers = append(c.transfers, t)
	if !h.fromMailbox {
		c.ownBytes += size
	}
}

// appendChunk appends the next chunk of one of the transfers, if there is one, and
// what need not wait any more after it.
func (c *chunker) appendChunk(dst []byte) []byte {
	if len(c.transfers) == 0 {
		return dst
	}
	c.rotation++
	i := c.rotation % len(c.transfers)
	t := c.transfers[i]
	dst = t.append(dst)
	if t.at < t.total {
		return dst
	}
	c.transfers = append(c.transfers[:i], c.transfers[i+1:]...)
	if !t.fromMailbox {
		c.ownBytes -= t.total
	}
	waiting := c.held
	c.held, c.heldBytes = nil, 0
	for _, h := range waiting {
		if !h.fromMailbox {
			c.ownBytes -= h.m.FrameSize()
		}
		dst = c.place(dst, h, c.held)
	}
	return dst
}

// append appends one chunk: a frame about the connection.
func (t *transfer) append(dst []byte) []byte {
	n := min(wire.MaxPiece, t.total-t.at)
	head := make([]byte, 1, 5)
	if t.at == 0 {
		head[0] |= wire.ChunkFirst
		head = binary.BigEndian.AppendUint32(head, uint32(t.total))
	}
	if t.at+n == t.total {
		head[0] |= wire.ChunkLast
	}
	t.at += n
	m := wire.Message{Type: wire.TypeChunk, ID: t.id, Payload: [][]byte{head, t.piece(n)}}
	return mustAppendFrame(dst, &m)
}

// piece takes the next n bytes of the frame, without a copy if they lie
// together.
func (t *transfer) piece(n int) []byte {
	for len(t.rest[0]) == 0 {
		t.rest = t.rest[1:]
	}
	if len(t.rest[0]) >= n {
		b := t.rest[0][:n]
		t.rest[0] = t.rest[0][n:]
		return b
	}
	b := make([]byte, 0, n)
	for len(b) < n {
		k := min(n-len(b), len(t.rest[0]))
		b = append(b, t.rest[0][:k]...)
		if t.rest[0] = t.rest[0][k:]; len(t.rest[0]) == 0 {
			t.rest = t.rest[1:]
		}
	}
	return b
}

// full reports that no more mail should be received for now.
func (c *chunker) full() bool {
	return len(c.held) >= maxHeld || c.heldBytes >= maxHeldBytes
}

// unsent is the mail of which no whole frame has left, in order.
func (c *chunker) unsent() (msgs []wire.Message) {
	for _, t := range c.transfers {
		if t.fromMailbox {
			msgs = append(msgs, t.m)
		}
	}
	for _, h := range c.held {
		if h.fromMailbox {
			msgs = append(msgs, h.m)
		}
	}
	return msgs
}

// mustAppendFrame appends the frame of a message that is known to have one.
func mustAppendFrame(dst []byte, m *wire.Message) []byte {
	out, err := wire.AppendFrame(dst, m)
	if err != nil {
		panic(err) // every message was checked when it came in
	}
	return out
}
