package link

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Redial says when a link is dialled again: after a random time below a bound that
// doubles with every failure. One goroutine dials; Alive is for all.
type Redial struct {
	pause *backoff.ExponentialBackOff
	alive chan struct{} // capacity 1
}

// NewRedial returns one whose n-th wait is below min(most, least * 2^n).
func NewRedial(least, most time.Duration) *Redial {
	// Full jitter: the library draws from 0 to twice the interval.
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = least / 2
	pause.MaxInterval = most / 2
	pause.RandomizationFactor = 1
	pause.Multiplier = 2
	return &Redial{pause: pause, alive: make(chan struct{}, 1)}
}

// Alive notes a sign of life of the other side: Wait need not go on. It does not
// block.
func (r *Redial) Alive() {
	select {
	case r.alive <- struct{}{}:
	default:
	}
}

// Begin forgets a sign of life from before the dial that begins now.
func (r *Redial) Begin() {
	select {
	case <-r.alive:
	default:
	}
}

// Reset is called after a connection that was good.
func (r *Redial) Reset() { r.pause.Reset() }

// Wait waits before the next dial, at most until ctx ends. Once the other side is
// alive that is no more than after a first failure, however long nobody was
// reached; but not if it was reached and the link did not last.
func (r *Redial) Wait(ctx context.Context, reached bool) {
	wait := time.NewTimer(r.pause.NextBackOff())
	defer wait.Stop()
	alive := r.alive
	if reached {
		alive = nil
	}
	for {
		select {
		case <-wait.C:
			return
		case <-ctx.Done():
			return
		case <-alive:
			alive = nil
			r.pause.Reset()
			wait.Reset(r.pause.NextBackOff())
		}
	}
}
