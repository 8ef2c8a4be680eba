package main

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// tally counts what a receiver got. arrived is for one goroutine.
type tally struct {
	got      atomic.Int64
	wrong    atomic.Int64 // not the next number: lost, twice or out of order
	next     uint64       // the receiver's
	want     atomic.Int64 // of got, for whoever waits; the largest number: nobody does
	reached  chan struct{}
	expected atomic.Int64 // of got: the last message
	last     atomic.Int64 // when it came, nanoseconds since started
}

var started = time.Now()

func newTally() *tally {
	t := &tally{reached: make(chan struct{}, 1)}
	t.want.Store(math.MaxInt64)
	t.expected.Store(math.MaxInt64)
	return t
}

// arrived notes the message of this number.
func (t *tally) arrived(seq uint64) {
	if seq != t.next {
		t.wrong.Add(1)
	}
	t.next = seq + 1
	n := t.got.Add(1)
	if n == t.expected.Load() {
		t.last.Store(int64(time.Since(started)))
	}
	if n >= t.want.Load() {
		t.want.Store(math.MaxInt64)
		select {
		case t.reached <- struct{}{}:
		default:
		}
	}
}

// await returns when n messages have arrived.
func (t *tally) await(ctx context.Context, n int64) error {
	for {
		t.want.Store(n)
		if t.got.Load() >= n {
			t.want.Store(math.MaxInt64)
			return nil
		}
		select {
		case <-t.reached:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
