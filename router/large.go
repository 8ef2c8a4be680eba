package router

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// largeAtOnce is how many large messages of one link are cut in turn; others
// wait. The acceptor refuses a link that begins more.
const largeAtOnce = 4

// maxLarge bounds the body that chunks may build up.
const maxLarge = relayHead + route.MaxCode + dataHead + 1<<16 + 4 + wire.MaxFrame

// largeMessage is a message above one frame, sent in chunks. The writer owns it once
// it is in its link's turn.
type largeMessage struct {
	e         *entry
	routeSize int      // bytes of the head before the data head; 0: no relay
	head      []byte   // the route, data head and the message's frame up to its payload
	payload   [][]byte // frames not begun yet
	rest      []byte   // of the frame that is being cut
	total     int
	begun     bool
}

func newLargeMessage(e *entry, d *dataFrame, session string, sr *sourceRoute, total int) *largeMessage {
	g := &largeMessage{e: e, payload: e.m.Payload, total: total, routeSize: sr.size()}
	if sr != nil {
		g.head = appendSourceRoute(nil, sr)
	}
	g.head = wire.AppendFrameHead(appendDataHead(g.head, d, session), &e.m)
	g.rest = g.head
	e.chunking, e.large = g, true
	return g
}

// startLarge gives a message its turn, or has it wait for one; mu is held.
func (l *outLink) startLarge(g *largeMessage) {
	if len(l.activeLarge) < largeAtOnce {
		l.activeLarge = append(l.activeLarge, g)
		return
	}
	l.queuedLarge = append(l.queuedLarge, g)
}

// cut appends the next chunk to dst and tells whether it is the last one.
func (g *largeMessage) cut(dst []byte) (_ []byte, last bool) {
	start := len(dst)
	dst = beginFrame(dst, kindChunk)
	dst = binary.BigEndian.AppendUint32(dst, g.e.slot)
	flags := len(dst)
	dst = append(dst, 0)
	if !g.begun {
		g.begun = true
		dst[flags] |= chunkFirst
		if g.routeSize > 0 {
			dst[flags] |= chunkRelay
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(g.total))
		// The time that is left counts from here, not from its place in the queue.
		binary.BigEndian.PutUint32(g.head[g.routeSize+12:], remainingMillis(g.e.deadline, time.Now()))
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

// appendChunk appends one chunk of the large message whose turn it is. Its turn
// comes when the writer has taken all that was appended before it. It runs on
// the writer, without locks.
func (l *outLink) appendChunk(dst []byte) []byte {
	l.mu.Lock()
	at := slices.IndexFunc(l.activeLarge, func(g *largeMessage) bool { return g.e.seq <= l.takenSeq })
	if at < 0 {
		l.mu.Unlock()
		return dst
	}
	g := l.activeLarge[at]
	l.activeLarge[0], l.activeLarge[at] = g, l.activeLarge[0]
	l.mu.Unlock()

	e := g.e
	if e.isCanceled() || !time.Now().Before(e.deadline) {
		start := len(dst)
		if g.begun {
			dst = binary.BigEndian.AppendUint32(beginFrame(dst, kindChunk), e.slot)
			dst = append(dst, chunkAbort)
			endFrame(dst, start)
		}
		l.finishLarge(e, true)
		l.complete(e, expiredError(e.m.To))
		return dst
	}
	dst, last := g.cut(dst)
	if last {
		l.finishLarge(e, false)
		return dst
	}
	l.mu.Lock()
	copy(l.activeLarge, l.activeLarge[1:])
	l.activeLarge[len(l.activeLarge)-1] = g
	l.mu.Unlock()
	return dst
}

// finishLarge lets the next large message have its turn. A message that was given
// up leaves its slot at once.
func (l *outLink) finishLarge(e *entry, vacate bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.chunking = nil
	if vacate {
		l.freeSlot(e.slot)
	}
	n := copy(l.activeLarge, l.activeLarge[1:])
	l.activeLarge[n] = nil
	l.activeLarge = l.activeLarge[:n]
	if len(l.queuedLarge) > 0 {
		l.activeLarge = append(l.activeLarge, l.queuedLarge[0])
		l.queuedLarge[0] = nil
		l.queuedLarge = l.queuedLarge[1:]
	}
}

// clearLarge tells that an entry that has landed does not hold its stream up any more;
// the shard's mu is held.
func (st *stream) clearLarge(large bool) {
	if large {
		st.largeInFlight = false
	}
}
