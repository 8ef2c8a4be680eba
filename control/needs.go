package control

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// Replica is what control needs of the replicated log; *raftnode.Node is one.
type Replica interface {
	Propose(ctx context.Context, command []byte) (index uint64, value any, err error)
	Ready(ctx context.Context, c raftnode.Consistency, index uint64) (raftnode.Freshness, error)
	LeaderInfo() (id, serverID, addr string, term uint64)
	Members(ctx context.Context) ([]raftnode.MemberInfo, error)
	AddMember(ctx context.Context, addr string, nonVoter bool) (raftnode.MemberInfo, error)
	RemoveMember(ctx context.Context, id string) error
	Promote(ctx context.Context, id string) error
	Demote(ctx context.Context, id string) error
	Transfer(ctx context.Context, to string) (past uint64, err error)
	Status() raftnode.Status
	Health() (ready bool, reason string)
	Alive(id string) (bool, time.Time)
	InTouch() bool
	WaitInTouch(ctx context.Context) error
}

// Peers is the calls between coordinators; *peer.Port is one.
type Peers interface {
	Handle(method string, h func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error))
	Call(ctx context.Context, addr, method string, body []byte) ([]byte, error)
}

// Mail is what control needs of the router; OverRouter makes one.
type Mail interface {
	// Attach opens the mailbox of a session homed here; again for the same
	// session and epoch it changes nothing.
	Attach(full, session string, epoch uint64) error
	// Detach closes it and reports what is left in it to the senders.
	Detach(session, reason string)
	// Receive waits for messages numbered above after and forgets the others.
	// A session without a mailbox here is not_found.
	Receive(ctx context.Context, session string, after uint64, max int) ([]Mailed, error)
	// Send blocks for the one outcome; an error is a *wire.Error: not_found
	// for an unknown receiver, a refusal, or unknown.
	Send(ctx context.Context, m wire.Message) error
	// Post is Send without blocking; done is called exactly once, and must not
	// block. more tells that another one is posted at once. The payload is the
	// caller's again when Post returns.
	Post(m wire.Message, more bool, done func(error))
	// PostLinked is Post for a sender who waits no longer than a moment: where
	// the receiver's home cannot be reached it is unavailable (not tried) after
	// linkWait.
	PostLinked(m wire.Message, linkWait time.Duration, more bool, done func(error))
	// Links tells the state of the link to every other coordinator.
	Links() map[string]string
}

// Mailed is one message in a mailbox, with its place in it.
type Mailed struct {
	Seq     uint64
	Message wire.Message
}
