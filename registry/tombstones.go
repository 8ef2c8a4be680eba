package registry

import (
	"iter"

	"github.com/tidwall/btree"
)

// tombstones remembers the last KeepEnded of what was put into it, in order.
type tombstones struct {
	byID  btree.Map[string, tombstone]
	order btree.Map[uint64, *Ended]
	next  uint64 // place of the next one; only the order counts, so it is in no snapshot
}

type tombstone struct {
	place uint64
	row   *Ended
}

func (g *tombstones) copy() tombstones {
	return tombstones{byID: *g.byID.Copy(), order: *g.order.Copy(), next: g.next}
}

func (g *tombstones) get(id string) (Ended, bool) {
	at, ok := g.byID.Get(id)
	if !ok {
		return Ended{}, false
	}
	return *at.row, true
}

// put adds a row at the end; an older row of the same session goes.
func (g *tombstones) put(e *Ended) {
	g.remove(e.ID)
	g.byID.Set(e.ID, tombstone{g.next, e})
	g.order.Set(g.next, e)
	g.next++
	if g.order.Len() > KeepEnded {
		_, oldest, _ := g.order.Min()
		g.remove(oldest.ID)
	}
}

func (g *tombstones) remove(id string) {
	if at, ok := g.byID.Delete(id); ok {
		g.order.Delete(at.place)
	}
}

func (g *tombstones) all() iter.Seq[Ended] {
	return func(yield func(Ended) bool) {
		g.order.Scan(func(_ uint64, e *Ended) bool { return yield(*e) })
	}
}
