// Package raftnode keeps copies of one log on several machines; it carries
// bytes and never reads them.
package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/member"
	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/wire"
)

// Node is one server of the group. Its methods may be called from any
// goroutine, and all that wait do so no longer than their context.
type Node struct {
	cfg            Config
	log            *slog.Logger
	identity       *disk.Identity
	serverID       string
	self           disk.Peer // this run's record
	stores         *disk.Stores
	machine        Machine
	failStop       *disk.FailStop
	applied        *appliedIndex
	replica        *replica
	timings        Timings
	progress       progress
	transport      *transport
	calls          Calls
	raft           *raft.Raft
	queue          *queue
	futures        outcome.Futures
	reads          readRounds
	lease          lease
	contact        leaderContact
	freshness      freshness
	leadership     leadership
	members        *member.Manager
	snapshotsSent  snapshotsSent
	observedCommit observedCommit
	unreachable    unreachablePeers
	leaderTracker  leaderTracker

	leaderConnLost chan struct{} // wakes fastElection: a stream of the leader has ended
	running        atomic.Bool   // raft is set
	caughtUp       atomic.Bool
	draining       atomic.Bool
	timeouts       electionTimeouts
	failure        atomic.Pointer[error]
	leaderChanges  atomic.Uint64 // of the leader, seen by this process
	onReachable    atomic.Pointer[func(id string)]
	closeOnce      sync.Once
	closeErr       error

	ctx  context.Context // ends in Close, when raft has stopped
	stop context.CancelFunc
	mu   sync.Mutex // guards wg against a Go beside Wait
	done bool
	wg   sync.WaitGroup
}

// Open opens the data directory and starts raft. A server with state is back
// in its cluster as soon as the others are reached; one without goes on
// looking for a cluster, or for the other founders, in the background until it
// is a member. Errors of Open name the file or setting that is wrong.
func Open(ctx context.Context, c Config) (_ *Node, err error) {
	if c, err = c.withDefaults(); err != nil {
		if c.Identity != nil {
			c.Identity.Close()
		}
		return nil, err
	}
	if c.Identity == nil {
		if c.Identity, err = disk.OpenIdentity(c.Dir, c.ID); err != nil {
			return nil, err
		}
	}
	c.Dir = c.Identity.Dir()
	n := &Node{
		cfg:            c,
		log:            c.Logger,
		identity:       c.Identity,
		serverID:       c.Identity.ServerID(),
		machine:        c.Machine,
		applied:        &appliedIndex{},
		snapshotsSent:  snapshotsSent{log: c.Logger},
		calls:          c.Inject.Calls,
		leaderConnLost: make(chan struct{}, 1),
	}
	n.unreachable.onReachable = n.handleReachable
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.members = member.New(n.ctx, n.memberConfig(), memberHost{n})
	defer func() {
		if err != nil {
			n.stop()
			if n.transport != nil {
				n.transport.Close()
			}
			if n.stores != nil {
				n.stores.Close()
			}
			n.identity.Close()
		}
	}()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := n.members.AwaitSupersederGone(ctx); err != nil {
		return nil, err
	}
	n.self = n.members.Self()
	n.failStop = disk.NewFailStop(c.Fatal, func(err error) { n.failure.Store(&err) })
	if n.stores, err = disk.Open(c.diskConfig(), n.identity, n.failStop); err != nil {
		return nil, err
	}
	if err := member.RecoverClusterID(n.identity, n.stores.Log); err != nil {
		return nil, err
	}
	if err := n.startRaft(); err != nil {
		return nil, err
	}
	n.startLoops()
	return n, nil
}

// startRaft makes the library's server over the opened stores.
func (n *Node) startRaft() (err error) {
	var under preVoteTransport
	where := func(id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress {
		return raft.ServerAddress(n.members.AddressOr(id, configured))
	}
	if t := n.cfg.Inject.Transport; t != nil {
		pre, ok := t.(preVoteTransport)
		if !ok {
			return errors.New("raftnode: Inject.Transport has no RequestPreVote or Close")
		}
		under = pre
	} else {
		under = networkTransport(n.cfg)
		where = func(id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress {
			return dialTarget(string(id), n.members.AddressOr(id, configured))
		}
	}
	n.transport = newTransport(under, where, n)
	n.leadership.notify = make(chan bool, 64)
	n.leadership.changed, n.leadership.done = make(chan struct{}, 1), make(chan struct{})
	rc := n.cfg.raftConfig(n.serverID)
	rc.NotifyCh = n.leadership.notify
	if n.identity.Record().Removed {
		rc.HeartbeatTimeout, rc.ElectionTimeout = disabledTimeout, disabledTimeout
		n.timeouts.electionsDisabled = true
	}
	n.replica = &replica{machine: n.machine, applied: n.applied, progress: &n.progress, took: &n.timings.Apply}
	err = disk.RecoverFaults(n.cfg.Dir, func() (err error) {
		n.raft, err = raft.NewRaft(rc, n.replica, n.stores.Log, n.stores.Stable, n.stores.Snapshots, n.transport)
		return err
	})
	if err != nil {
		return errors.Join(err, n.stores.Snapshots.OpenError())
	}
	n.members.Attach(n.raft, &n.futures)
	n.running.Store(true)
	return nil
}

// startLoops starts everything that needs raft.
func (n *Node) startLoops() {
	n.queue = newQueue(n)
	n.reads.init(n)
	n.registerHandlers()
	n.spawn(n.recordLeadership)
	n.spawn(n.leaderLoop)
	n.spawn(n.watchLeaders)
	n.spawn(n.watchLeaderStreams)
	n.spawn(n.watchOpenedStreams)
	n.members.Start()
	n.spawn(n.contactLoop)
	n.spawn(n.catchUpOnce)
	if n.cfg.Port != nil {
		n.spawn(n.closeRefused)
	}
	n.WhileLeading("autopilot", n.members.Autopilot)
	s := n.raft.GetConfiguration().Configuration()
	n.log.Info("coordinator started", "server", n.serverID, "address", n.self.Address, "cluster", n.identity.Cluster(),
		"servers", len(s.Servers), "last_index", n.raft.LastIndex(), "log_store", n.stores.Kind, "pre_vote", true)
}

// spawn runs f in a goroutine that Close waits for, unless it is too late.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done {
		return false
	}
	n.wg.Go(f)
	return true
}

// Close hands leadership over, stops raft and closes the data directory. The
// server stays a member: it is expected back. Proposals under way are answered
// first. When ctx ends before that is done, or before raft has stopped, the
// files stay open: only the end of the process frees them.
func (n *Node) Close(ctx context.Context) error {
	n.closeOnce.Do(func() { n.closeErr = n.close(ctx) })
	return n.closeErr
}

func (n *Node) close(ctx context.Context) error {
	// Not ready from now on, so that no client comes that would have to be refused.
	n.draining.Store(true)
	// A leader that vanishes costs everybody an election timeout.
	if n.shouldHandOver() {
		hand, cancel := context.WithTimeout(ctx, 2*n.cfg.ElectionTimeout+time.Second)
		err := n.handOver(hand, n.members.Successor())
		if err != nil && n.raft.State() == raft.Leader {
			err = n.handOver(hand, "") // to whoever has the whole log
		}
		if err != nil {
			n.log.Warn("leadership could not be handed over", "error", err)
		}
		cancel()
	}
	// Futures of raft may never answer after its shutdown, so they come first.
	// A leader without a quorum steps down, which answers them too.
	n.queue.close(ctx)
	n.leadership.close()
	select {
	case <-n.queue.idle:
	default:
		n.stop()
		return fmt.Errorf("writes are still under way: %w", context.Cause(ctx))
	}
	if err := n.futures.Wait(ctx); err != nil {
		n.stop()
		return fmt.Errorf("raft has not answered: %w", err)
	}
	down := make(chan struct{})
	go func() {
		defer close(down)
		n.raft.Shutdown().Error() // waits for raft's goroutines, then closes the transport
	}()
	n.stop()
	n.mu.Lock()
	n.done = true
	n.mu.Unlock()
	n.wg.Wait()
	select {
	case <-down:
	case <-ctx.Done():
		// The storage may still be in use: closing it under raft would be worse.
		return fmt.Errorf("raft did not stop: %w", context.Cause(ctx))
	}
	if last, err := n.stores.Log.LastIndex(); err == nil && n.failure.Load() == nil {
		if err := n.identity.Update(func(l *disk.SelfRecord) { l.Last = last }); err != nil {
			n.log.Error("the end of the log could not be noted", "error", err)
		}
	}
	return errors.Join(n.stores.Close(), n.identity.Close())
}

// leading returns the term in which this server leads and has applied an entry
// of its own. Before that it may not know all that was committed earlier. The
// term cannot rise while raft is leader, so reading it twice pins the state.
func (n *Node) leading() (term uint64, ok bool) {
	term = n.raft.CurrentTerm()
	_, applied := n.applied.current()
	ok = n.raft.State() == raft.Leader && applied == term && n.raft.CurrentTerm() == term && n.failure.Load() == nil
	return term, ok
}

// ownTerm is the term of this server; also while raft is being made, which takes
// requests before it is handed out.
func (n *Node) ownTerm() uint64 {
	if n.running.Load() {
		return n.raft.CurrentTerm()
	}
	term, err := n.stores.Stable.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return 0 // it has none yet
	}
	return term
}

// leader is where the leader is; here says that it is this server.
func (n *Node) leader() (serverID, addr string, here bool, err error) {
	a, id := n.raft.LeaderWithID()
	switch {
	case id == "":
		return "", "", false, wire.NotTried("no leader is known")
	case string(id) == n.serverID:
		return n.serverID, n.self.Address, true, nil
	}
	addr, ok := n.members.Address(string(id))
	if !ok {
		addr = string(a)
	}
	return string(id), addr, false, nil
}

// retry repeats try while it says that nothing was tried, until the patience
// or ctx is at its end: leaders change, and most callers are better off late.
func (n *Node) retry(ctx context.Context, try func() error) error {
	began := time.Now()
	err := try()
	if err == nil || !outcome.NotTried(err) {
		return err // nearly always: no timer is made for it
	}
	end := time.NewTimer(n.cfg.Patience - time.Since(began))
	defer end.Stop()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		select {
		case <-time.After(pause):
		case <-end.C:
			return err
		case <-ctx.Done():
			return err
		case <-n.ctx.Done():
			return errClosed
		}
		if err = try(); err == nil || !outcome.NotTried(err) {
			return err
		}
	}
}

var errClosed = wire.NotTried("this coordinator is stopping")

// LeaderInfo names the leader as far as this node knows; empty strings when it
// knows none. The term is this node's, and the leader's if one is named: raft
// forgets the leader before it begins another term, so a leader seen between
// two looks at the same term is of that term.
func (n *Node) LeaderInfo() (id, serverID, addr string, term uint64) {
	for {
		term = n.raft.CurrentTerm()
		serverID, addr, _, err := n.leader()
		switch {
		case n.raft.CurrentTerm() != term:
		case err != nil:
			return "", "", "", term
		default:
			return disk.CoordinatorID(serverID), serverID, addr, term
		}
	}
}

// IsLeader reports whether this node leads and has applied an entry of its own
// term. It may be wrong a moment later.
func (n *Node) IsLeader() bool {
	_, ok := n.leading()
	return ok
}

// ServerID is the raft server id, name/incarnation.
func (n *Node) ServerID() string { return n.serverID }

// Incarnation tells two disks of one coordinator apart.
func (n *Node) Incarnation() string { return n.identity.Incarnation() }

// ClusterID is "" until the cluster is founded or joined.
func (n *Node) ClusterID() string { return n.identity.Cluster() }

// AppliedIndex is how far this process's machine is.
func (n *Node) AppliedIndex() uint64 {
	index, _ := n.applied.current()
	return index
}
