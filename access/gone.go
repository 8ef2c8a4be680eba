package access

import (
	"fmt"
	"iter"

	"github.com/tidwall/btree"
)

// tombstones remembers the last KeepGone tokens that are gone, in order.
type tombstones struct {
	byID   btree.Map[string, uint64]
	byHash btree.Map[string, uint64]
	order  btree.Map[uint64, *Gone]
	next   uint64 // place of the next one; only the order counts, so it is in no snapshot
}

func (g *tombstones) copy() tombstones {
	return tombstones{byID: *g.byID.Copy(), byHash: *g.byHash.Copy(), order: *g.order.Copy(), next: g.next}
}

func (g *tombstones) get(id string) (Gone, bool) {
	at, ok := g.byID.Get(id)
	if !ok {
		return Gone{}, false
	}
	return deref(g.order.Get(at))
}

// put adds a row at the end.
func (g *tombstones) put(row *Gone) {
	g.byID.Set(row.ID, g.next)
	g.byHash.Set(row.Hash, g.next)
	g.order.Set(g.next, row)
	g.next++
	if g.order.Len() > KeepGone {
		first, oldest, _ := g.order.Min()
		g.order.Delete(first)
		g.byID.Delete(oldest.ID)
		if at, ok := g.byHash.Get(oldest.Hash); ok && at == first {
			g.byHash.Delete(oldest.Hash)
		}
	}
}

func (g *tombstones) all() iter.Seq[Gone] {
	return func(yield func(Gone) bool) {
		g.order.Scan(func(_ uint64, row *Gone) bool { return yield(*row) })
	}
}

func (g *tombstones) load(decode func(any) error) error {
	row := new(Gone)
	if err := decode(row); err != nil {
		return err
	}
	if _, twice := g.byID.Get(row.ID); twice || row.ID == "" {
		return fmt.Errorf("token %q is gone twice", row.ID)
	}
	g.put(row)
	return nil
}

func (g *tombstones) verify() (err error) {
	g.order.Scan(func(at uint64, row *Gone) bool {
		if by, ok := g.byID.Get(row.ID); !ok || by != at || at >= g.next {
			err = fmt.Errorf("token %s, which is gone, is not found by its id", row.ID)
		}
		return err == nil
	})
	if err == nil && g.byID.Len() != g.order.Len() {
		err = fmt.Errorf("%d tokens that are gone are in order, %d by id", g.order.Len(), g.byID.Len())
	}
	return err
}
