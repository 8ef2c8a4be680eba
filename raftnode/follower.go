package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// deposedGrace is how long a deposed leader may still answer what was sent to
// it. After that a writer is better off with "unknown" now than later.
const deposedGrace = 200 * time.Millisecond

// allegiance is whom this server follows, as far as raft has said.
type allegiance struct {
	mu     sync.Mutex
	leader string          // server id
	ctx    context.Context // ends deposedGrace after another leader is known
	stop   context.CancelFunc
}

// turn takes note of a new leader.
func (a *allegiance) turn(id string) (changed bool, from string) {
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

// during returns a context that ends with ctx, or when id has been deposed.
func (a *allegiance) during(ctx context.Context, id string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leader != id || a.ctx == nil {
		return ctx, func() { cancel(nil) }
	}
	stop := context.AfterFunc(a.ctx, func() { cancel(errDeposed) })
	return ctx, func() { stop(); cancel(nil) }
}

func (a *allegiance) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		a.stop()
	}
}

// watchLeaders counts the leaders that this process has seen, and logs them.
func (n *Node) watchLeaders() {
	defer n.allegiance.end()
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
			if changed, from := n.allegiance.turn(id); changed {
				n.changes.Add(1)
				poke(n.pingNow) // whom all follow now, and whom the leader reaches
				n.log.Info("leader changed", "from", from, "to", id, "term", n.raft.CurrentTerm())
			}
		case <-n.ctx.Done():
			return
		}
	}
}
