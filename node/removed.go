package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
)

// RemovedError ends a coordinator that was removed from its cluster.
type RemovedError struct {
	ID, Cluster, DataDir string
}

func (e *RemovedError) Error() string {
	return fmt.Sprintf("coordinator %s was removed from cluster %s and does not run with the data of before (%s): "+
		"to have it join as a new one, start it with another, empty --data-dir, or with --when-removed rejoin", e.ID, e.Cluster, e.DataDir)
}

// ReopenError is what Run returns when this coordinator had better begin anew in the same
// process: Close the node and Open it with the same configuration.
type ReopenError struct{ reason string }

func (e *ReopenError) Error() string { return e.reason }

// membership is what the leader has said of this coordinator's membership since Open.
type membership struct {
	removed  chan struct{} // closed when it is out of the cluster
	readded  chan struct{} // closed when it is in it again after that
	mu       sync.Mutex
	out, was bool
}

func newMembership() *membership {
	return &membership{removed: make(chan struct{}), readded: make(chan struct{})}
}

// change takes the leader's word.
func (m *membership) change(removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case removed && !m.was:
		m.out, m.was = true, true
		close(m.removed)
	case !removed && m.out:
		m.out = false
		close(m.readded)
	}
}

// isOut reports whether this coordinator is out of the cluster, by the leader's last word.
func (m *membership) isOut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out
}

// takeIdentity opens the data directory as the coordinator that it holds, or as a
// new one when that one was removed and is to join again.
func (o *opener) takeIdentity() (err error) {
	if err := o.recoverOnce(); err != nil {
		return err
	}
	if o.identity, err = raftdisk.OpenIdentity(o.cfg.DataDir, o.cfg.ID); err != nil {
		return err
	}
	if self := o.identity.Record(); self.Removed {
		if err := o.identity.Close(); err != nil {
			return err
		}
		if o.cfg.WhenRemoved != WhenRemovedRejoin {
			return o.removedError(self.Cluster)
		}
		aside, err := raftdisk.SetAside(o.cfg.DataDir, time.Now(), keptFiles...)
		if err != nil {
			return err
		}
		o.log.Warn("this coordinator was removed: its data is set aside, and it joins as a new one", "cluster", self.Cluster, "aside", aside)
		if o.identity, err = raftdisk.OpenIdentity(o.cfg.DataDir, o.cfg.ID); err != nil {
			return err
		}
	}
	if word := o.cfg.RecoverWord; word != "" {
		o.cfg.Expect = 0
		if err := o.identity.Update(func(l *raftdisk.SelfRecord) { l.Recovered = word }); err != nil {
			return err
		}
	}
	// Who was removed from a cluster joins one: it founds none, whatever is left of it.
	if aside, err := raftdisk.HasSetAside(o.cfg.DataDir); err != nil || aside {
		o.cfg.Expect = 0
		return err
	}
	return nil
}

// keptFiles belong to the coordinator and not to its place in the cluster:
// certificates that were made for it, and what it has to account for.
var keptFiles = []string{"tls", "audit"}

func (n *Node) removedError(cluster string) error {
	return &RemovedError{ID: n.cfg.ID, Cluster: cluster, DataDir: n.cfg.DataDir}
}

// watchMembership returns nil when ctx ends, or the reason to end when this coordinator
// was removed. One that is to join again stays, without sessions, so that
// whoever removed it can end it in peace; unless it was removed before it
// started: then this is the start at which it joins.
func (n *Node) watchMembership(ctx context.Context) error {
	select {
	case <-n.membership.removed:
	case <-ctx.Done():
		return nil
	}
	if n.cfg.WhenRemoved != WhenRemovedRejoin {
		return n.removedError(n.raft.ClusterID())
	}
	if !n.raft.CaughtUp() {
		return &ReopenError{"this coordinator was removed from the cluster while it was away: it joins anew"}
	}
	n.log.Warn("this coordinator was removed: it stays, not ready, and joins as a new one at its next start")
	if err := n.sendSessionsAway(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("sessions of a removed coordinator did not end", "err", err)
	}
	select {
	case <-n.membership.readded:
		return &ReopenError{"this coordinator is a member again: it begins anew, to take sessions again"}
	case <-ctx.Done():
		return nil
	}
}

// sendSessionsAway has the doors of sessions say goodbye and take none any more.
func (n *Node) sendSessionsAway(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, doorsTimeout)
	defer cancel()
	if n.leco.door != nil {
		n.leco.door.Close(ctx)
	}
	return n.closeNative(ctx)
}

// isRemoved reports whether err says that this coordinator was removed.
func isRemoved(err error) bool {
	var removed *RemovedError
	return errors.As(err, &removed)
}
