package node

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// announce keeps this coordinator's row in the registry right: whenever the
// row is not what this node is (first start, other addresses, forgotten by
// mistake) it is proposed again, until ctx ends.
func (n *Node) announce(ctx context.Context) error {
	want := n.self()
	var backoff announceBackoff
	for {
		changed := n.machine.Feed().Changed()
		if isAnnounced(n.machine.View(), want) {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			continue
		}
		wait := minAnnounceWait
		if n.isMember() {
			if wait = backoff.wait(time.Now()); wait <= 0 {
				backoff.record(time.Now(), n.proposeSelf(ctx, want))
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// proposeSelf proposes the row and returns the bounds of the wait before the next
// proposal.
func (n *Node) proposeSelf(ctx context.Context, want registry.Coordinator) waitBounds {
	err := n.propose(ctx, registry.KindAnnounce, registry.Announce{Coordinator: want})
	switch code := wire.CodeOf(err); {
	case err == nil:
		n.log.Info("announced", "namespace", want.Namespace, "http", want.HTTPAddr, "peer", want.PeerAddr)
		return waitBounds{minAnnounceWait, maxAnnounceWait}
	case ctx.Err() == nil && (code == wire.CodeConflict || code == wire.CodeInvalid):
		n.log.Error("this coordinator cannot take its place", "err", err)
		return waitBounds{maxAnnounceWait, maxAnnounceWait}
	}
	n.log.Debug("announce", "err", err)
	return waitBounds{minAnnounceWait, maxRetryWait}
}

// The waits between proposals of the row, and how long no proposal must have been
// needed for the next one to be made at once again.
const (
	minAnnounceWait = 50 * time.Millisecond
	maxRetryWait    = 2 * time.Second // after a proposal that failed
	maxAnnounceWait = 10 * time.Second
	backoffReset    = time.Minute
)

// waitBounds are the shortest and the longest wait before the next proposal.
type waitBounds struct{ min, max time.Duration }

// announceBackoff spaces the proposals of one row: each waits twice as long as
// the one before. Without it, two processes that both run as this coordinator
// would overwrite each other's row as fast as the log takes it.
type announceBackoff struct {
	last  time.Time
	delay time.Duration
}

// wait returns how long to wait, from now on, before the next proposal.
func (b *announceBackoff) wait(now time.Time) time.Duration {
	if now.Sub(b.last) >= backoffReset { // as before the first one
		return 0
	}
	return b.delay - now.Sub(b.last)
}

// record notes a proposal and the bounds of the wait after it.
func (b *announceBackoff) record(now time.Time, bounds waitBounds) {
	if now.Sub(b.last) >= backoffReset {
		b.delay = 0
	}
	b.delay = min(max(2*b.delay, bounds.min), bounds.max)
	b.last = now
}

// isAnnounced tells whether the registry has our row as it should be.
func isAnnounced(state *fsm.State, want registry.Coordinator) bool {
	got, ok := state.Registry.Coordinator(want.ID)
	got.Since, got.Index = want.Since, want.Index
	return ok && got == want
}

// isMember tells whether this server is in the cluster at all; until then it
// has nothing to announce.
func (n *Node) isMember() bool { return n.raft.ClusterID() != "" }

// proposeTimeout is how long a proposal of the node itself may take.
const proposeTimeout = 5 * time.Second

func (n *Node) propose(ctx context.Context, kind string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	_, _, err := propose.Do[any](ctx, n.proposer, kind, propose.System(n.cfg.ID), body)
	return err
}
