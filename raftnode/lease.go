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
	mu          sync.Mutex
	term        uint64
	until       time.Time
	revokedTerm uint64 // a term in which leadership was to be handed over: its votes break promises
}

func (l *lease) extend(term uint64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term > l.term || term == l.term && until.After(l.until) {
		l.term, l.until = term, until
	}
}

// revoke ends the lease for the rest of term.
func (l *lease) revoke(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revokedTerm = max(l.revokedTerm, term)
}

func (l *lease) valid(term uint64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term == term && l.revokedTerm < term && now.Before(l.until)
}

// leaseRead is the mark of a default read while the lease holds. The clock is
// read last: whatever happened before is covered.
func (n *Node) leaseRead() (commitPoint, bool) {
	term, ok := n.leading()
	if !ok {
		return commitPoint{}, false
	}
	m := commitPoint{Index: n.raft.CommitIndex(), Term: term, Leader: n.serverID}
	return m, n.lease.valid(term, time.Now())
}
