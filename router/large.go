package router

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// largeAtOnce is how many large messages of one link are cut in turn; others
// wait. The acceptor refuses a link that begins more.
const largeAtOnce = 4

// maxLarge bounds the body that chunks may build up.
const maxLarge = relayHead + maxWayCode + dataHead + 1<<16 + 4 + wire.MaxFrame

// large is a message above one frame, sent in chunks. The writer owns it once
// it is in its link's turn.
type large struct {
	e       *entry
	trip    int      // bytes of the head before the data head; 0: no relay
	head    []byte   // the way, data head and the message's frame up to its payload
	payload [][]byte // frames not begun yet
	rest    []byte   // of the frame that is being cut
	total   int
	begun   bool
}

func newLarge(e *entry, d *data, session string, t *trip, total int) *large {
	g := &large{e: e, payload: e.m.Payload, total: total, trip: t.size()}
	if t != nil {
		g.head = appendTrip(nil, t)
	}
	g.head = wire.AppendFrameHead(appendDataHead(g.head, d, session), &e.m)
	g.rest = g.head
	e.cutting, e.large = g, true
	return g
}

// startLarge gives a message its turn, or has it wait for one; mu is held.
func (l *outLink) startLarge(g *large) {
	if len(l.large) < largeAtOnce {
		l.large = append(l.large, g)
		return
	}
	l.queued = append(l.queued, g)
}

// cut appends the next chunk to dst and tells whether it is the last one.
func (g *large) cut(dst []byte) (_ []byte, last bool) {
	start := len(dst)
	dst = beginFrame(dst, kindChunk)
	dst = binary.BigEndian.AppendUint32(dst, g.e.slot)
	flags := len(dst)
	dst = append(dst, 0)
	if !g.begun {
		g.begun = true
		dst[flags] |= chunkFirst
		if g.trip > 0 {
			dst[flags] |= chunkRelay
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(g.total))
		// The time that is left counts from here, not from its place in the queue.
		binary.BigEndian.PutUint32(g.head[g.trip+12:], remaining(g.e.deadline, time.Now()))
	}
	for {
		room := maxBody - (len(dst) - start - headSize)
		n := min(room, len(g.rest))
		dst = append(dst, g.rest[:n]...)
		g.rest = g.rest[n:]
		if len(g.rest) > 0 {
			break
		}
		if len(g.payload) == 0 {
			dst[flags] |= chunkLast
			last = true
			break
		}
		if room-n < 4 {
			break // the next frame's length goes into the next chunk
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(g.payload[0])))
		g.rest, g.payload = g.payload[0], g.payload[1:]
	}
	endFrame(dst, start)
	return dst, last
}

// cutOne appends one chunk of the large message whose turn it is. Its turn
// comes when the writer has taken all that was appended before it. It runs on
// the writer, without locks.
func (l *outLink) cutOne(dst []byte) []byte {
	l.mu.Lock()
	at := slices.IndexFunc(l.large, func(g *large) bool { return g.e.seq <= l.taken })
	if at < 0 {
		l.mu.Unlock()
		return dst
	}
	g := l.large[at]
	l.large[0], l.large[at] = g, l.large[0]
	l.mu.Unlock()

	e := g.e
	if e.gone() || !time.Now().Before(e.deadline) {
		start := len(dst)
		if g.begun {
			dst = binary.BigEndian.AppendUint32(beginFrame(dst, kindChunk), e.slot)
			dst = append(dst, chunkAbort)
			endFrame(dst, start)
		}
		l.endTurn(e, true)
		l.settle(e, late(e.m.To))
		return dst
	}
	dst, last := g.cut(dst)
	if last {
		l.endTurn(e, false)
		return dst
	}
	l.mu.Lock()
	copy(l.large, l.large[1:])
	l.large[len(l.large)-1] = g
	l.mu.Unlock()
	return dst
}

// endTurn lets the next large message have its turn. A message that was given
// up leaves its slot at once.
func (l *outLink) endTurn(e *entry, vacate bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.cutting = nil
	if vacate {
		l.vacate(e.slot)
	}
	n := copy(l.large, l.large[1:])
	l.large[n] = nil
	l.large = l.large[:n]
	if len(l.queued) > 0 {
		l.large = append(l.large, l.queued[0])
		l.queued[0] = nil
		l.queued = l.queued[1:]
	}
}

// uncut tells that an entry that has landed does not hold its pair up any more;
// the shard's mu is held.
func (p *pair) uncut(large bool) {
	if large {
		p.cutting = false
	}
}
