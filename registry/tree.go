package registry

import (
	"cmp"
	"strings"
)

// maxRows is how many rows a node of a tree holds at most; all but the root
// hold at least minRows. Applying an entry copies one node of every level, and
// what that costs is the bytes and the allocations it leaves behind: this is
// where they balance.
const (
	maxRows = 24
	minRows = (maxRows - 1) / 2
)

// tree is a set of sessions ordered by full name, a B-tree. A copy of it is a
// copy of this struct: copies share all nodes, and a node is copied before its
// first change by another owner. Rows are never written through.
type tree struct {
	root *node
	size int
}

// owner marks the nodes that one copy of the table may change in place.
type owner struct{ _ byte }

// node has one more kid than rows, or none at all: a leaf.
type node struct {
	own  *owner
	rows []*Session
	kids []*node
	// A search compares what is here: a row's name would have to be fetched from
	// its own place in memory, and most of them only to be skipped.
	prefix [maxPrefix]byte
	shared uint8           // so much of prefix begins the names of all rows
	heads  [maxRows]uint32 // of rows: how the name goes on
}

// maxPrefix is how much of what names have in common a node keeps.
const maxPrefix = 31

// newNode makes an empty node together with the room it will ever need.
func newNode(own *owner, leaf bool) *node {
	if leaf {
		n := new(struct {
			node
			rows [maxRows]*Session
		})
		n.own, n.node.rows = own, n.rows[:0]
		return &n.node
	}
	n := new(struct {
		node
		rows [maxRows]*Session
		kids [maxRows + 1]*node
	})
	n.own, n.node.rows, n.node.kids = own, n.rows[:0], n.kids[:0]
	return &n.node
}

func (n *node) leaf() bool { return n.kids == nil }

// writable returns the node to change in place of n.
func (n *node) writable(own *owner) *node {
	if n.own == own {
		return n
	}
	c := newNode(own, n.leaf())
	c.rows = append(c.rows, n.rows...)
	if !n.leaf() {
		c.kids = append(c.kids, n.kids...)
	}
	c.prefix, c.shared, c.heads = n.prefix, n.shared, n.heads
	return c
}

// keyHead is the beginning of a text as a number: of two texts that differ within
// it, the lesser one has the lesser head. No name holds a zero byte.
func keyHead(s string) (h uint32) {
	if len(s) >= 4 {
		return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
	}
	for i := range len(s) {
		h |= uint32(s[i]) << (24 - 8*i)
	}
	return h
}

// commonPrefix is how much of b a begins with.
func commonPrefix(a string, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// place readies the node for a row with that name and returns its head.
func (n *node) place(full string) uint32 {
	if n.shared = uint8(commonPrefix(full, n.prefix[:n.shared])); len(n.rows) == 0 {
		n.shared = uint8(copy(n.prefix[:], full))
	}
	return keyHead(full[n.shared:])
}

// insert puts a row in at i.
func (n *node) insert(i int, s *Session) {
	was := n.shared
	h := n.place(s.FullName)
	n.rows = insert(n.rows, i, s)
	copy(n.heads[i+1:], n.heads[i:])
	if n.heads[i] = h; was != n.shared {
		n.updatePrefix()
	}
}

// replace puts a row in place of the one at i.
func (n *node) replace(i int, s *Session) {
	was := n.shared
	n.rows[i], n.heads[i] = s, n.place(s.FullName)
	if was != n.shared {
		n.updatePrefix()
	}
}

// removeAt takes the row at i out.
func (n *node) removeAt(i int) *Session {
	s := n.rows[i]
	n.rows = removeAt(n.rows, i)
	copy(n.heads[i:], n.heads[i+1:])
	return s
}

// updatePrefix finds out anew what the names of all rows have in common: as much as
// the first and the last one, since they are in order.
func (n *node) updatePrefix() {
	first, last := n.rows[0].FullName, n.rows[len(n.rows)-1].FullName
	k := copy(n.prefix[:], first)
	n.shared = uint8(commonPrefix(last, n.prefix[:k]))
	for i, s := range n.rows {
		n.heads[i] = keyHead(s.FullName[n.shared:])
	}
}

// find returns the place of the first row that is not before full, and whether
// it is the one.
func (n *node) find(full string) (int, bool) {
	if shared := string(n.prefix[:n.shared]); !strings.HasPrefix(full, shared) {
		if full < shared {
			return 0, false
		}
		return len(n.rows), false
	}
	h := keyHead(full[n.shared:])
	low, high := 0, len(n.rows)
	for low < high {
		mid := (low + high) / 2
		c := cmp.Compare(n.heads[mid], h)
		if c == 0 {
			c = strings.Compare(n.rows[mid].FullName, full)
		}
		switch {
		case c == 0:
			return mid, true
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}

func (t *tree) get(full string) (*Session, bool) {
	for n := t.root; n != nil; {
		i, found := n.find(full)
		if found {
			return n.rows[i], true
		}
		if n.leaf() {
			break
		}
		n = n.kids[i]
	}
	return nil, false
}

// set puts a row in, or in place of the one with its key.
func (t *tree) set(own *owner, s *Session) {
	if t.root == nil {
		t.root = newNode(own, true)
	}
	t.root = t.root.writable(own)
	if len(t.root.rows) == maxRows {
		above := newNode(own, false)
		above.kids = append(above.kids, t.root)
		above.split(own, 0)
		t.root = above
	}
	for n := t.root; ; {
		i, found := n.find(s.FullName)
		switch {
		case found:
			n.rows[i] = s
			return
		case n.leaf():
			n.insert(i, s)
			t.size++
			return
		case len(n.kids[i].rows) == maxRows:
			n.split(own, i) // and look again
		default:
			n.kids[i] = n.kids[i].writable(own)
			n = n.kids[i]
		}
	}
}

// split makes two of kid i, which is full, with its middle row between them.
func (n *node) split(own *owner, i int) {
	left := n.kids[i].writable(own)
	right := newNode(own, left.leaf())
	middle := left.rows[minRows]
	right.rows = append(right.rows, left.rows[minRows+1:]...)
	left.rows = truncate(left.rows, minRows)
	if !left.leaf() {
		right.kids = append(right.kids, left.kids[minRows+1:]...)
		left.kids = truncate(left.kids, minRows+1)
	}
	n.kids[i] = left
	left.updatePrefix()
	right.updatePrefix()
	n.kids = insert(n.kids, i+1, right)
	n.insert(i, middle)
}

// remove takes a row out that is there.
func (t *tree) remove(own *owner, s *Session) {
	t.root = t.root.writable(own)
	t.root.remove(own, s.FullName)
	t.size--
	if len(t.root.rows) == 0 {
		if t.root.leaf() {
			t.root = nil
		} else {
			t.root = t.root.kids[0]
		}
	}
}

func (n *node) remove(own *owner, full string) {
	i, found := n.find(full)
	if n.leaf() {
		if found {
			n.removeAt(i)
		}
		return
	}
	n.kids[i] = n.kids[i].writable(own)
	if found {
		n.replace(i, n.kids[i].removeLast(own))
	} else {
		n.kids[i].remove(own, full)
	}
	n.rebalance(own, i)
}

// removeLast takes the last row of all out of n and below.
func (n *node) removeLast(own *owner) *Session {
	last := len(n.rows) - 1
	if n.leaf() {
		return n.removeAt(last)
	}
	n.kids[last+1] = n.kids[last+1].writable(own)
	s := n.kids[last+1].removeLast(own)
	n.rebalance(own, last+1)
	return s
}

// rebalance gives kid i, if it lacks a row, one of its neighbour's, or makes one of
// the two.
func (n *node) rebalance(own *owner, i int) {
	if len(n.kids[i].rows) >= minRows {
		return
	}
	i = max(i-1, 0) // the two are kids i and i+1
	left, right := n.kids[i].writable(own), n.kids[i+1].writable(own)
	n.kids[i], n.kids[i+1] = left, right
	switch l, r := len(left.rows), len(right.rows); {
	case l+1+r <= maxRows:
		left.rows = append(append(left.rows, n.removeAt(i)), right.rows...)
		n.kids = removeAt(n.kids, i+1)
		if !left.leaf() {
			left.kids = append(left.kids, right.kids...)
		}
		left.updatePrefix()
	case l > r:
		right.insert(0, n.rows[i])
		n.replace(i, left.removeAt(l-1))
		if !left.leaf() {
			right.kids = insert(right.kids, 0, left.kids[l])
			left.kids = removeAt(left.kids, l)
		}
	default:
		left.insert(l, n.rows[i])
		n.replace(i, right.removeAt(0))
		if !left.leaf() {
			left.kids = append(left.kids, right.kids[0])
			right.kids = removeAt(right.kids, 0)
		}
	}
}

// ascend yields the rows from a full name on, in order.
func (t *tree) ascend(from string, yield func(*Session) bool) {
	if t.root != nil {
		t.root.ascend(from, yield)
	}
}

func (n *node) ascend(from string, yield func(*Session) bool) bool {
	i, found := n.find(from)
	if !n.leaf() && !found && !n.kids[i].ascend(from, yield) {
		return false
	}
	for ; i < len(n.rows); i++ {
		if !yield(n.rows[i]) || !n.leaf() && !n.kids[i+1].all(yield) {
			return false
		}
	}
	return true
}

func (n *node) all(yield func(*Session) bool) bool {
	for i, s := range n.rows {
		if !n.leaf() && !n.kids[i].all(yield) || !yield(s) {
			return false
		}
	}
	return n.leaf() || n.kids[len(n.rows)].all(yield)
}

// insert and cut work in the room the slice has; shorten and cut leave no
// pointer behind.
func insert[E any](s []*E, i int, e *E) []*E {
	s = append(s, nil)
	copy(s[i+1:], s[i:])
	s[i] = e
	return s
}

func removeAt[E any](s []*E, i int) []*E {
	copy(s[i:], s[i+1:])
	return truncate(s, len(s)-1)
}

func truncate[E any](s []*E, n int) []*E {
	clear(s[n:])
	return s[:n]
}
