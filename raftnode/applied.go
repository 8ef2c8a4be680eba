package raftnode

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
)

// appliedIndex is how far this process's own machine is, which raft's AppliedIndex
// does not tell: that one runs ahead of the machine.
type appliedIndex struct {
	mu      sync.Mutex
	index   uint64 // last entry that reached the machine
	term    uint64 // its term
	waiting waiters
}

type waiter struct {
	index   uint64
	reached chan struct{}
	place   int // in the heap, -1 outside
}

// advance notes that the machine has everything up to index.
func (p *appliedIndex) advance(index, term uint64) {
	p.mu.Lock()
	p.index, p.term = index, term
	for len(p.waiting) > 0 && p.waiting[0].index <= index {
		close(heap.Pop(&p.waiting).(*waiter).reached)
	}
	p.mu.Unlock()
}

func (p *appliedIndex) current() (index, term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index, p.term
}

// waitFor blocks until the machine has reached index or ctx ends.
func (p *appliedIndex) waitFor(ctx context.Context, index uint64) error {
	done, stop := p.reached(index)
	defer stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		now, _ := p.current()
		return fmt.Errorf("wait for index %d (at %d): %w", index, now, context.Cause(ctx))
	}
}

// reached returns a channel that is closed once the machine has reached index, and
// how to stop waiting for it.
func (p *appliedIndex) reached(index uint64) (done <-chan struct{}, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &waiter{index: index, reached: make(chan struct{}), place: -1}
	if p.index >= index {
		close(w.reached)
		return w.reached, func() {}
	}
	heap.Push(&p.waiting, w)
	return w.reached, func() {
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
