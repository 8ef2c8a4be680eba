package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// leaderContact is until when this server may promise things that a leader ends once it
// has had no contact with the server for long enough, such as leases of sessions.
//
// A strict round that this server began at time t and that a leader answered
// proves two things: that leader had contact with this server at t or later, and no newer
// leader had been elected by t, so a leader elected later begins to count later still.
// A leader that waits from its last contact with the server, and not from before its own
// election, for ContactWindow and then for the time promised, is therefore never
// earlier than a promise made before t plus ContactWindow. Nothing is compared between
// clocks of different machines but how long something took. The time in which this
// process was stopped counts: it runs for the others as well.
type leaderContact struct {
	mu    sync.Mutex
	until time.Time
}

func (t *leaderContact) extend(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until.After(t.until) {
		t.until = until
	}
}

func (t *leaderContact) valid(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.until)
}

// ContactWindow is how long after a leader heard of it a coordinator may be InTouch.
func (n *Node) ContactWindow() time.Duration { return n.members.AnswerTimeout() }

// InTouch reports whether any leader, of now or later, counts a contact with this
// coordinator within ContactWindow. It does not block.
func (n *Node) InTouch() bool { return n.contact.valid(time.Now()) }

// WaitInTouch waits until InTouch holds. The error is unavailable when that is not
// so before ctx, or the patience with missing leaders, ends.
func (n *Node) WaitInTouch(ctx context.Context) error {
	if n.InTouch() {
		return nil
	}
	err := n.retry(ctx, func() error {
		_, err := n.reads.commitPoint(ctx, Strict)
		return asNotTried(err)
	})
	if err != nil {
		return wire.NotTried("coordinator %s is out of touch with the cluster, which may give its components' names to others: %v", n.cfg.ID, err)
	}
	return nil
}

// extendContact notes a strict round that began then and was answered.
func (n *Node) extendContact(began time.Time) { n.contact.extend(began.Add(n.ContactWindow())) }

// contactLoop begins a round every second, and sooner after one that failed, until
// the node closes. No reader shares it, so that none waits for one that began before
// it came.
func (n *Node) contactLoop() {
	tick := time.NewTicker(n.cfg.Ping)
	defer tick.Stop()
	for {
		var soon <-chan time.Time
		if n.members.IsMember() && n.contactRound() != nil { // what fails now may be well in a moment
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

// contactRound is one such round.
func (n *Node) contactRound() (err error) {
	ctx, cancel := context.WithTimeout(n.ctx, roundTimeout)
	defer cancel()
	if n.raft.State() == raft.Leader {
		_, err = n.confirmReadIndex(ctx)
	} else {
		_, err = n.requestReadIndex(ctx, Strict)
	}
	return err
}
