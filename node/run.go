package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// doorsTimeout is how long the doors may take to finish what is under way when
// Run ends.
const doorsTimeout = 20 * time.Second

// Run serves until ctx ends or a part of the node fails; its error names the
// part. Close must follow.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-n.stopRequested:
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	part := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("control", n.control.Run)
	part("announce", n.announce)
	part("disk", n.disk.run)
	part("token file", n.watchTokens)
	workerDone := make(chan struct{})
	part("worker", func(ctx context.Context) error {
		defer close(workerDone)
		if !n.cfg.Worker {
			return nil
		}
		return n.runWorker(ctx)
	})
	part("api", func(context.Context) error { return n.api.Serve(n.listeners.http) })
	part("ops", func(context.Context) error { return n.ops.Serve(n.listeners.ops) })
	part("native sessions", func(context.Context) error { return n.serveNative() })
	g.Go(func() error {
		<-ctx.Done()
		n.closing.Store(true)
		<-workerDone // it signs out through the door
		return n.closeDoors(context.WithoutCancel(ctx))
	})
	return g.Wait()
}

// closeDoors ends the doors before all else, since the parts of Run wait for
// them: later callers are sent elsewhere, and what is under way is finished.
func (n *Node) closeDoors(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, doorsTimeout)
	defer cancel()
	if n.leco.door != nil {
		n.leco.door.Close(ctx) // frees the names while there is a log to write it to
	}
	return errors.Join(n.closeNative(ctx), n.api.Close(ctx), n.ops.Close(ctx))
}

// stop ends Run as the end of its context would.
func (n *Node) stop() { n.stopOnce.Do(func() { close(n.stopRequested) }) }

// Close ends what Open started and Run did not end, top to bottom: nobody
// above a part is left to call it when it ends. ctx bounds it.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Store(true)
	var errs []error
	// No new work, and what is under way gets its answer.
	if n.leco.door != nil {
		n.leco.door.Close(ctx)
	}
	n.closeLECO()
	errs = append(errs, n.closeNative(ctx), n.api.Close(ctx), n.ops.Close(ctx))
	// Use cases before router and log, which they call.
	n.control.Close()
	// The router: links say goodbye, so that the others do not wait for a dead one.
	n.router.Close()
	// The log: hands leadership over, then the stores are closed. A stopped
	// coordinator stays a member; it never leaves by itself.
	errs = append(errs, n.raft.Close(ctx))
	// The port last: all of the above speak through it.
	errs = append(errs, n.port.Close())
	n.listeners.http.Close()
	n.listeners.ops.Close()
	return errors.Join(errs...)
}
