package raftnode

import (
	"context"
	"sync"
	"time"
)

// commitPoint is what a read waits for: the commit index at some moment after the
// read began, and the term of the leader who knows it.
type commitPoint struct {
	Index  uint64 `json:"index"`
	Term   uint64 `json:"term"`
	Leader string `json:"leader"` // server id
}

// roundTimeout bounds one round; its readers may come again.
const roundTimeout = time.Second

// sharedRound lets all callers that arrive before a question is put share it. A
// question that is already under way is of no use to them: its answer may be
// older than they are.
type sharedRound struct {
	node *Node
	do   func(ctx context.Context) (commitPoint, error)

	mu      sync.Mutex
	next    *round // waits for the one under way
	running bool
}

type round struct {
	done  chan struct{}
	point commitPoint
	err   error
}

// join takes part in the next round and waits for its answer.
func (r *sharedRound) join(ctx context.Context) (commitPoint, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	round := r.next
	if !r.running {
		if r.running = r.node.spawn(r.run); !r.running {
			r.mu.Unlock()
			return commitPoint{}, errClosed
		}
	}
	r.mu.Unlock()
	select {
	case <-round.done:
		return round.point, round.err
	case <-ctx.Done():
		return commitPoint{}, context.Cause(ctx)
	}
}

// run starts one round after the other while callers wait.
func (r *sharedRound) run() {
	for {
		r.mu.Lock()
		current := r.next
		r.next = nil
		if current == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(r.node.ctx, roundTimeout)
		current.point, current.err = r.do(ctx)
		cancel()
		close(current.done)
	}
}
