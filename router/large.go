package router

import (
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
)

// largeMessage is a message above one frame, sent in chunks. The writer owns it once
// it is in its link's turn.
type largeMessage struct {
	e *entry
	*link.Chunker
}

// startLarge gives a message its turn, or has it wait for one; mu is held.
func (l *outLink) startLarge(g *largeMessage) {
	if len(l.activeLarge) < link.LargeAtOnce {
		l.activeLarge = append(l.activeLarge, g)
		return
	}
	l.queuedLarge = append(l.queuedLarge, g)
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
		dst = g.AppendAbort(dst)
		l.finishLarge(e, true)
		l.complete(e, expiredError(e.m.To))
		return dst
	}
	dst, last := g.Append(dst)
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
