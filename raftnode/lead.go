package raftnode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// throne is what happens beside raft's loop while this server leads.
type throne struct {
	notify chan bool     // written by raft, read at once by record
	turn   chan struct{} // wakes rule after a turn
	over   chan struct{} // closed by end

	mu    sync.Mutex
	turns uint64 // how often leadership came or went
	held  bool
	ended bool
	reign *reign // the one under way
	tasks []task
}

type task struct {
	name string
	run  func(ctx context.Context) error
}

// reign is one time of leadership. Its tasks end before the next begins.
type reign struct {
	node *Node
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	open bool // the barrier has passed: tasks start at once
}

// WhileLeading runs run whenever this server leads and its machine has all
// that was committed before; ctx ends when it does not lead any more. An error
// that is not ctx's own hands leadership over, for another server may fare
// better; nil ends the task for this reign.
func (n *Node) WhileLeading(name string, run func(ctx context.Context) error) {
	t := &n.throne
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tasks = append(t.tasks, task{name, run})
	if t.reign != nil && t.reign.open {
		t.reign.start(task{name, run})
	}
}

// record takes raft's notes and never does anything that could block: raft
// waits for it.
func (n *Node) record() {
	t := &n.throne
	for {
		select {
		case held := <-t.notify:
			t.mu.Lock()
			t.turns++
			t.held = held
			t.mu.Unlock()
			poke(t.turn)
		case <-n.ctx.Done():
			return
		}
	}
}

// poke wakes whoever waits on c, or will.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// rule begins and ends reigns.
func (n *Node) rule() {
	t := &n.throne
	var seen uint64
	for {
		t.mu.Lock()
		turns, held, ended, old := t.turns, t.held, t.ended, t.reign
		t.mu.Unlock()
		if turns != seen || ended {
			if old != nil {
				old.stop()
				old.wg.Wait()
			}
			var now *reign
			if held && !ended {
				now = n.begin()
			}
			t.mu.Lock()
			t.reign = now
			t.mu.Unlock()
			seen = turns
			if now != nil {
				now.wg.Go(now.enter)
			}
		}
		if ended {
			close(t.over)
			return
		}
		<-t.turn
	}
}

// end ends the reign for good and waits for its tasks.
func (t *throne) end() {
	t.mu.Lock()
	t.ended = true
	if t.reign != nil {
		t.reign.stop()
	}
	t.mu.Unlock()
	poke(t.turn)
	<-t.over
}

func (n *Node) begin() *reign {
	r := &reign{node: n}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// enter writes an empty entry of the own term, waits until the machine has it,
// and starts the tasks. The library's own first entry would not do: it never
// reaches a machine.
func (r *reign) enter() {
	n := r.node
	for {
		err := await(r.ctx, n.raft.Apply(nil, time.Second))
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
	n.throne.mu.Lock()
	defer n.throne.mu.Unlock()
	r.open = true
	for _, t := range n.throne.tasks {
		r.start(t)
	}
}

// start runs one task until it is content or the reign is over.
func (r *reign) start(t task) {
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

// handOver gives leadership to the server with that id, or to the best
// follower if it is "". After nil this server does not lead any more.
func (n *Node) handOver(ctx context.Context, serverID string) error {
	// Voters may elect the successor before their promises to us are over.
	n.lease.bar(n.raft.CurrentTerm())
	var f raft.Future
	if serverID == "" {
		f = n.raft.LeadershipTransfer()
	} else {
		s, ok := n.server(serverID)
		if !ok {
			return wire.Refuse(wire.CodeNotFound, "%s is no member", serverID)
		}
		f = n.raft.LeadershipTransferToServer(s.ID, s.Address)
	}
	err := await(ctx, f)
	switch {
	case err == nil:
		n.log.Info("leadership was handed over", "to", serverID)
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return errNotLeader
	}
	return wire.NotTried("leadership was not handed over: %v", err)
}
