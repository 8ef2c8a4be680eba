package raftnode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// deposedGrace is how long a deposed leader may still answer what was sent to
// it. After that a writer is better off with "unknown" now than later.
const deposedGrace = 200 * time.Millisecond

// errDeposed ends what waits for the answer of a leader that was deposed.
var errDeposed = errors.New("the leader was deposed before it answered")

// leaderTracker is the leader that this server follows, as far as raft has reported.
type leaderTracker struct {
	mu     sync.Mutex
	leader string          // server id
	ctx    context.Context // ends deposedGrace after another leader is known
	stop   context.CancelFunc
}

// observe records a new leader.
func (a *leaderTracker) observe(id string) (changed bool, from string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id == a.leader {
		return false, id
	}
	from = a.leader
	if a.stop != nil {
		time.AfterFunc(deposedGrace, a.stop)
	}
	a.leader = id
	a.ctx, a.stop = context.WithCancel(context.Background())
	return true, from
}

// untilDeposed returns a context that ends with ctx, or when id has been deposed.
func (a *leaderTracker) untilDeposed(ctx context.Context, id string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leader != id || a.ctx == nil {
		return ctx, func() { cancel(nil) }
	}
	stop := context.AfterFunc(a.ctx, func() { cancel(errDeposed) })
	return ctx, func() { stop(); cancel(nil) }
}

func (a *leaderTracker) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		a.stop()
	}
}

// watchLeaders counts the leaders that this process has seen, and logs them.
func (n *Node) watchLeaders() {
	defer n.leaderTracker.close()
	seen := make(chan raft.Observation, 64)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		l, ok := o.Data.(raft.LeaderObservation)
		return ok && l.LeaderID != ""
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	for {
		select {
		case o := <-seen:
			id := string(o.Data.(raft.LeaderObservation).LeaderID)
			if changed, from := n.leaderTracker.observe(id); changed {
				n.leaderChanges.Add(1)
				n.members.PingNow() // whom all follow now, and whom the leader reaches
				n.log.Info("leader changed", "from", from, "to", id, "term", n.raft.CurrentTerm())
			}
		case <-n.ctx.Done():
			return
		}
	}
}
