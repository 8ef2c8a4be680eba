package raftnode

import (
	"slices"
	"sync"
	"time"
)

// newest is the last moment at which this server's machine certainly had all
// that had been acknowledged by then: nobody, on either side of whatever has
// come since, can show a write from before it that the machine lacks. It comes
// from strict rounds alone, each of which proves it for the moment at which it
// began, once the machine has reached what it noted. What this process was told
// since, or whether it still thinks that it leads, says nothing about it.
type newest struct {
	mu     sync.Mutex
	at     time.Time // zero: not since the start
	coming []moment  // those whose index the machine has not reached, oldest first
}

// moment is when a strict round began, with the index that it asked for.
type moment struct {
	at    time.Time
	index uint64
}

// maxComing bounds the moments kept while the machine is behind.
const maxComing = 16

// note takes a strict round that was answered.
func (n *newest) note(m moment, applied uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settle(applied)
	switch {
	case m.index <= applied:
		n.pass(m.at)
	case len(n.coming) == maxComing:
		n.coming[maxComing-1] = m // the older ones come true sooner
	default:
		n.coming = append(n.coming, m)
	}
}

// settle lets those moments count that the machine has reached.
func (n *newest) settle(applied uint64) {
	n.coming = slices.DeleteFunc(n.coming, func(m moment) bool {
		if m.index <= applied {
			n.pass(m.at)
		}
		return m.index <= applied
	})
}

func (n *newest) pass(at time.Time) {
	if at.After(n.at) {
		n.at = at
	}
}

// age is how old the state of a machine that has reached applied may be now.
func (n *newest) age(applied uint64) (age time.Duration, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settle(applied)
	return time.Since(n.at), !n.at.IsZero()
}

// staleMs is a bound on how old the state of the own machine is, in
// milliseconds; -1 when none is known.
func (n *Node) staleMs() int64 {
	age, known := n.newest.age(n.AppliedIndex())
	if !known {
		return -1
	}
	return int64((age + time.Millisecond - 1) / time.Millisecond)
}
