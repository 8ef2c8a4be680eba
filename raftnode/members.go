package raftnode

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// MemberInfo is one server of the group as this node sees it.
type MemberInfo struct {
	ID, ServerID, Address string
	Suffrage              string // voter, nonvoter
	State                 string // leader, follower, candidate, stopped; unreachable
	Alive, Healthy        bool
	NonVoter              bool // is to stay without a vote
	LastIndex             uint64
	AppliedIndex          uint64
	LastContact           time.Duration // since its last answer to this node; -1: never
	Version               string
	Boot                  uint64
}

// Members lists raft's newest configuration, with what this node itself has
// heard of each server. It asks nobody and so never fails while others do.
func (n *Node) Members(context.Context) ([]MemberInfo, error) {
	servers := n.raft.GetConfiguration().Configuration().Servers
	all := make([]MemberInfo, len(servers))
	for i, s := range servers {
		all[i] = n.memberInfo(s)
	}
	return all, nil
}

func (n *Node) memberInfo(s raft.Server) MemberInfo {
	id := string(s.ID)
	m := MemberInfo{
		ID: disk.CoordinatorID(id), ServerID: id, Address: string(s.Address),
		Suffrage: strings.ToLower(s.Suffrage.String()), State: "unreachable", LastContact: -1,
	}
	if addr, ok := n.addresses.lookup(id); ok {
		m.Address = addr
	}
	var h hello
	if id == n.serverID {
		h = n.buildHello("")
		m.Alive, m.LastContact = true, 0
	} else if k, ok := n.peers.lookup(id); ok {
		h = k.hello
		m.LastContact = time.Since(k.answered)
		m.Alive = n.peers.fresh(k)
	}
	if m.Alive {
		m.State = h.State
	}
	m.LastIndex, m.AppliedIndex, m.Version, m.Boot, m.NonVoter = h.Last, h.Applied, h.Version, h.Boot, h.NonVoter
	m.Healthy = m.Alive && h.Leader != "" && h.Last+n.cfg.MaxLag >= n.raft.CommitIndex() && !n.isUnreachable(id)
	return m
}

// isUnreachable reports whether the leader, this server or as it said last, does not
// reach a member: that one may answer all others, and gets nothing of the log.
func (n *Node) isUnreachable(serverID string) bool {
	if n.raft.State() == raft.Leader {
		return slices.Contains(n.unreachable.held.servers(), serverID)
	}
	_, leader := n.raft.LeaderWithID()
	k, ok := n.peers.lookup(string(leader))
	return ok && slices.Contains(k.hello.Unreachable, serverID)
}

// The orders that any coordinator takes and the leader carries out.
const (
	opJoin     = "join"
	opAdd      = "add"
	opRemove   = "remove"
	opPromote  = "promote"
	opDemote   = "demote"
	opTransfer = "transfer"
)

// membershipRequest is one of them. Version 1: 2026-11.
type membershipRequest struct {
	Op        string    `json:"op"`
	ID        string    `json:"id,omitempty"` // coordinator id or server id
	Address   string    `json:"address,omitempty"`
	Peer      disk.Peer `json:"peer,omitzero"`
	NonVoter  bool      `json:"non_voter,omitempty"`
	Forwarded bool      `json:"forwarded,omitempty"` // made its one hop
}

// membershipResponse is the answer to an order.
type membershipResponse struct {
	Cluster string     `json:"cluster"`
	Member  MemberInfo `json:"member"`
	// Past is for opTransfer: the leader is one of a later term.
	Past uint64 `json:"past,omitempty"`
}

// AddMember takes in the coordinator that runs at addr, without a vote at
// first: unless it is to stay so, it gets one when it has been well for a
// while. Adding a member again is no error.
func (n *Node) AddMember(ctx context.Context, addr string, nonVoter bool) (MemberInfo, error) {
	done, err := n.requestChange(ctx, membershipRequest{Op: opAdd, Address: addr, NonVoter: nonVoter})
	return done.Member, err
}

// RemoveMember removes the coordinator id (or the server of that server id)
// from the cluster for good. Conflict when the cluster could not go on.
func (n *Node) RemoveMember(ctx context.Context, id string) error {
	_, err := n.requestChange(ctx, membershipRequest{Op: opRemove, ID: id})
	return err
}

// Promote gives the coordinator id a vote.
func (n *Node) Promote(ctx context.Context, id string) error {
	_, err := n.requestChange(ctx, membershipRequest{Op: opPromote, ID: id})
	return err
}

// Demote takes the vote of the coordinator id, until Promote.
func (n *Node) Demote(ctx context.Context, id string) error {
	_, err := n.requestChange(ctx, membershipRequest{Op: opDemote, ID: id})
	return err
}

// Transfer hands leadership to the coordinator to, or to the best follower
// when it is "". After nil the leader is one of a term later than past; who it
// is, this node may not know yet. Past is 0 if a leader of an older version did
// it, and does not tell.
func (n *Node) Transfer(ctx context.Context, to string) (past uint64, err error) {
	done, err := n.requestChange(ctx, membershipRequest{Op: opTransfer, ID: to})
	return done.Past, err
}

// requestChange has an order carried out by the leader, here or one hop away.
func (n *Node) requestChange(ctx context.Context, o membershipRequest) (done membershipResponse, err error) {
	err = n.retry(ctx, func() (err error) {
		_, addr, here, err := n.leader()
		switch {
		case err != nil:
		case here:
			done, err = n.executeChange(ctx, o)
		default:
			o.Forwarded = true
			done, err = n.forwardChange(ctx, addr, o)
		}
		return err
	})
	return done, err
}

func (n *Node) forwardChange(ctx context.Context, addr string, o membershipRequest) (done membershipResponse, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return done, err
	}
	if body, err = n.calls.Call(ctx, addr, methodOrder, body); err != nil {
		return done, outcome.UnknownUnlessCoded(err)
	}
	if err := json.Unmarshal(body, &done); err != nil {
		return done, wire.Unknown(err)
	}
	return done, nil
}

// handleChange serves orders; one that has made its hop goes no further.
func (n *Node) handleChange(ctx context.Context, _ peer.Hello, body []byte) ([]byte, error) {
	var o membershipRequest
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, wire.Invalid("order", "%v", err)
	}
	var done membershipResponse
	var err error
	if o.Forwarded {
		done, err = n.executeChange(ctx, o)
	} else {
		done, err = n.requestChange(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(done)
}

// executeChange is for the leader. Orders are carried out one at a time, each on
// the configuration that the one before has left.
func (n *Node) executeChange(ctx context.Context, o membershipRequest) (done membershipResponse, err error) {
	select {
	case n.membershipLock <- struct{}{}:
		defer func() { <-n.membershipLock }()
	case <-ctx.Done():
		return done, wire.NotTried("another change of the membership is under way: %v", context.Cause(ctx))
	}
	if _, ok := n.leading(); !ok {
		return done, outcome.ErrNotLeader
	}
	var id string
	switch o.Op {
	case opJoin:
		id, err = n.admitMember(ctx, o.Peer, o.NonVoter)
	case opAdd:
		id, err = n.inviteMember(ctx, o.Address, o.NonVoter)
	case opRemove:
		err = n.removeMember(ctx, o.ID)
	case opPromote:
		err = n.promoteMember(ctx, o.ID)
	case opDemote:
		err = n.demoteMember(ctx, o.ID)
	case opTransfer:
		done.Past, err = n.transferTo(ctx, o.ID)
	default:
		err = wire.Invalid("op", "unknown order %q", o.Op)
	}
	if err != nil {
		return done, err
	}
	done.Cluster = n.identity.Cluster()
	if s, ok := n.configuredServer(id); ok {
		done.Member = n.memberInfo(s)
	}
	return done, nil
}

// findMember returns the one server that id means.
func (n *Node) findMember(id string) (raft.Server, error) {
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if id == string(s.ID) || id == disk.CoordinatorID(string(s.ID)) {
			return s, nil
		}
	}
	return raft.Server{}, wire.Refuse(wire.CodeNotFound, "%q is no member of the cluster", id)
}

// changeTimeout is how long a change may wait for the one before it.
const changeTimeout = 2 * time.Second

// OnConfigChange has f called after every change of the configuration that this
// server made as the leader, before it makes another one. ctx is of who asked.
func (n *Node) OnConfigChange(f func(ctx context.Context)) { n.onConfigChange.Store(&f) }

// awaitChange waits for a change of the configuration.
func (n *Node) awaitChange(ctx context.Context, f raft.IndexFuture) error {
	err := n.futures.Await(ctx, f)
	switch {
	case err == nil:
		wake(n.pingNow)
		if f := n.onConfigChange.Load(); f != nil {
			(*f)(ctx)
		}
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return outcome.Of(err)
	case strings.Contains(err.Error(), "configuration"): // refused by the library's own check
		return wire.Refuse(wire.CodeConflict, "%v", err)
	}
	return wire.Unknown(err)
}

// transferTo refuses what cannot become leader. The leader is then one of a term
// later than past.
func (n *Node) transferTo(ctx context.Context, to string) (past uint64, err error) {
	term, ok := n.leading()
	if !ok {
		return 0, outcome.ErrNotLeader
	}
	if to == "" {
		if n.otherVoters() == 0 {
			return 0, wire.Refuse(wire.CodeConflict, "there is no other voter to hand leadership to")
		}
		return term, n.handOver(ctx, "")
	}
	s, err := n.findMember(to)
	switch {
	case err != nil:
		return 0, err
	case string(s.ID) == n.serverID:
		return term - 1, nil
	case s.Suffrage != raft.Voter:
		return 0, wire.Refuse(wire.CodeConflict, "%s has no vote and cannot lead", to)
	}
	return term, n.handOver(ctx, string(s.ID))
}
