// Package outcome says what raft's answer to a request means for whoever asked: done, certainly not tried, or unknown.
package outcome

import (
	"errors"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// Of turns raft's answer to a write into ours. Only three of its errors
// promise that nothing happened; after any other the entry may be in some log
// and may be applied, now or under a later leader.
func Of(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return wire.NotTried("the leader did not take the entry in time")
	default:
		return wire.Unknown(err)
	}
}

// ErrNotLeader says that this node did not try because it does not lead (any
// more, or yet): asking again elsewhere is safe.
var ErrNotLeader = wire.NotTried("this coordinator is not the leader")

// NotTried reports whether err promises that nothing happened and that a later
// try may succeed.
func NotTried(err error) bool { return wire.CodeOf(err) == wire.CodeUnavailable }

// UnknownUnlessCoded takes an error without a code, which may have come from anywhere
// on the way, for unknown.
func UnknownUnlessCoded(err error) error {
	if c := wire.CodeOf(err); c == wire.CodeInternal {
		return wire.Unknown(err)
	}
	return err
}
