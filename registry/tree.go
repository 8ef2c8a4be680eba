package registry

import (
	"sync"

	"github.com/tidwall/btree"
)

// degree of the trees: nodes of at most 23 pointers. Applying an entry copies
// one node of every level, and what that costs is the bytes it leaves behind:
// small nodes leave 8 KiB for a sign-in among 200,000, the library's default
// with keys beside the pointers 22 KiB.
const degree = 12

// tree is an ordered set of sessions. Its copies share all nodes until they
// are written to, and nothing is copied before the first write.
type tree struct {
	rows *btree.BTreeG[*Session]
	mine bool // rows is of this copy alone
}

func byFullName(a, b *Session) bool { return a.FullName < b.FullName }
func byID(a, b *Session) bool       { return a.ID < b.ID }
func byHome(a, b *Session) bool {
	return a.Home < b.Home || a.Home == b.Home && a.FullName < b.FullName
}

// writable returns the rows of this copy alone, in the order less.
func (t *tree) writable(less func(a, b *Session) bool) *btree.BTreeG[*Session] {
	if t.rows == nil {
		t.rows = btree.NewBTreeGOptions(less, btree.Options{Degree: degree, NoLocks: true})
	} else if !t.mine {
		t.rows = t.rows.Copy()
	}
	t.mine = true
	return t.rows
}

func (t *tree) shared() tree { return tree{rows: t.rows} }

func (t *tree) get(key Session) (*Session, bool) {
	if t.rows == nil {
		return nil, false
	}
	k := keys.Get().(*Session)
	*k = key
	s, ok := t.rows.Get(k)
	*k = Session{}
	keys.Put(k)
	return s, ok
}

// keys spares a lookup the making of a session to compare with.
var keys = sync.Pool{New: func() any { return new(Session) }}

func (t *tree) scan(yield func(*Session) bool) {
	if t.rows != nil {
		t.rows.Scan(yield)
	}
}

func (t *tree) ascend(from Session, yield func(*Session) bool) {
	if t.rows != nil {
		t.rows.Ascend(&from, yield)
	}
}

func (t *tree) len() int {
	if t.rows == nil {
		return 0
	}
	return t.rows.Len()
}
