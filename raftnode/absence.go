package raftnode

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// absences is which servers this one does not reach, so that whoever waits to
// try again need not wait longer than the absence lasts. A server is absent
// from the first request to it that fails until it is heard: it answers, asks,
// or opens a connection.
type absences struct {
	// returned is told of every server that is heard again, and how long it was
	// away. It must not block.
	returned func(serverID string, away time.Duration)

	count atomic.Int32 // len(by): nearly always nobody is absent
	mu    sync.Mutex
	by    map[string]*absence
	held  map[string]int // requests of the leader under way that have failed, by server id
}

// absence is one, with a channel that is closed at its end.
type absence struct {
	since time.Time
	over  chan struct{}
}

// missed notes that a request to a server has failed.
func (a *absences) missed(serverID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by[serverID] != nil || len(a.by) >= maxPeers {
		return
	}
	if a.by == nil {
		a.by = map[string]*absence{}
	}
	a.by[serverID] = &absence{time.Now(), make(chan struct{})}
	a.count.Store(int32(len(a.by)))
}

// heard notes a sign of life. It costs next to nothing while nobody is absent.
func (a *absences) heard(serverID string) {
	if a.count.Load() == 0 {
		return
	}
	a.mu.Lock()
	gone := a.by[serverID]
	delete(a.by, serverID)
	a.count.Store(int32(len(a.by)))
	a.mu.Unlock()
	if gone == nil {
		return
	}
	close(gone.over)
	if a.returned != nil {
		a.returned(serverID, time.Since(gone.since))
	}
}

// forget drops the absences of servers that are nobody any more.
func (a *absences) forget(keep func(serverID string) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.by {
		if !keep(id) {
			delete(a.by, id)
		}
	}
	a.count.Store(int32(len(a.by)))
}

// Between two tries of a request that failed. The pause doubles, and ends early
// when the server is heard; least is there so that one who is heard and not
// reached is not asked without a pause.
const (
	leastPause = 10 * time.Millisecond
	mostPause  = 150 * time.Millisecond
)

// wait lets a pause pass, or less if the server is heard. False says that ctx
// has ended.
func (a *absences) wait(ctx context.Context, serverID string, pause time.Duration) bool {
	a.mu.Lock()
	var over chan struct{} // nil: never
	if gone := a.by[serverID]; gone != nil {
		over = gone.over
	}
	a.mu.Unlock()
	t := time.NewTimer(leastPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	t.Reset(max(0, pause-leastPause))
	select {
	case <-over:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// hold notes that a request of the leader to a server has failed and will be
// repeated, until release is called.
func (a *absences) hold(serverID string) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil {
		a.held = map[string]int{}
	}
	a.held[serverID]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.held[serverID]--; a.held[serverID] == 0 {
			delete(a.held, serverID)
		}
	}
}

// holding are the servers for which requests of this leader are held: they get
// nothing of the log.
func (a *absences) holding() (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.held {
		ids = append(ids, id)
	}
	return ids
}

// noticed is how long an absence lasts that is worth a line in the log, and
// after which connections from before are not trusted.
const noticed = time.Second

// OnReturn has f called with the id of a coordinator that this one could not
// reach and now hears again. f must not block.
func (n *Node) OnReturn(f func(id string)) { n.onReturn.Store(&f) }

// hasReturned draws the consequences of an absence that is over.
func (n *Node) hasReturned(serverID string, away time.Duration) {
	if away >= noticed {
		n.log.Info("a coordinator that could not be reached is heard again", "server", serverID, "after", away.Round(time.Millisecond))
		// What was sent on a connection from before may lie at this end until TCP
		// sends it once more, which can take as long as the absence did. A snapshot
		// under way is let go on: it may only have kept all else waiting.
		if s := n.cfg.Inject.Streams; s != nil && !n.trans.shipping(serverID) {
			s.Cut(serverID, time.Now().Add(-away))
		}
		poke(n.pingNow)
	}
	if f := n.onReturn.Load(); f != nil {
		(*f)(nameOf(serverID))
	}
}

// wanted tells whether this server still leads in term, and the other one is a
// member.
func (n *Node) wanted(id raft.ServerID, term uint64) bool {
	if !n.running.Load() || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term || n.ctx.Err() != nil {
		return false
	}
	_, member := n.server(string(id))
	return member
}
