package raftnode

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/member"
	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// MemberInfo is one server of the group as this node sees it.
type MemberInfo = member.Info

// MemberChange says on which conditions the membership is changed, MemberChangeResult what it is then.
type (
	MemberChange       = member.Change
	MemberChangeResult = member.ChangeResult
)

// AutopilotSettings are what the leader goes by when it changes the membership by itself.
type AutopilotSettings = member.AutopilotSettings

// SupersededError ends a process whose data directory runs elsewhere as well.
type SupersededError = member.SupersededError

// memberConfig says how the membership of this node is made.
func (n *Node) memberConfig() member.Config {
	c := n.cfg
	return member.Config{
		Self: disk.Peer{
			ServerID: n.serverID, ID: c.ID, Address: c.Inject.Address,
			Boot: n.identity.Record().Boot, Version: c.Version,
		},
		Identity: n.identity, Calls: n.calls, Logger: n.log,
		Join: c.Join, Announced: c.Announced, Certificate: c.Certificate, Disk: c.Disk, Resolve: c.Inject.Resolve,
		Expect: c.Expect, NonVoter: c.NonVoter, Level: c.Level,
		Ping: c.Ping, Stabilize: c.Stabilize, MaxLag: c.MaxLag, Autopilot: c.Autopilot,
	}
}

// memberHost is the node as its membership needs it.
type memberHost struct{ n *Node }

func (h memberHost) Leading() (term uint64, ok bool) { return h.n.leading() }

func (h memberHost) Leader() (serverID, addr string, here bool, err error) { return h.n.leader() }

func (h memberHost) Retry(ctx context.Context, try func() error) error { return h.n.retry(ctx, try) }

func (h memberHost) HandOver(ctx context.Context, serverID string) error {
	return h.n.handOver(ctx, serverID)
}

func (h memberHost) Spawn(f func()) bool { return h.n.spawn(f) }

func (h memberHost) AppliedIndex() uint64 { return h.n.AppliedIndex() }

func (h memberHost) ConfigIndex() uint64 { return h.n.ConfigIndex() }

func (h memberHost) Fail(err error) { h.n.failStop.Fail(err) }

func (h memberHost) DisableElections(disabled bool) {
	h.n.updateTimeouts(func(t *electionTimeouts) { t.electionsDisabled = disabled })
}

func (h memberHost) Removed(removed bool) {
	if f := h.n.cfg.OnRemoved; f != nil {
		f(removed)
	}
}

func (h memberHost) MarkReachable(serverID string) { h.n.unreachable.markReachable(serverID) }

func (h memberHost) MarkUnreachable(serverID string) { h.n.unreachable.markUnreachable(serverID) }

func (h memberHost) PruneUnreachable(keep func(serverID string) bool) { h.n.unreachable.prune(keep) }

func (h memberHost) HeldServers() []string { return h.n.unreachable.held.servers() }

// Members lists raft's newest configuration, with what this node itself has
// heard of each server. It asks nobody and so never fails while others do.
func (n *Node) Members(context.Context) ([]MemberInfo, error) { return n.members.List(), nil }

// Autopilot is what the leader goes by when it changes the membership by itself.
func (n *Node) Autopilot() AutopilotSettings { return n.members.Settings() }

// ConfigIndex is the index of the newest configuration that is committed, as far as this node's machine is; 0: it has
// seen none yet.
func (n *Node) ConfigIndex() uint64 { return n.replica.config.Load() }

// AddMember takes in the coordinator that runs at addr, without a vote at
// first: unless it is to stay so, it gets one when it has been well for a
// while. Adding a member again is no error.
func (n *Node) AddMember(ctx context.Context, addr string, nonVoter bool, c MemberChange) (MemberChangeResult, error) {
	return n.members.Add(ctx, addr, nonVoter, c)
}

// RemoveMember removes the coordinator id (or the server of that server id)
// from the cluster for good. Conflict when the cluster could not go on.
func (n *Node) RemoveMember(ctx context.Context, id string, c MemberChange) (MemberChangeResult, error) {
	return n.members.Remove(ctx, id, c)
}

// Promote gives the coordinator id a vote.
func (n *Node) Promote(ctx context.Context, id string, c MemberChange) (MemberChangeResult, error) {
	return n.members.Promote(ctx, id, c)
}

// Demote takes the vote of the coordinator id, until Promote.
func (n *Node) Demote(ctx context.Context, id string, c MemberChange) (MemberChangeResult, error) {
	return n.members.Demote(ctx, id, c)
}

// Transfer hands leadership to the coordinator to, or to the best follower
// when it is "". After nil the leader is one of a term later than past; who it
// is, this node may not know yet. Past is 0 if a leader of an older version did
// it, and does not tell.
func (n *Node) Transfer(ctx context.Context, to string) (past uint64, err error) {
	return n.members.Transfer(ctx, to)
}

// OnConfigChange has f called after every change of the configuration that this
// server made as the leader, before it makes another one. ctx is of who asked.
func (n *Node) OnConfigChange(f func(ctx context.Context)) { n.members.OnConfigChange(f) }

// CommonLevel is the highest level of commands that the binaries of all servers of
// the group know; known is false while one of them has not said.
func (n *Node) CommonLevel() (level int, known bool) { return n.members.CommonLevel() }

// Alive reports whether the coordinator id has lately answered this node's
// questions, and when it was last heard: it answered, or asked itself. A
// coordinator that restarts is the same.
func (n *Node) Alive(id string) (alive bool, last time.Time) { return n.members.Alive(id) }

// Admit is for peer.Config: raft streams, links and calls are for servers of the newest configuration. Any other may say
// hello and ask to join.
func (n *Node) Admit(kind peer.Kind, method string, from peer.Hello) error {
	return n.members.Admit(kind, method, from)
}

// closeRefused closes the streams of servers that have left the configuration, soon after it has changed.
func (n *Node) closeRefused() {
	tick := time.NewTicker(n.cfg.Ping)
	defer tick.Stop()
	var last []raft.Server
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		if now := n.raft.GetConfiguration().Configuration().Servers; !slices.Equal(now, last) {
			last = now
			n.cfg.Port.CloseRefused()
		}
	}
}

// RenewStreams has raft's streams that were opened from here before a moment made anew, so that a new certificate comes
// into use. A request that waits on one is repeated on another; a snapshot that is being sent is not disturbed.
func (n *Node) RenewStreams(before time.Time) {
	if n.cfg.Inject.Streams == nil {
		return
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if id := string(s.ID); id != n.serverID && !n.transport.snapshots.to(id) {
			n.cfg.Inject.Streams.CloseStreams(id, before)
		}
	}
}

// PeerHello is what the peer port says about the coordinator of an identity, now.
func PeerHello(id *disk.Identity) peer.Hello {
	r := id.Record()
	return peer.Hello{Cluster: r.Cluster, ServerID: r.ID + "/" + r.Incarnation, ID: r.ID, Boot: r.Boot}
}
