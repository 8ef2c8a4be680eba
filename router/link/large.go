package link

import (
	"slices"
	"time"
)

// large is a message above one frame, sent in chunks. The writer owns it once it has
// its turn.
type large[E any] struct {
	*Chunker
	item *E
	id   uint32 // of its slot
	seq  uint64
}

// startLarge gives a message its turn, or has it wait for one; Mu is held.
func (o *Outbox[E]) startLarge(g *large[E]) {
	if len(o.active) < LargeAtOnce {
		o.active = append(o.active, g)
		return
	}
	o.queued = append(o.queued, g)
}

// appendChunk appends one chunk of the large message whose turn it is. Its turn
// comes when the writer has taken all that was appended before it. It runs on
// the writer, without Mu.
func (o *Outbox[E]) appendChunk(dst []byte) []byte {
	o.Mu.Lock()
	at := slices.IndexFunc(o.active, func(g *large[E]) bool { return g.seq <= o.takenSeq })
	if at < 0 {
		o.Mu.Unlock()
		return dst
	}
	g := o.active[at]
	o.active[0], o.active[at] = g, o.active[0]
	o.Mu.Unlock()

	if o.cfg.Abandoned(g.item) || !time.Now().Before(g.deadline) {
		dst = g.AppendAbort(dst)
		o.finishLarge(func() { o.freeSlot(g.id) })
		o.cfg.GiveUp(g.item)
		return dst
	}
	dst, last := g.Append(dst)
	if last {
		o.finishLarge(func() { o.slots[g.id].large = nil })
		return dst
	}
	o.Mu.Lock()
	copy(o.active, o.active[1:])
	o.active[len(o.active)-1] = g
	o.Mu.Unlock()
	return dst
}

// finishLarge lets the next large message have its turn. leave, called with Mu held,
// tells what becomes of the slot.
func (o *Outbox[E]) finishLarge(leave func()) {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	leave()
	n := copy(o.active, o.active[1:])
	o.active[n] = nil
	o.active = o.active[:n]
	if len(o.queued) > 0 {
		o.active = append(o.active, o.queued[0])
		o.queued[0] = nil
		o.queued = o.queued[1:]
	}
}
