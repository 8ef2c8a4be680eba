package raftnode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/wire"
)

// leadership is what happens beside raft's loop while this server leads.
type leadership struct {
	notify  chan bool     // written by raft, received at once by recordLeadership
	changed chan struct{} // wakes leaderLoop after a change
	done    chan struct{} // closed by end

	mu       sync.Mutex
	changes  uint64 // how often leadership came or went
	isLeader bool
	closed   bool
	term     *leaderTerm // the one under way
	tasks    []task
}

type task struct {
	name string
	run  func(ctx context.Context) error
}

// leaderTerm is one time of leadership. Its tasks end before the next begins.
type leaderTerm struct {
	node  *Node
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	ready bool // the barrier has passed: tasks start at once
}

// WhileLeading runs run whenever this server leads and its machine has all
// that was committed before; ctx ends when it does not lead any more. An error
// that is not ctx's own hands leadership over, for another server may fare
// better; nil ends the task for this term.
func (n *Node) WhileLeading(name string, run func(ctx context.Context) error) {
	t := &n.leadership
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tasks = append(t.tasks, task{name, run})
	if t.term != nil && t.term.ready {
		t.term.startTask(task{name, run})
	}
}

// recordLeadership takes raft's notes and never does anything that could block: raft
// waits for it.
func (n *Node) recordLeadership() {
	t := &n.leadership
	for {
		select {
		case isLeader := <-t.notify:
			t.mu.Lock()
			t.changes++
			t.isLeader = isLeader
			t.mu.Unlock()
			wake(t.changed)
		case <-n.ctx.Done():
			return
		}
	}
}

// wake wakes the goroutine that waits on c, now or later.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// leaderLoop starts and ends leaderTerms.
func (n *Node) leaderLoop() {
	t := &n.leadership
	var seen uint64
	for {
		t.mu.Lock()
		changes, isLeader, closed, old := t.changes, t.isLeader, t.closed, t.term
		t.mu.Unlock()
		if changes != seen || closed {
			if old != nil {
				old.stop()
				old.wg.Wait()
			}
			var next *leaderTerm
			if isLeader && !closed {
				next = n.newLeaderTerm()
			}
			t.mu.Lock()
			t.term = next
			t.mu.Unlock()
			seen = changes
			if next != nil {
				next.wg.Go(next.start)
			}
		}
		if closed {
			close(t.done)
			return
		}
		<-t.changed
	}
}

// close ends leadership for good and waits for its tasks.
func (t *leadership) close() {
	t.mu.Lock()
	t.closed = true
	if t.term != nil {
		t.term.stop()
	}
	t.mu.Unlock()
	wake(t.changed)
	<-t.done
}

func (n *Node) newLeaderTerm() *leaderTerm {
	r := &leaderTerm{node: n}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// start writes an empty entry of the own term, waits until the machine has it,
// and starts the tasks. The library's own first entry would not do: it never
// reaches a machine.
func (r *leaderTerm) start() {
	n := r.node
	for {
		err := n.futures.Await(r.ctx, n.raft.Apply(nil, time.Second))
		if _, ok := n.leading(); ok && err == nil {
			break
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	n.log.Info("this coordinator leads", "server", n.serverID, "term", n.raft.CurrentTerm(), "index", n.AppliedIndex())
	n.leadership.mu.Lock()
	defer n.leadership.mu.Unlock()
	r.ready = true
	for _, t := range n.leadership.tasks {
		r.startTask(t)
	}
}

// startTask runs one task until it returns nil or the term is over.
func (r *leaderTerm) startTask(t task) {
	r.wg.Go(func() {
		for {
			err := t.run(r.ctx)
			if err == nil || r.ctx.Err() != nil {
				return
			}
			r.node.log.Error("a task of the leader failed, handing leadership over", "task", t.name, "error", err)
			if err := r.node.handOver(r.ctx, ""); err != nil && r.ctx.Err() == nil {
				r.node.log.Warn("leadership could not be handed over", "error", err)
			}
			select {
			case <-r.ctx.Done():
				return
			case <-time.After(time.Second): // nobody else can lead: try again
			}
		}
	})
}

// shouldHandOver reports whether this server leads and another could.
func (n *Node) shouldHandOver() bool {
	return n.raft.State() == raft.Leader && n.members.OtherVoters() > 0 && n.failure.Load() == nil
}

// handOverPause is the pause between two tries to hand leadership over.
const handOverPause = 100 * time.Millisecond

// HandOver gives leadership away, to a voter that is well and has room on its volume before any other, and tries again until
// that is done or ctx ends: its error is then the last try's. Nil, too, when this server does not lead, or
// nobody else has a vote. For a server that will stop: it goes on as a follower.
func (n *Node) HandOver(ctx context.Context) (err error) {
	for to := n.members.Successor(); n.shouldHandOver(); to = "" { // if that fails to whoever has the whole log
		if err = n.handOver(ctx, to); err == nil {
			return nil
		}
		select {
		case <-time.After(handOverPause):
		case <-ctx.Done():
			return err
		}
	}
	return nil
}

// HandOverForRoom gives leadership to another voter that is well and whose volume is not full. It tries once; done says
// whether this server led and leads no more. Without such a voter nothing is tried, so that among servers that are all
// full nobody hands over.
func (n *Node) HandOverForRoom(ctx context.Context) (done bool, err error) {
	if _, leads := n.leading(); !leads {
		return false, nil
	}
	to := n.members.SuccessorWithRoom()
	if to == "" {
		return false, nil
	}
	err = n.handOver(ctx, to)
	return err == nil, err
}

// LeaderDisk is the volume of the leader, as it said lately; nil while there is no leader, or its space is not known.
func (n *Node) LeaderDisk() (id string, space *wire.DiskSpace) {
	serverID, _, here, err := n.leader()
	switch {
	case err != nil:
		return "", nil
	case here && n.cfg.Disk != nil:
		space = n.cfg.Disk()
	case !here && n.members.Answers(serverID):
		h, _ := n.members.LastHello(serverID)
		space = h.Disk
	}
	return disk.CoordinatorID(serverID), space
}

// handOver gives leadership to the server with that id, or to the best
// follower if it is "". After nil this server does not lead any more.
func (n *Node) handOver(ctx context.Context, serverID string) error {
	// Voters may elect the successor before their promises to us are over.
	n.lease.revoke(n.raft.CurrentTerm())
	var f raft.Future
	if serverID == "" {
		f = n.raft.LeadershipTransfer()
	} else {
		s, ok := n.members.Server(serverID)
		if !ok {
			return wire.Refuse(wire.CodeNotFound, "%s is no member", serverID)
		}
		f = n.raft.LeadershipTransferToServer(s.ID, s.Address)
	}
	err := n.futures.Await(ctx, f)
	switch {
	case err == nil:
		n.log.Info("leadership was handed over", "to", serverID)
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return outcome.ErrNotLeader
	}
	return wire.NotTried("leadership was not handed over: %v", err)
}
