package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// Read says how fresh an answer must be. The zero value is the default
// strength at any index.
type Read struct {
	Consistency string // stale, default or strict; "" is default
	// Index: without Wait the answer is at least as new as Index.
	Index uint64
	// Wait: with an Index, block until what is read has changed after it, at most
	// this long (capped at 10 minutes); then answer with what is there. There is
	// nothing to wait for when Index is none of this cluster's history.
	Wait time.Duration
	// Cluster, if not "", is the id of the cluster that Index is of. An index of
	// another cluster asks for nothing.
	Cluster string
}

// Part is what of the state a read is about: Read.Wait ends by its changes
// alone.
type Part struct {
	Resource fsm.Resource
	// ChangedAt, if given, returns more exactly at which index it changed last.
	ChangedAt func(*fsm.State) uint64
}

// Fresh is how fresh an answer is.
type Fresh struct {
	Index       uint64 // of the view it was read from, or of the write
	Leader      string // id; "" when none is known
	Consistency string
	// StaleMs bounds the age of the view: so long ago it certainly was the newest.
	// -1 when this coordinator does not know.
	StaleMs int64
	// Filtered: the principal does not see all there is, so that something may
	// have been left out.
	Filtered bool
}

// ReadTimeout bounds the round of a read, and LongestWait what Read.Wait may be.
const (
	ReadTimeout = 5 * time.Second
	LongestWait = 10 * time.Minute
)

// View returns a frozen state that is as fresh as asked. It blocks for the
// read round and for Read.Wait. Errors: invalid (consistency), unavailable.
func (c *Core) View(ctx context.Context, r Read) (*fsm.State, Fresh, error) {
	return c.ViewOf(ctx, r, Part{})
}

// ViewOf is View of which a part is read.
func (c *Core) ViewOf(ctx context.Context, r Read, p Part) (*fsm.State, Fresh, error) {
	strength, err := consistency(r.Consistency)
	if err != nil {
		return nil, Fresh{}, err
	}
	atLeast := r.Index
	if c.foreign(r.Cluster) {
		atLeast = 0
	} else if r.Wait > 0 && r.Index > 0 {
		atLeast = 0
		waiting, cancel := context.WithTimeout(ctx, min(r.Wait, LongestWait))
		err := c.changed(waiting, p, r)
		cancel()
		if err != nil && ctx.Err() != nil {
			return nil, Fresh{}, wire.NotTried("the read was given up: %v", ctx.Err())
		}
	}
	asking, cancel := context.WithTimeout(ctx, ReadTimeout)
	defer cancel()
	f, err := c.replica.Ready(asking, strength, atLeast)
	if err != nil {
		var known *wire.Error
		if errors.As(err, &known) {
			return nil, Fresh{}, known
		}
		return nil, Fresh{}, wire.NotTried("no %s read now: %v", strength, err)
	}
	view := c.machine.View()
	leader, _, _ := strings.Cut(f.Leader, "/") // of a server id the name
	return view, Fresh{Index: view.Index, Leader: leader, Consistency: string(f.Consistency), StaleMs: f.StaleMs}, nil
}

// ViewFor is ViewOf for a principal that has the right: what it may read of it is
// judged once more behind the wait, which also ends when its token does. Errors
// also: unauthorized, forbidden.
func (c *Core) ViewFor(ctx context.Context, who Principal, right Right, r Read, p Part) (*fsm.State, VisibleNamespaces, Fresh, error) {
	if r.Wait > 0 {
		held, release := c.Hold(ctx, who)
		defer release()
		ctx = held
	}
	view, fresh, err := c.ViewOf(ctx, r, p)
	visible, refusal := c.Readable(who, right)
	if refusal != nil {
		return nil, visible, fresh, refusal
	}
	fresh.Filtered = !visible.All()
	return view, visible, fresh, err
}

// changed blocks until a part of the state has changed after the index that was
// read, or that index turns out to be none of this cluster's history.
func (c *Core) changed(ctx context.Context, p Part, r Read) error {
	for {
		known, unsure := c.knows(ctx, r.Cluster, r.Index)
		if unsure == nil && !known {
			return nil
		}
		if unsure == nil {
			break
		}
		if !Sleep(ctx, unsurePause) {
			return ctx.Err()
		}
	}
	for after := r.Index; ; {
		if err := c.machine.WaitFor(ctx, p.Resource, after+1); err != nil || p.ChangedAt == nil {
			return err
		}
		view := c.machine.View()
		if p.ChangedAt(view) > r.Index {
			return nil
		}
		after = view.Changed(p.Resource)
	}
}

// Leads returns the id of the leader as known here, "" when none is.
func (c *Core) Leads() string {
	id, _, _, _ := c.replica.LeaderInfo()
	return id
}

func consistency(s string) (raftnode.Consistency, error) {
	switch s {
	case "":
		return raftnode.Default, nil
	case string(raftnode.Stale), string(raftnode.Default), string(raftnode.Strict):
		return raftnode.Consistency(s), nil
	}
	return "", wire.Invalid("consistency", "consistency is stale, default or strict, not %q", s)
}

// ReadError is WriteError for what changes nothing: an error without a code is
// unavailable.
func ReadError(err error) error {
	if wire.CodeOf(err) == wire.CodeInternal {
		return wire.NotTried("%v", err)
	}
	return err
}
