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

// handOverTimeout is how long a leader that stops tries to give leadership away
// before its doors close.
const handOverTimeout = 5 * time.Second

// Run serves until ctx ends or a part of the node fails; its error names the
// part. At the end of ctx the node is not ready at once, goes on serving for
// Config.Drain or until Hurry, hands leadership over and closes its doors. A
// *RemovedError says that this coordinator was removed, a *ReopenError that it is
// to be opened anew, a *DiskCriticalError that its volume has hardly any space left: then
// it hands over at once. Close must follow.
func (n *Node) Run(asked context.Context) error {
	// The parts outlive asked: they serve while the node drains.
	ctx, cancel := context.WithCancel(context.WithoutCancel(asked))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
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
	doorsClosed := make(chan struct{})
	part("audit", func(ctx context.Context) error { return n.anchorTrail(ctx, doorsClosed) })
	part("disk", n.disk.run)
	part("token file", n.watchTokens)
	for _, w := range n.certs.watchers() {
		part("certificates", func(ctx context.Context) error { w.Run(ctx); return nil })
	}
	part("certificate", n.renewCertificate)
	part("peer connections", n.renewConnections)
	workerDone := make(chan struct{})
	part("worker", func(ctx context.Context) error {
		defer close(workerDone)
		if !n.cfg.Worker {
			return nil
		}
		return n.runWorker(ctx)
	})
	part("api", func(context.Context) error { return n.api.Serve(n.listeners.http) })
	part("ops", n.watchOperatorPort)
	part("watchdog", n.watchdog.run)
	part("native sessions", func(context.Context) error { return n.serveNative() })
	g.Go(func() error {
		defer close(doorsClosed)
		reason := n.awaitEnd(asked, ctx)
		n.closing.Store(true)
		if ctx.Err() == nil {
			n.drain(ctx, reason)
		}
		cancel()
		<-workerDone // it signs out through the door
		return errors.Join(reason, n.closeDoors(context.WithoutCancel(ctx)))
	})
	return g.Wait()
}

// awaitEnd returns when the node is to end: as it was asked to, nil, or because of its
// removal; or when running ends, since a part of it failed.
func (n *Node) awaitEnd(asked, running context.Context) error {
	ctx, cancel := context.WithCancel(running)
	defer cancel()
	defer context.AfterFunc(asked, cancel)()
	removed := make(chan error, 1)
	go func() { removed <- n.watchMembership(ctx) }()
	select {
	case <-asked.Done():
	case <-n.stopRequested:
	case <-running.Done():
	case <-n.disk.critical:
		cancel()
		return errors.Join(<-removed, n.disk.end)
	case reason := <-removed:
		return reason
	}
	cancel()
	return <-removed
}

// drain goes on serving, so that those who send requests here can learn from
// the readiness that this coordinator stops, and hands leadership over.
func (n *Node) drain(ctx context.Context, reason error) {
	if n.cfg.Drain == 0 {
		return // Close hands leadership over
	}
	served := n.cfg.Drain
	switch {
	case isDiskCritical(reason): // every write takes of what is left
		served = 0
	case isRemoved(reason):
		served = min(served, defaultDrain)
	}
	n.log.Info("stopping: not ready any more, requests are still served", "for", served)
	wait := time.NewTimer(served)
	defer wait.Stop()
	n.draining.Store(true)
	defer n.draining.Store(false)
	select {
	case <-wait.C:
	case <-n.hurried:
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	if err := n.raft.HandOver(ctx); err != nil {
		n.log.Warn("leadership could not be handed over", "err", err)
	}
}

// StopTime is how long Run may go on after it was asked to end.
func (n *Node) StopTime() time.Duration {
	return n.cfg.Drain + handOverTimeout + doorsTimeout + lastAnchor
}

// Hurry ends the draining of a node whose Run was asked to end: what is under way
// is still finished. False says that it was not draining. It may be called from
// any goroutine, at any time.
func (n *Node) Hurry() bool {
	n.hurryOnce.Do(func() { close(n.hurried) })
	return n.draining.Load()
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
	// The trail behind all that is recorded in it.
	errs = append(errs, n.closeTrail())
	// Last, since a disk that hangs uses up all the time that ctx leaves.
	errs = append(errs, n.backups.close(ctx))
	return errors.Join(errs...)
}
