package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// touch is until when this server may promise things that a leader ends once it
// has not heard of the server for long enough, such as leases of sessions.
//
// A strict round that this server began at time t and that a leader answered
// proves two things: that leader heard of this server at t or later, and nobody
// newer had been elected by t, so whoever is elected begins to count later still.
// A leader that waits from when it heard of the server, and not from before its own
// election, for TouchTime and then for the time promised, is therefore never
// earlier than a promise made before t plus TouchTime. Nothing is compared between
// clocks of different machines but how long something took. The time in which this
// process was stopped counts: it runs for the others as well.
type touch struct {
	mu    sync.Mutex
	until time.Time
}

func (t *touch) extend(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until.After(t.until) {
		t.until = until
	}
}

func (t *touch) holds(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.until)
}

// TouchTime is how long after a leader heard of it a coordinator may be InTouch.
func (n *Node) TouchTime() time.Duration { return n.contacts.patience }

// InTouch tells whether whoever leads, now or from now on, counts this coordinator
// as heard of within TouchTime. It does not block.
func (n *Node) InTouch() bool { return n.touch.holds(time.Now()) }

// WaitInTouch waits until InTouch holds. The error is unavailable when that is not
// so before ctx, or the patience with missing leaders, ends.
func (n *Node) WaitInTouch(ctx context.Context) error {
	if n.InTouch() {
		return nil
	}
	err := n.insist(ctx, func() error {
		_, err := n.reads.mark(ctx, Strict)
		return asNotTried(err)
	})
	if err != nil {
		return wire.NotTried("coordinator %s is out of touch with the cluster, which may give its components' names to others: %v", n.cfg.ID, err)
	}
	return nil
}

// inTouch notes a strict round that began then and was answered.
func (n *Node) inTouch(began time.Time) { n.touch.extend(began.Add(n.TouchTime())) }

// keepInTouch begins a round every second, and sooner after one that failed, until
// the node closes. No reader shares it, so that none waits for one that began before
// it came.
func (n *Node) keepInTouch() {
	tick := time.NewTicker(n.cfg.Ping)
	defer tick.Stop()
	for {
		var soon <-chan time.Time
		if n.member() && n.touchOnce() != nil { // what fails now may be well in a moment
			soon = time.After(n.cfg.Ping / 5)
		}
		select {
		case <-tick.C:
		case <-soon:
		case <-n.ctx.Done():
			return
		}
	}
}

// touchOnce is one such round.
func (n *Node) touchOnce() (err error) {
	ctx, cancel := context.WithTimeout(n.ctx, roundTime)
	defer cancel()
	if n.raft.State() == raft.Leader {
		_, err = n.readIndex(ctx)
	} else {
		_, err = n.askLeader(ctx, Strict)
	}
	return err
}
