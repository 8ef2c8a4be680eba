package raftnode

import (
	"errors"

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
