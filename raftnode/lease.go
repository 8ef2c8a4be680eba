package raftnode

import (
	"sync"
	"time"
)

// lease is until when the leader may answer default reads without asking. It
// comes from the voters' own promises, made in rounds that began before, and
// never from raft's state alone: a process that was stopped for a while still
// believes to be leader when it goes on.
type lease struct {
	mu     sync.Mutex
	term   uint64
	until  time.Time
	barred uint64 // a term in which leadership was to be handed over: its votes break promises
}

func (l *lease) extend(term uint64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term > l.term || term == l.term && until.After(l.until) {
		l.term, l.until = term, until
	}
}

// bar ends the lease for the rest of term.
func (l *lease) bar(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.barred = max(l.barred, term)
}

func (l *lease) holds(term uint64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term == term && l.barred < term && now.Before(l.until)
}

// leased is the mark of a default read while the lease holds. The clock is
// read last: whatever happened before is covered.
func (n *Node) leased() (mark, bool) {
	term, ok := n.leading()
	if !ok {
		return mark{}, false
	}
	m := mark{Index: n.raft.CommitIndex(), Term: term, Leader: n.serverID}
	return m, n.lease.holds(term, time.Now())
}
