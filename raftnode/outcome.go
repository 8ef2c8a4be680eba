package raftnode

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// outcome turns raft's answer to a write into ours. Only three of its errors
// promise that nothing happened; after any other the entry may be in some log
// and may be applied, now or under a later leader.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return wire.NotTried("the leader did not take the entry in time")
	default:
		return wire.Unknown(err)
	}
}

// errNotLeader says that this node did not try because it does not lead (any
// more, or yet): asking again elsewhere is safe.
var errNotLeader = wire.NotTried("this coordinator is not the leader")

var errDeposed = errors.New("the leader was deposed before it answered")

// notTried reports whether err promises that nothing happened and that a later
// try may succeed.
func notTried(err error) bool { return wire.CodeOf(err) == wire.CodeUnavailable }

// Outcomes counts what became of writes since the start.
type Outcomes struct {
	Done, Refused, NotTried, Unknown uint64
}

type outcomes struct {
	done, refused, notTried, unknown atomic.Uint64
}

func (o *outcomes) record(err error) {
	switch wire.CodeOf(err) {
	case "":
		o.done.Add(1)
	case wire.CodeUnavailable:
		o.notTried.Add(1)
	case wire.CodeUnknown, wire.CodeInternal:
		o.unknown.Add(1)
	default:
		o.refused.Add(1)
	}
}

func (o *outcomes) snapshot() Outcomes {
	return Outcomes{Done: o.done.Load(), Refused: o.refused.Load(), NotTried: o.notTried.Load(), Unknown: o.unknown.Load()}
}
