package raftnode

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// electionTimeouts is what raft's timeouts depend on. Only updateTimeouts gives them to raft.
type electionTimeouts struct {
	mu                sync.Mutex
	electionsDisabled bool   // removed from the cluster: never campaign
	fastElection      bool   // the leader's process has ended: raft waits no longer than the leader's lease
	suspected         string // server id of the leader that seems to have ended; it gets no promises
}

// disabledTimeout is a timeout that does not come: a removed server must not disturb the
// others by asking for votes.
const disabledTimeout = 1000 * time.Hour

// updateTimeouts changes what the timeouts depend on, and gives raft those that fit.
func (n *Node) updateTimeouts(change func(*electionTimeouts)) {
	n.timeouts.mu.Lock()
	defer n.timeouts.mu.Unlock()
	change(&n.timeouts)
	current := n.raft.ReloadableConfig()
	next := current
	next.HeartbeatTimeout, next.ElectionTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout
	switch {
	case n.timeouts.electionsDisabled:
		next.HeartbeatTimeout, next.ElectionTimeout = disabledTimeout, disabledTimeout
	case n.timeouts.fastElection:
		// The library takes no heartbeat timeout below the leader's lease.
		next.HeartbeatTimeout = n.cfg.LeaderLease
	}
	if next == current {
		return
	}
	if err := n.raft.ReloadConfig(next); err != nil {
		n.log.Error("raft's timeouts could not be changed", "error", err)
	}
}

// votePromise is how long from now on this server will not vote for another leader
// of its own accord. It is never more than LeaderLease, and nothing once the
// leader is suspected: so LeaderLease after a suspicion began, all promises
// made before are over.
func (n *Node) votePromise() time.Duration {
	n.timeouts.mu.Lock()
	defer n.timeouts.mu.Unlock()
	if n.timeouts.suspected != "" {
		return 0
	}
	return min(n.cfg.LeaderLease, n.cfg.HeartbeatTimeout-time.Since(n.raft.LastContact()))
}

func (n *Node) isSuspected(serverID string) bool {
	n.timeouts.mu.Lock()
	defer n.timeouts.mu.Unlock()
	return n.timeouts.suspected == serverID
}

// watchLeaderStreams replaces a leader whose process has ended sooner than its
// silence would.
func (n *Node) watchLeaderStreams() {
	streams := n.cfg.Inject.Streams
	if streams == nil || n.cfg.DisableFastElection || n.cfg.LeaderLease >= n.cfg.HeartbeatTimeout {
		return
	}
	streams.OnStreamClosed(func(id string) {
		if _, leader := n.raft.LeaderWithID(); string(leader) == id {
			wake(n.leaderConnLost)
		}
	})
	defer streams.OnStreamClosed(nil)
	for {
		select {
		case <-n.leaderConnLost:
			n.fastElection(streams)
		case <-n.ctx.Done():
			return
		}
	}
}

// watchOpenedStreams marks servers reachable when they open a stream to this one.
func (n *Node) watchOpenedStreams() {
	streams := n.cfg.Inject.Streams
	if streams == nil {
		return
	}
	streams.OnStreamOpened(n.unreachable.markReachable)
	defer streams.OnStreamOpened(nil)
	<-n.ctx.Done()
}

// fastElection is run when a stream of the leader has ended. If its machine
// refuses a new connection as well, the process has ended, and no follower need wait
// until its silence has lasted long enough. This server then lets raft's
// heartbeat timer run out, as if the timeout were LeaderLease. All that follows
// is raft's: with pre-votes a wrong guess changes nothing while the others
// still hear the leader.
//
// Two that campaign at once would each vote for themselves. So the followers go
// one after the other, the one with the newest log last: the first to campaign is
// refused by those that still follow, and the first that finds a majority
// without a leader wins at once.
func (n *Node) fastElection(streams Streams) {
	_, leader := n.raft.LeaderWithID()
	id := string(leader)
	self, member := n.members.Server(n.serverID)
	addr, known := n.members.Address(id)
	if id == "" || id == n.serverID || !known || !member || self.Suffrage != raft.Voter {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, 4*n.cfg.HeartbeatTimeout)
	defer cancel()
	// A process that ends may close its streams before it stops to listen.
	if !streams.ConnectionRefused(ctx, addr) && (!n.sleep(n.cfg.LeaderLease/8) || !streams.ConnectionRefused(ctx, addr)) {
		return
	}
	n.updateTimeouts(func(t *electionTimeouts) { t.suspected = id })
	defer n.updateTimeouts(func(t *electionTimeouts) { t.suspected, t.fastElection = "", false })
	began := time.Now()
	n.log.Warn("the leader's process has ended", "leader", id, "address", addr)

	// What the leader sent last may still be on its way to the log.
	if !n.sleep(n.cfg.LeaderLease / 2) {
		return
	}
	ahead := n.candidatesBefore(ctx, id)
	for {
		lastContact := n.raft.LastContact()
		if lastContact.Before(began) {
			lastContact = began
		}
		wait := time.Until(lastContact.Add(n.cfg.LeaderLease))
		if wait <= 0 {
			break
		}
		// A leader whose messages still arrive is alive, whatever its machine says.
		if time.Since(began) > 2*n.cfg.HeartbeatTimeout || !n.sleep(wait) || n.hasOtherLeader(id) {
			return
		}
	}
	if !n.waitForStepDown(ctx, ahead, id) || n.hasOtherLeader(id) {
		return
	}
	n.updateTimeouts(func(t *electionTimeouts) { t.fastElection = true })
	for time.Since(began) < 4*n.cfg.HeartbeatTimeout && !n.hasOtherLeader(id) && n.sleep(5*time.Millisecond) {
	}
}

// waitForStepDown waits until the voters ahead have given the leader up, and have been
// refused by this server; or until each has had a quarter of a heartbeat
// timeout. False says that the node is closing.
func (n *Node) waitForStepDown(ctx context.Context, ahead []raft.Server, leader string) bool {
	interval := n.cfg.HeartbeatTimeout / 32
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(ahead))*n.cfg.HeartbeatTimeout/4)
	defer cancel()
	for len(ahead) > 0 && ctx.Err() == nil {
		hellos := n.members.HelloAll(ctx, ahead)
		ahead = slices.DeleteFunc(ahead, func(s raft.Server) bool {
			h, ok := hellos[string(s.ID)]
			return ok && h.Leader != leader
		})
		if !n.sleep(interval) {
			return false
		}
	}
	return true
}

// hasOtherLeader reports whether there is a leader again, other than the one that ended.
func (n *Node) hasOtherLeader(gone string) bool {
	_, id := n.raft.LeaderWithID()
	return id != "" && string(id) != gone
}

// sleep waits; false says that the node is closing.
func (n *Node) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// candidatesBefore are the other voters, but for the leader, that have less of the log
// than this server: equal ones in the order of their ids. Who does not answer
// while half a lease lasts is not among them.
func (n *Node) candidatesBefore(ctx context.Context, leader string) []raft.Server {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.LeaderLease/2)
	defer cancel()
	last := n.raft.LastIndex()
	others := slices.DeleteFunc(slices.Clone(n.raft.GetConfiguration().Configuration().Servers), func(s raft.Server) bool {
		return s.Suffrage != raft.Voter || string(s.ID) == n.serverID || string(s.ID) == leader
	})
	hellos := n.members.HelloAll(ctx, others)
	return slices.DeleteFunc(others, func(s raft.Server) bool {
		h, ok := hellos[string(s.ID)]
		return !ok || h.Last > last || h.Last == last && h.ServerID > n.serverID
	})
}
