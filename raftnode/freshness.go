package raftnode

import (
	"slices"
	"sync"
	"time"
)

// freshness is the last moment at which this server's machine certainly had all
// that had been acknowledged by then: no client, on either side of whatever has
// come since, can show a write from before it that the machine lacks. It comes
// from strict rounds alone, each of which proves it for the moment at which it
// began, once the machine has reached what it noted. What this process received
// since, or whether it still thinks that it leads, says nothing about it.
type freshness struct {
	mu      sync.Mutex
	asOf    time.Time    // zero: not since the start
	pending []roundStart // those whose index the machine has not reached, oldest first
}

// roundStart is when a strict round began, with the index that it asked for.
type roundStart struct {
	at    time.Time
	index uint64
}

// maxPendingRounds bounds the moments kept while the machine is behind.
const maxPendingRounds = 16

// record takes a strict round that was answered.
func (n *freshness) record(m roundStart, applied uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolve(applied)
	switch {
	case m.index <= applied:
		n.raise(m.at)
	case len(n.pending) == maxPendingRounds:
		n.pending[maxPendingRounds-1] = m // the older ones come true sooner
	default:
		n.pending = append(n.pending, m)
	}
}

// resolve lets those moments count that the machine has reached.
func (n *freshness) resolve(applied uint64) {
	n.pending = slices.DeleteFunc(n.pending, func(m roundStart) bool {
		if m.index <= applied {
			n.raise(m.at)
		}
		return m.index <= applied
	})
}

func (n *freshness) raise(at time.Time) {
	if at.After(n.asOf) {
		n.asOf = at
	}
}

// age is how old the state of a machine that has reached applied may be now.
func (n *freshness) age(applied uint64) (age time.Duration, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolve(applied)
	return time.Since(n.asOf), !n.asOf.IsZero()
}

// staleMs is a bound on how old the state of the own machine is, in
// milliseconds; -1 when none is known.
func (n *Node) staleMs() int64 {
	age, known := n.freshness.age(n.AppliedIndex())
	if !known {
		return -1
	}
	return int64((age + time.Millisecond - 1) / time.Millisecond)
}
