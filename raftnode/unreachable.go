package raftnode

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
)

// unreachablePeers is the servers that this one does not reach, so that what waits to
// try again need not wait longer than the outage lasts. A server is unreachable
// from the first request to it that fails until there is a sign of life: it answers,
// asks, or opens a connection.
type unreachablePeers struct {
	// onReachable is called for every server that is reachable again, with how long it was
	// away. It must not block.
	onReachable func(serverID string, away time.Duration)

	size  atomic.Int32 // len(peers): nearly always 0
	mu    sync.Mutex
	peers map[string]*outage
	// held are the requests of the leader that have failed and will be repeated:
	// their servers get nothing of the log.
	held inFlight
}

// outage is one, with a channel that is closed at its end.
type outage struct {
	since time.Time
	ended chan struct{}
}

// markUnreachable notes that a request to a server has failed.
func (a *unreachablePeers) markUnreachable(serverID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.peers[serverID] != nil || len(a.peers) >= disk.MaxPeers {
		return
	}
	if a.peers == nil {
		a.peers = map[string]*outage{}
	}
	a.peers[serverID] = &outage{time.Now(), make(chan struct{})}
	a.size.Store(int32(len(a.peers)))
}

// markReachable notes a sign of life. It costs next to nothing while every peer is reachable.
func (a *unreachablePeers) markReachable(serverID string) {
	if a.size.Load() == 0 {
		return
	}
	a.mu.Lock()
	was := a.peers[serverID]
	delete(a.peers, serverID)
	a.size.Store(int32(len(a.peers)))
	a.mu.Unlock()
	if was == nil {
		return
	}
	close(was.ended)
	if a.onReachable != nil {
		a.onReachable(serverID, time.Since(was.since))
	}
}

// prune drops the outages of servers that are no longer known.
func (a *unreachablePeers) prune(keep func(serverID string) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.peers {
		if !keep(id) {
			delete(a.peers, id)
		}
	}
	a.size.Store(int32(len(a.peers)))
}

// Pauses between two tries of a request that failed. The pause doubles, and ends early
// at a sign of life of the server; minRetryPause is there so that one that sends and is
// not reached is not asked without a pause.
const (
	minRetryPause = 10 * time.Millisecond
	maxRetryPause = 150 * time.Millisecond
)

// waitToRetry waits for a pause, or less at a sign of life of the server. False means
// that ctx has ended.
func (a *unreachablePeers) waitToRetry(ctx context.Context, serverID string, pause time.Duration) bool {
	a.mu.Lock()
	var ended chan struct{} // nil: never
	if was := a.peers[serverID]; was != nil {
		ended = was.ended
	}
	a.mu.Unlock()
	t := time.NewTimer(minRetryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	t.Reset(max(0, pause-minRetryPause))
	select {
	case <-ended:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// notableOutage is the shortest outage that is worth a line in the log, and
// after which connections from before are not trusted.
const notableOutage = time.Second

// OnReachable has f called with the id of a coordinator that this one could not
// reach and now hears again. f must not block.
func (n *Node) OnReachable(f func(id string)) { n.onReachable.Store(&f) }

// handleReachable is called when an outage has ended.
func (n *Node) handleReachable(serverID string, away time.Duration) {
	if away >= notableOutage {
		n.log.Info("a coordinator that could not be reached is heard again", "server", serverID, "after", away.Round(time.Millisecond))
		// What was sent on a connection from before may lie at this end until TCP
		// sends it once more, which can take as long as the outage did. A snapshot
		// in flight is not closed: it may only have delayed everything else.
		if s := n.cfg.Inject.Streams; s != nil && !n.transport.snapshots.to(serverID) {
			s.CloseStreams(serverID, time.Now().Add(-away))
		}
		n.members.PingNow()
	}
	if f := n.onReachable.Load(); f != nil {
		(*f)(disk.CoordinatorID(serverID))
	}
}

// stillNeeded reports whether this server still leads in term, and the other one is a
// member.
func (n *Node) stillNeeded(id raft.ServerID, term uint64) bool {
	if !n.running.Load() || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term || n.ctx.Err() != nil {
		return false
	}
	_, member := n.members.Server(string(id))
	return member
}
