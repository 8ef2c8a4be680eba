package raftnode

import (
	"context"
	"sync"
	"time"
)

// mark is what a read waits for: the commit index at some moment after the
// read began, and the term of the leader who knows it.
type mark struct {
	Index  uint64 `json:"index"`
	Term   uint64 `json:"term"`
	Leader string `json:"leader"` // server id
}

// roundTime bounds one round; its readers may come again.
const roundTime = time.Second

// rounds lets all callers that arrive before a question is put share it. A
// question that is already under way is of no use to them: its answer may be
// older than they are.
type rounds struct {
	node *Node
	ask  func(ctx context.Context) (mark, error)

	mu      sync.Mutex
	next    *round // waits for the one under way
	running bool
}

type round struct {
	done chan struct{}
	mark mark
	err  error
}

// join takes part in the next round and waits for its answer.
func (r *rounds) join(ctx context.Context) (mark, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if !r.running {
		if r.running = r.node.spawn(r.run); !r.running {
			r.mu.Unlock()
			return mark{}, errClosed
		}
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.mark, mine.err
	case <-ctx.Done():
		return mark{}, context.Cause(ctx)
	}
}

// run puts one question after the other while somebody waits.
func (r *rounds) run() {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		if now == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(r.node.ctx, roundTime)
		now.mark, now.err = r.ask(ctx)
		cancel()
		close(now.done)
	}
}
