package outcome_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/wire"
)

// Only three of the library's errors promise that nothing happened.
func TestOutcomeClasses(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]wire.Code{
		nil:                                    "",
		raft.ErrNotLeader:                      wire.CodeUnavailable,
		raft.ErrEnqueueTimeout:                 wire.CodeUnavailable,
		raft.ErrLeadershipTransferInProgress:   wire.CodeUnavailable,
		raft.ErrLeadershipLost:                 wire.CodeUnknown,
		raft.ErrRaftShutdown:                   wire.CodeUnknown,
		raft.ErrAbortedByRestore:               wire.CodeUnknown,
		errors.New("disk"):                     wire.CodeUnknown,
		fmt.Errorf("x: %w", raft.ErrNotLeader): wire.CodeUnavailable,
	} {
		if got := wire.CodeOf(outcome.Of(err)); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}
