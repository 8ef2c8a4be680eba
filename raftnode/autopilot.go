package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// autopilot is a task of the leader: it writes changed addresses into the
// configuration and gives votes to members that have proved themselves, one
// change at a time.
func (n *Node) autopilot(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.Ping)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := n.autopilotStep(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("the membership could not be tended", "error", err)
		}
		n.pruneNonMembers()
	}
}

// autopilotStep makes at most one change.
func (n *Node) autopilotStep(ctx context.Context) error {
	select {
	case n.membershipLock <- struct{}{}:
		defer func() { <-n.membershipLock }()
	default:
		return nil // an operator is at it
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if addr := n.changedAddress(s); addr != "" {
			return n.updateAddress(ctx, s, addr)
		}
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter && n.promotable(string(s.ID)) {
			addr, _ := n.addresses.lookup(string(s.ID))
			n.log.Info("a member has been well for a while and gets a vote", "server", s.ID)
			return n.awaitChange(ctx, n.raft.AddVoter(s.ID, raft.ServerAddress(addr), 0, changeTimeout))
		}
	}
	return nil
}

// changedAddress is the address of a server that has answered at another one than the
// configuration says, else "".
func (n *Node) changedAddress(s raft.Server) string {
	addr := n.self.Address
	if string(s.ID) != n.serverID {
		k, ok := n.peers.lookup(string(s.ID))
		if !ok || !n.peers.fresh(k) {
			return ""
		}
		addr = k.hello.Address
	}
	if addr == string(s.Address) {
		return ""
	}
	return addr
}

// promotable reports whether a member may get a vote: it wants one, has answered
// without a gap for the time of stabilisation, and is close behind.
func (n *Node) promotable(serverID string) bool {
	k, ok := n.peers.lookup(serverID)
	return ok && !k.hello.NonVoter &&
		n.peers.fresh(k) &&
		k.answered.Sub(k.healthySince) >= n.cfg.Stabilize &&
		k.hello.Last+n.cfg.MaxLag >= n.raft.LastIndex()
}

// pruneNonMembers drops the records of servers that are no members and have
// not been heard of for a while.
func (n *Node) pruneNonMembers() {
	keep := func(id string) bool {
		if _, ok := n.configuredServer(id); ok {
			return true
		}
		k, ok := n.peers.lookup(id)
		return ok && n.peers.clock.Now()-k.answeredClock < 10*n.peers.timeout
	}
	if err := n.identity.PrunePeers(keep); err != nil {
		n.failStorage(err)
	}
	n.peers.prune(keep)
	n.unreachable.prune(keep)
}

// catchUpOnce notes when this server has, for the first time since its start,
// all that was committed when it looked.
func (n *Node) catchUpOnce() {
	for {
		ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
		_, err := n.Ready(ctx, Strict, 0)
		cancel()
		if err == nil {
			n.caughtUp.Store(true)
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-n.ctx.Done():
			return
		}
	}
}
