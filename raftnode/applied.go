package raftnode

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
)

// progress is how far this process's own machine is, which raft's AppliedIndex
// does not tell: that one runs ahead of the machine.
type progress struct {
	mu      sync.Mutex
	index   uint64 // last entry that reached the machine
	term    uint64 // its term
	waiting waiters
}

type waiter struct {
	index uint64
	done  chan struct{}
	place int // in the heap, -1 outside
}

// reached notes that the machine has everything up to index.
func (p *progress) reached(index, term uint64) {
	p.mu.Lock()
	p.index, p.term = index, term
	for len(p.waiting) > 0 && p.waiting[0].index <= index {
		close(heap.Pop(&p.waiting).(*waiter).done)
	}
	p.mu.Unlock()
}

func (p *progress) now() (index, term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index, p.term
}

// wait blocks until the machine has reached index or ctx ends.
func (p *progress) wait(ctx context.Context, index uint64) error {
	done, stop := p.at(index)
	defer stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		now, _ := p.now()
		return fmt.Errorf("wait for index %d (at %d): %w", index, now, context.Cause(ctx))
	}
}

// at returns a channel that is closed once the machine has reached index, and
// how to stop waiting for it.
func (p *progress) at(index uint64) (done <-chan struct{}, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &waiter{index: index, done: make(chan struct{}), place: -1}
	if p.index >= index {
		close(w.done)
		return w.done, func() {}
	}
	heap.Push(&p.waiting, w)
	return w.done, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.place >= 0 {
			heap.Remove(&p.waiting, w.place)
		}
	}
}

// waiters is a heap by index.
type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].index < w[j].index }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

func (w *waiters) Push(x any) {
	x.(*waiter).place = len(*w)
	*w = append(*w, x.(*waiter))
}

func (w *waiters) Pop() any {
	old := *w
	last := old[len(old)-1]
	last.place = -1
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return last
}
