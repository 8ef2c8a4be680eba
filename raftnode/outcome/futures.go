package outcome

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// Futures are those that raft has not answered yet, whether or not somebody still
// waits for them. It answers all while it runs, but some never once it was shut
// down: close waits for them before. The zero Futures has none; its methods may
// be called from any goroutine.
type Futures struct {
	mu   sync.Mutex
	open int
	none chan struct{} // closed when open is 0 again; nil: nobody waits for that
}

// Await waits for a future, or for ctx. The one goroutine that may ask the future
// lives until it answers.
func (f *Futures) Await(ctx context.Context, future raft.Future) error {
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer f.answered()
		done <- future.Error()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for raft: %w", context.Cause(ctx))
	}
}

func (f *Futures) answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open--; f.open == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

// Wait returns when every future is answered, or the cause of the end of ctx.
func (f *Futures) Wait(ctx context.Context) error {
	f.mu.Lock()
	if f.open == 0 {
		f.mu.Unlock()
		return nil
	}
	if f.none == nil {
		f.none = make(chan struct{})
	}
	none := f.none
	f.mu.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
