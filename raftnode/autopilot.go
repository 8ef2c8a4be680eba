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
		if err := n.tend(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("the membership could not be tended", "error", err)
		}
		n.forgetStrangers()
	}
}

// tend makes at most one change.
func (n *Node) tend(ctx context.Context) error {
	select {
	case n.changing <- struct{}{}:
		defer func() { <-n.changing }()
	default:
		return nil // an operator is at it
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if addr := n.movedTo(s); addr != "" {
			return n.move(ctx, s, addr)
		}
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter && n.worthy(string(s.ID)) {
			addr, _ := n.book.address(string(s.ID))
			n.log.Info("a member has been well for a while and gets a vote", "server", s.ID)
			return n.change(ctx, n.raft.AddVoter(s.ID, raft.ServerAddress(addr), 0, enqueue))
		}
	}
	return nil
}

// movedTo is the address of a server that has answered at another one than the
// configuration says, else "".
func (n *Node) movedTo(s raft.Server) string {
	addr := n.self.Address
	if string(s.ID) != n.serverID {
		k, ok := n.contacts.of(string(s.ID))
		if !ok || !n.contacts.recent(k) {
			return ""
		}
		addr = k.hello.Address
	}
	if addr == string(s.Address) {
		return ""
	}
	return addr
}

// worthy tells whether a member may get a vote: it wants one, has answered
// without a gap for the time of stabilisation, and is close behind.
func (n *Node) worthy(serverID string) bool {
	k, ok := n.contacts.of(serverID)
	return ok && !k.hello.Observer &&
		n.contacts.recent(k) &&
		k.at.Sub(k.since) >= n.cfg.Stabilize &&
		k.hello.Last+n.cfg.MaxLag >= n.raft.LastIndex()
}

// forgetStrangers drops the records of servers that are no members and have
// not been heard of for a while.
func (n *Node) forgetStrangers() {
	keep := func(id string) bool {
		if _, ok := n.server(id); ok {
			return true
		}
		k, ok := n.contacts.of(id)
		return ok && n.contacts.clock.Now()-k.heard < 10*n.contacts.patience
	}
	if err := n.local.forget(keep); err != nil {
		n.localFailed(err)
	}
	n.contacts.forget(keep)
	n.absent.forget(keep)
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
