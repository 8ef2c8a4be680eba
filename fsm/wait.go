package fsm

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
)

// Wait blocks until View().Index is at least index, or ctx ends; its error then
// wraps that of ctx.
func (m *Machine) Wait(ctx context.Context, index uint64) error {
	return m.WaitFor(ctx, All, index)
}

// WaitFor is Wait for a resource: until it has changed at index or later.
func (m *Machine) WaitFor(ctx context.Context, r Resource, index uint64) error {
	if m.View().Changed(r) >= index {
		return nil
	}
	w := &waiter{index: index, done: make(chan struct{})}
	ws := &m.waiters[r]
	if !ws.add(w, m, r) {
		return nil
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		ws.drop(w)
		return fmt.Errorf("wait for index %d, the state is at %d: %w", index, m.View().Index, context.Cause(ctx))
	}
}

// wake wakes those whom a state that was published concerns.
func (m *Machine) wake(s *State) {
	for r := range resources {
		m.waiters[r].wake(s.Changed(r))
	}
}

// waiters are those who wait for an index of a resource, the lowest first, so that an entry
// wakes only those it concerns.
type waiters struct {
	mu   sync.Mutex
	heap waiterHeap
}

type waiter struct {
	index uint64
	place int // in the heap; -1 when out of it
	done  chan struct{}
}

// add is false when the index is there already. It looks under the lock, which
// wake takes after the view was published: no wake-up is lost.
func (ws *waiters) add(w *waiter, m *Machine, r Resource) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if m.View().Changed(r) >= w.index {
		return false
	}
	heap.Push(&ws.heap, w)
	return true
}

func (ws *waiters) drop(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.place >= 0 {
		heap.Remove(&ws.heap, w.place)
	}
}

func (ws *waiters) wake(index uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for len(ws.heap) > 0 && ws.heap[0].index <= index {
		close(heap.Pop(&ws.heap).(*waiter).done)
	}
}

type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].index < h[j].index }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.place = len(*h)
	*h = append(*h, w)
}

func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = -1
	return w
}
