package registry

import (
	"hash/maphash"
	"strings"
)

// A trie branches fan ways at every node.
const (
	fanBits = 3
	fan     = 1 << fanBits
)

// trie is a set of sessions by id. Nobody asks for ids in order, so it goes by
// their hash: a look-up compares with one row, where a sorted tree compares
// with many, all over the memory. Copies are made of it as of a tree.
type trie struct{ root *trieNode }

// trieNode has in every slot a row, a further fork, or nothing.
type trieNode struct {
	own  *owner
	rows [fan]*Session
	kids [fan]*trieNode
}

var seed = maphash.MakeSeed()

// hash differs from process to process, which shows nowhere.
var hash = func(s string) uint64 { return maphash.String(seed, s) }

// slot is the way an id goes from a fork at this depth. Two ids never share
// all of their ways: when a hash is used up, another one follows.
func slot(id string, depth int) int {
	const deep = 64 / fanBits
	return int(hash(id+strings.Repeat("+", depth/deep)) >> (depth % deep * fanBits) % fan)
}

func (f *trieNode) writable(own *owner) *trieNode {
	switch {
	case f == nil:
		return &trieNode{own: own}
	case f.own == own:
		return f
	}
	c := *f
	c.own = own
	return &c
}

func (t *trie) get(id string) (*Session, bool) {
	f := t.root
	for depth := 0; f != nil; depth++ {
		i := slot(id, depth)
		if s := f.rows[i]; s != nil {
			return s, s.ID == id
		}
		f = f.kids[i]
	}
	return nil, false
}

// set puts a row in, or in place of the one with its id.
func (t *trie) set(own *owner, s *Session) {
	t.root = t.root.writable(own)
	f := t.root
	for depth := 0; ; depth++ {
		i := slot(s.ID, depth)
		old := f.rows[i]
		if old == nil && f.kids[i] == nil || old != nil && old.ID == s.ID {
			f.rows[i] = s
			return
		}
		f.kids[i] = f.kids[i].writable(own)
		if old != nil { // both go further down
			f.rows[i], f.kids[i].rows[slot(old.ID, depth+1)] = nil, old
		}
		f = f.kids[i]
	}
}

func (t *trie) remove(own *owner, id string) { t.root = t.root.remove(own, id, 0) }

// remove returns what is left of f, nil when it is nothing.
func (f *trieNode) remove(own *owner, id string, depth int) *trieNode {
	if f == nil {
		return nil
	}
	i := slot(id, depth)
	f = f.writable(own)
	if f.rows[i] != nil && f.rows[i].ID == id {
		f.rows[i] = nil
	} else {
		f.kids[i] = f.kids[i].remove(own, id, depth+1)
	}
	if f.rows == [fan]*Session{} && f.kids == [fan]*trieNode{} {
		return nil
	}
	return f
}
