package raftnode

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/member"
)

// Status is what a node knows of itself.
type Status struct {
	ID, ServerID, ClusterID string
	State                   string // leader, follower, candidate, stopped
	Leader                  string // server id, "" if none is known
	Term                    uint64
	LastIndex               uint64 // in the log
	CommitIndex             uint64
	AppliedIndex            uint64 // of this process's own machine
	LastSnapshot            uint64
	LastSnapshotMade        time.Time     // zero: there is none
	LastContact             time.Duration // since the leader's last message; 0 as leader, -1: never
	Members, Voters         int
	Tolerance               int // healthy voters that may fail now before writes stop; -1 when nobody can tell
	LogStore                string
	PreVote                 bool
	Removed                 bool
	Warning                 string // what an operator should mend though the node runs, "": nothing
	Address                 string
	Boot                    uint64
	LeaderChanges           uint64                   // seen by this process
	SnapshotsSent           map[string]SnapshotStats // snapshots sent to others, by server id
	Waiting                 int                      // proposals in the leader's queue
	HeartbeatTimeout        time.Duration
	ElectionTimeout         time.Duration
	LeaderLease             time.Duration
	CommitTimeout           time.Duration
}

// Status never blocks and never asks others.
func (n *Node) Status() Status {
	self := n.identity.Record()
	leader, contact := n.lastContact()
	s := Status{
		ID: self.ID, ServerID: n.serverID, ClusterID: self.Cluster,
		State: member.StateName(n.raft.State()), Leader: leader, Term: n.raft.CurrentTerm(),
		LastIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(), AppliedIndex: n.AppliedIndex(),
		LastSnapshot: n.stores.Snapshots.LastIndex(), LastSnapshotMade: n.stores.Snapshots.LastMade(), LastContact: contact,
		LogStore: n.stores.Kind, PreVote: true, Removed: self.Removed,
		Address: n.self.Address, Boot: self.Boot, LeaderChanges: n.leaderChanges.Load(),
		Waiting:          n.queue.length(),
		HeartbeatTimeout: n.cfg.HeartbeatTimeout, ElectionTimeout: n.cfg.ElectionTimeout,
		LeaderLease: n.cfg.LeaderLease, CommitTimeout: n.cfg.CommitTimeout,
	}
	healthy, leads, members := 0, n.raft.State() == raft.Leader, map[string]bool{}
	for _, m := range n.raft.GetConfiguration().Configuration().Servers {
		s.Members++
		members[string(m.ID)] = leads
		if m.Suffrage != raft.Voter {
			continue
		}
		s.Voters++
		if n.members.Info(m).Healthy {
			healthy++
		}
	}
	s.SnapshotsSent = n.snapshotsSent.snapshot(members)
	s.Warning = n.members.Warning()
	s.Tolerance = max(0, healthy-(s.Voters/2+1))
	if leader == "" || s.Voters == 0 {
		s.Tolerance = -1
	}
	return s
}

// lastContact returns the leader that this node follows, and how long ago it last had contact.
func (n *Node) lastContact() (leader string, ago time.Duration) {
	_, id := n.raft.LeaderWithID()
	if _, ok := n.leading(); ok {
		return string(id), 0
	}
	last := n.raft.LastContact()
	if last.IsZero() {
		return string(id), -1
	}
	return string(id), time.Since(last)
}

// maxHealthLag is how many entries a coordinator may be behind the leader and
// still be offered to clients.
const maxHealthLag = 5000

// Health reports whether clients and budgets may count on this node, and if not,
// why: it is a member, in touch with a leader, and nearly up to date.
func (n *Node) Health() (ready bool, reason string) {
	switch self := n.identity.Record(); {
	case n.failure.Load() != nil:
		return false, fatalReason(*n.failure.Load()).Error()
	case n.draining.Load():
		return false, "stopping"
	case self.Removed:
		return false, "removed from the cluster"
	case !n.members.IsMember() && self.Member:
		return false, "not in the configuration any more"
	case !n.members.IsMember():
		if why := n.members.WaitingFor(); why != "" {
			return false, "not yet a member of a cluster: " + why
		}
		return false, "not yet a member of a cluster"
	case !n.caughtUp.Load():
		return false, "catching up with the log"
	}
	if _, ok := n.leading(); ok {
		return true, ""
	}
	_, leader := n.raft.LeaderWithID()
	silence := time.Since(n.raft.LastContact())
	switch {
	case leader == "":
		return false, "no leader is known"
	case string(leader) == n.serverID:
		return false, "just elected, not yet in charge"
	case silence > 2*n.cfg.ElectionTimeout:
		return false, fmt.Sprintf("the leader has been silent for %s", silence.Round(time.Millisecond))
	}
	if h, ok := n.members.LastHello(string(leader)); ok && h.Commit > n.AppliedIndex()+maxHealthLag {
		return false, fmt.Sprintf("%d entries behind the leader", h.Commit-n.AppliedIndex())
	}
	return true, ""
}

// CaughtUp reports whether this server has, since its start, once had all that was
// committed when it looked: it was a member then, and in touch with a leader.
func (n *Node) CaughtUp() bool { return n.caughtUp.Load() }

// fatalReason says what ended this node.
func fatalReason(err error) error {
	var by *member.SupersededError
	if errors.As(err, &by) {
		return err
	}
	return fmt.Errorf("the storage failed: %w", err)
}

// Live returns why this process cannot go on by itself and had better be
// started anew; a missing leader is no reason.
func (n *Node) Live() error {
	if err := n.failure.Load(); err != nil {
		return fatalReason(*err)
	}
	if n.raft.State() == raft.Shutdown && !n.draining.Load() {
		return fmt.Errorf("raft has stopped")
	}
	return nil
}
