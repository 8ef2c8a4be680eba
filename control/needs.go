package control

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
)

var _ Replica = (*raftnode.Node)(nil)

// Replica is what control needs of the replicated log; *raftnode.Node is one.
type Replica interface {
	Propose(ctx context.Context, command []byte) (index uint64, value any, err error)
	Ready(ctx context.Context, c raftnode.Consistency, index uint64) (raftnode.Freshness, error)
	LeaderInfo() (id, serverID, addr string, term uint64)
	Members(ctx context.Context) ([]raftnode.MemberInfo, error)
	ConfigIndex() uint64
	Autopilot() raftnode.AutopilotSettings
	AddMember(ctx context.Context, addr string, nonVoter bool, c MemberChange) (raftnode.MemberChangeResult, error)
	RemoveMember(ctx context.Context, id string, c MemberChange) (raftnode.MemberChangeResult, error)
	Promote(ctx context.Context, id string, c MemberChange) (raftnode.MemberChangeResult, error)
	Demote(ctx context.Context, id string, c MemberChange) (raftnode.MemberChangeResult, error)
	Transfer(ctx context.Context, to string) (past uint64, err error)
	Status() raftnode.Status
	Health() (ready bool, reason string)
	Alive(id string) (bool, time.Time)
	InTouch() bool
	WaitInTouch(ctx context.Context) error
}

// MemberChange says on which conditions the membership is changed.
type MemberChange = raftnode.MemberChange

// Peers is the calls between coordinators; *peer.Port is one.
type Peers interface {
	Handle(method string, h func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error))
	Call(ctx context.Context, addr, method string, body []byte) ([]byte, error)
}
