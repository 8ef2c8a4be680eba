package jobs

import "github.com/tidwall/btree"

// tree is an ordered, copy-on-write set of keys with several fields; its zero
// value is empty.
type tree[K interface{ Compare(K) int }] struct{ b *btree.BTreeG[K] }

func (x *tree[K]) insert(k K) {
	if x.b == nil {
		x.b = btree.NewBTreeGOptions(func(a, b K) bool { return a.Compare(b) < 0 }, btree.Options{NoLocks: true, Degree: 8}) // small nodes: each change copies a path
	}
	x.b.Set(k)
}

func (x *tree[K]) remove(k K) {
	if x.b != nil {
		x.b.Delete(k)
	}
}

func (x *tree[K]) copy() tree[K] {
	if x.b == nil {
		return tree[K]{}
	}
	return tree[K]{b: x.b.Copy()}
}

func (x *tree[K]) scan(yield func(K) bool) {
	if x.b != nil {
		x.b.Scan(yield)
	}
}

func (x *tree[K]) ascend(from K, yield func(K) bool) {
	if x.b != nil {
		x.b.Ascend(from, yield)
	}
}
