// Package indexwait lets goroutines wait until an index, such as that of the log,
// has been reached.
package indexwait

import (
	"container/heap"
	"context"
	"sync"
)

// List holds those who wait, the lowest index first, so that an advance wakes only
// those it concerns. The zero List is empty. Its methods may be called from any
// goroutine.
type List struct {
	mu   sync.Mutex
	heap waiters
}

// Wait blocks until current returns at least index, or ctx ends; its error is the
// cause of that. Whoever raises what current returns calls Wake afterwards. current
// is called with the List locked: it must be quick and not use the List.
func (l *List) Wait(ctx context.Context, index uint64, current func() uint64) error {
	w := l.add(index, current)
	if w == nil {
		return nil
	}
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		l.remove(w)
		return context.Cause(ctx)
	}
}

// Reached returns a channel that is closed once current returns at least index, and
// a function that stops waiting for it. The rest is as for Wait.
func (l *List) Reached(index uint64, current func() uint64) (reached <-chan struct{}, stop func()) {
	w := l.add(index, current)
	if w == nil {
		return closed, func() {}
	}
	return w.reached, func() { l.remove(w) }
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Wake wakes those who wait for index or less.
func (l *List) Wake(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.heap) > 0 && l.heap[0].index <= index {
		close(heap.Pop(&l.heap).(*waiter).reached)
	}
}

// Len is how many wait.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heap)
}

// add returns nil when the index is reached already. It looks with the List locked,
// and Wake locks it after the index was raised: no wake-up is lost.
func (l *List) add(index uint64, current func() uint64) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if current() >= index {
		return nil
	}
	w := &waiter{index: index, reached: make(chan struct{})}
	heap.Push(&l.heap, w)
	return w
}

func (l *List) remove(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.place >= 0 {
		heap.Remove(&l.heap, w.place)
	}
}

type waiter struct {
	index   uint64
	place   int // in the heap; -1 when out of it
	reached chan struct{}
}

// waiters is a heap by index.
type waiters []*waiter

func (h waiters) Len() int           { return len(h) }
func (h waiters) Less(i, j int) bool { return h[i].index < h[j].index }
func (h waiters) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *waiters) Push(x any) {
	w := x.(*waiter)
	w.place = len(*h)
	*h = append(*h, w)
}

func (h *waiters) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = -1
	return w
}
