package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// The changes that any coordinator takes and the leader carries out.
const (
	opJoin     = "join"
	opAdd      = "add"
	opRemove   = "remove"
	opPromote  = "promote"
	opDemote   = "demote"
	opTransfer = "transfer"
)

// membershipRequest asks for one of them. Version 1: 2026-11; Index and Force: 2026-12.
type membershipRequest struct {
	Op        string    `json:"op"`
	ID        string    `json:"id,omitempty"` // coordinator id or server id
	Address   string    `json:"address,omitempty"`
	Peer      disk.Peer `json:"peer,omitzero"`
	NonVoter  bool      `json:"non_voter,omitempty"`
	Index     uint64    `json:"config_index,omitempty"`
	Force     bool      `json:"force,omitempty"`
	Forwarded bool      `json:"forwarded,omitempty"` // made its one hop
}

// membershipResponse is the answer.
type membershipResponse struct {
	Cluster string `json:"cluster"`
	Member  Info   `json:"member"`
	// Index is that of the configuration now; 0 from a leader of an older version.
	Index uint64 `json:"config_index,omitempty"`
	// Past is for opTransfer: the leader is one of a later term.
	Past uint64 `json:"past,omitempty"`
}

// Change is what an operator wants changed.
type Change struct {
	ConfigIndex uint64 // only while the configuration is that of this index of the log; 0: whichever it is
	// Force takes a vote away also when too few voters are left that answer: then
	// nothing is written until more of them are back.
	Force bool
}

// ChangeResult is what the membership is after a change.
type ChangeResult struct {
	Member      Info   // of Add
	ConfigIndex uint64 // of the configuration; 0: the leader is of an older version and does not tell
}

// Add takes in the coordinator that runs at addr, without a vote at
// first: unless it is to stay so, it gets one when it has been well for a
// while. Adding a member again is no error.
func (m *Manager) Add(ctx context.Context, addr string, nonVoter bool, c Change) (ChangeResult, error) {
	return m.change(ctx, membershipRequest{Op: opAdd, Address: addr, NonVoter: nonVoter}, c)
}

// Remove removes the coordinator id (or the server of that server id)
// from the cluster for good. Conflict when the cluster could not go on.
func (m *Manager) Remove(ctx context.Context, id string, c Change) (ChangeResult, error) {
	return m.change(ctx, membershipRequest{Op: opRemove, ID: id}, c)
}

// Promote gives the coordinator id a vote.
func (m *Manager) Promote(ctx context.Context, id string, c Change) (ChangeResult, error) {
	return m.change(ctx, membershipRequest{Op: opPromote, ID: id}, c)
}

// Demote takes the vote of the coordinator id, until Promote.
func (m *Manager) Demote(ctx context.Context, id string, c Change) (ChangeResult, error) {
	return m.change(ctx, membershipRequest{Op: opDemote, ID: id}, c)
}

func (m *Manager) change(ctx context.Context, o membershipRequest, c Change) (ChangeResult, error) {
	o.Index, o.Force = c.ConfigIndex, c.Force
	done, err := m.requestChange(ctx, o)
	return ChangeResult{done.Member, done.Index}, err
}

// Transfer hands leadership to the coordinator to, or to the best follower
// when it is "". After nil the leader is one of a term later than past; who it
// is, this node may not know yet. Past is 0 if a leader of an older version did
// it, and does not tell.
func (m *Manager) Transfer(ctx context.Context, to string) (past uint64, err error) {
	done, err := m.requestChange(ctx, membershipRequest{Op: opTransfer, ID: to})
	return done.Past, err
}

// requestChange has a change carried out by the leader, here or one hop away.
func (m *Manager) requestChange(ctx context.Context, o membershipRequest) (done membershipResponse, err error) {
	err = m.host.Retry(ctx, func() (err error) {
		_, addr, here, err := m.host.Leader()
		switch {
		case err != nil:
		case here:
			done, err = m.executeChange(ctx, o)
		default:
			o.Forwarded = true
			done, err = m.forwardChange(ctx, addr, o)
		}
		return err
	})
	return done, err
}

func (m *Manager) forwardChange(ctx context.Context, addr string, o membershipRequest) (done membershipResponse, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return done, err
	}
	if body, err = m.calls.Call(ctx, addr, methodOrder, body); err != nil {
		return done, outcome.UnknownUnlessCoded(err)
	}
	if err := json.Unmarshal(body, &done); err != nil {
		return done, wire.Unknown(err)
	}
	return done, nil
}

// handleChange serves requests; one that has made its hop goes no further.
func (m *Manager) handleChange(ctx context.Context, from peer.Hello, body []byte) ([]byte, error) {
	var o membershipRequest
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, wire.Invalid("order", "%v", err)
	}
	if err := m.admitChange(from, o); err != nil {
		return nil, err
	}
	var done membershipResponse
	var err error
	if o.Forwarded {
		done, err = m.executeChange(ctx, o)
	} else {
		done, err = m.requestChange(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(done)
}

// executeChange is for the leader. Changes are carried out one at a time, each on
// the configuration that the one before has left.
func (m *Manager) executeChange(ctx context.Context, o membershipRequest) (done membershipResponse, err error) {
	select {
	case m.changeLock <- struct{}{}:
		defer func() { <-m.changeLock }()
	case <-ctx.Done():
		return done, wire.NotTried("another change of the membership is under way: %v", context.Cause(ctx))
	}
	if _, ok := m.host.Leading(); !ok {
		return done, outcome.ErrNotLeader
	}
	c := &configChange{Manager: m, prev: o.Index, force: o.Force}
	if err := c.checkIndex(); err != nil {
		return done, err
	}
	var id string
	switch o.Op {
	case opJoin:
		id, err = c.admitMember(ctx, o.Peer, o.NonVoter)
	case opAdd:
		id, err = c.inviteMember(ctx, o.Address, o.NonVoter)
	case opRemove:
		err = c.removeMember(ctx, o.ID)
	case opPromote:
		err = c.promoteMember(ctx, o.ID)
	case opDemote:
		err = c.demoteMember(ctx, o.ID)
	case opTransfer:
		done.Past, err = m.transferTo(ctx, o.ID)
	default:
		err = wire.Invalid("op", "unknown order %q", o.Op)
	}
	if err != nil {
		return done, c.outcome(err)
	}
	done.Cluster, done.Index = m.identity.Cluster(), max(c.index, m.host.ConfigIndex())
	if s, ok := m.Server(id); ok {
		done.Member = m.Info(s)
	}
	return done, nil
}

// changeTimeout is how long a change may wait for the one before it.
const changeTimeout = 2 * time.Second

// OnConfigChange has f called after every change of the configuration that this
// server made as the leader, before it makes another one. ctx is of who asked.
func (m *Manager) OnConfigChange(f func(ctx context.Context)) { m.onConfigChange.Store(&f) }

// awaitChange waits for a change of the configuration.
func (m *Manager) awaitChange(ctx context.Context, f raft.IndexFuture) error {
	err := m.futures.Await(ctx, f)
	switch {
	case err == nil:
		wake(m.pingNow)
		if f := m.onConfigChange.Load(); f != nil {
			(*f)(ctx)
		}
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return outcome.Of(err)
	case otherConfig(err) != nil:
		return otherConfig(err)
	case strings.Contains(err.Error(), "configuration"): // refused by the library's own check
		return wire.Refuse(wire.CodeConflict, "%v", err)
	}
	return wire.Unknown(err)
}

// otherConfig is the refusal of a change because the configuration is another by now;
// nil if err is none.
func otherConfig(err error) error {
	var want, now uint64
	if n, _ := fmt.Sscanf(err.Error(), "configuration changed since %d (latest is %d)", &want, &now); n < 2 {
		return nil
	}
	return errOtherConfig(want, now)
}

// transferTo refuses what cannot become leader. The leader is then one of a term
// later than past.
func (m *Manager) transferTo(ctx context.Context, to string) (past uint64, err error) {
	term, ok := m.host.Leading()
	if !ok {
		return 0, outcome.ErrNotLeader
	}
	if to == "" {
		if m.OtherVoters() == 0 {
			return 0, wire.Refuse(wire.CodeConflict, "there is no other voter to hand leadership to")
		}
		return term, m.host.HandOver(ctx, "")
	}
	s, err := m.findMember(to)
	switch {
	case err != nil:
		return 0, err
	case string(s.ID) == m.serverID:
		return term - 1, nil
	case s.Suffrage != raft.Voter:
		return 0, wire.Refuse(wire.CodeConflict, "%s has no vote and cannot lead", to)
	}
	return term, m.host.HandOver(ctx, string(s.ID))
}
