// Package control is the core of the use cases: who asks, what may be done, is there room, from which state an answer
// is read, and with what outcome a write ends. The use cases themselves are in the packages below it, by resource.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Config is what a Core is made of. Machine, Replica and Self are needed; the
// rest has defaults.
type Config struct {
	Machine       *fsm.Machine
	Replica       Replica
	Proposer      *propose.Proposer // the way of all writes; default one over Replica
	Peers         Peers             // nil: this coordinator is alone
	Self          registry.Coordinator
	Authenticator *Authenticator   // default: everybody may come in
	Trail         Trail            // of who asked for what; nil: none is kept
	Bounds        Bounds           // of what users can make the state grow to
	GrowthRefused func() error     // why nothing that makes the state grow may be written now (unavailable), nil if it may; nil: always
	Now           func() time.Time // default time.Now
	Random        io.Reader        // default crypto/rand
	Logger        *slog.Logger     // default: discard
}

// Core is what all use cases of one coordinator share. Its methods are safe for
// concurrent use.
type Core struct {
	*Authenticator

	machine *fsm.Machine
	replica Replica
	writes  *propose.Proposer
	peers   Peers
	self    registry.Coordinator
	bounds  Bounds
	refuses func() error // Config.GrowthRefused
	trail   Trail        // nil: none
	refused refusals
	now     func() time.Time
	random  io.Reader
	log     *slog.Logger
	started time.Time
}

// New returns the core of a coordinator.
func New(cfg Config) (*Core, error) {
	switch {
	case cfg.Machine == nil:
		return nil, errors.New("control: no machine")
	case cfg.Replica == nil:
		return nil, errors.New("control: no replica of the log")
	case cfg.Self.ID == "" || cfg.Self.Namespace == "":
		return nil, errors.New("control: this coordinator has no id or no namespace")
	}
	if cfg.Authenticator == nil {
		cfg.Authenticator = &Authenticator{}
	}
	if cfg.GrowthRefused == nil {
		cfg.GrowthRefused = func() error { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Proposer == nil {
		cfg.Proposer = propose.New(cfg.Replica, cfg.Now)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Core{
		Authenticator: cfg.Authenticator.of(cfg.Machine, cfg.Now, cfg.Self.Namespace),
		machine:       cfg.Machine, replica: cfg.Replica, writes: cfg.Proposer, peers: cfg.Peers, self: cfg.Self, bounds: cfg.Bounds.withDefaults(), refuses: cfg.GrowthRefused, trail: cfg.Trail,
		now: cfg.Now, random: cfg.Random, log: cfg.Logger, started: cfg.Now(),
	}, nil
}

// Name returns the full name of this coordinator's COORDINATOR.
func (c *Core) Name() string { return registry.FullName(c.self.Namespace, wire.Coordinator) }

// Self returns this coordinator's row as it announces itself.
func (c *Core) Self() registry.Coordinator { return c.self }

// State returns the view of now, whatever its age.
func (c *Core) State() *fsm.State { return c.machine.View() }

// Feed returns the feed of events of the view.
func (c *Core) Feed() *fsm.Feed { return c.machine.Feed() }

// Changed is closed at the next change of the view.
func (c *Core) Changed() <-chan struct{} { return c.machine.Feed().Changed() }

// WaitFor blocks until a resource of the state has changed at index or later, or
// ctx ends (its error).
func (c *Core) WaitFor(ctx context.Context, r fsm.Resource, index uint64) error {
	return c.machine.WaitFor(ctx, r, index)
}

// Replica returns the replicated log.
func (c *Core) Replica() Replica { return c.replica }

// Peers returns the calls to other coordinators; nil if this one is alone.
func (c *Core) Peers() Peers { return c.peers }

// Bounds returns what users can make the state grow to.
func (c *Core) Bounds() Bounds { return c.bounds }

// Now returns the wall clock's time.
func (c *Core) Now() time.Time { return c.now() }

// Started returns when this coordinator was put together.
func (c *Core) Started() time.Time { return c.started }

// Log returns where the coordinator logs to.
func (c *Core) Log() *slog.Logger { return c.log }

// Proposer returns the way of all writes; see propose.Do.
func (c *Core) Proposer() *propose.Proposer { return c.writes }

// Doors lists where native sessions are taken, this coordinator first. Errors:
// those of Authorize.
func (c *Core) Doors(who Principal) ([]wire.Door, error) {
	if err := c.Authorize(who, AnyRight, Thing{}); err != nil {
		return nil, err
	}
	list := make([]wire.Door, 1, 8)
	list[0] = wire.Door{ID: c.self.ID, Namespace: c.self.Namespace, Address: c.self.ComponentAddr}
	for row := range c.State().Registry.Coordinators() {
		if row.ID != c.self.ID {
			list = append(list, wire.Door{ID: row.ID, Namespace: row.Namespace, Address: row.ComponentAddr})
		}
	}
	return list, nil
}

// Nodes returns by namespace where each coordinator takes components, else where it
// takes its peers. Errors: those of Authorize.
func (c *Core) Nodes(who Principal) (map[string]string, error) {
	if err := c.Authorize(who, AnyRight, Thing{}); err != nil {
		return nil, err
	}
	nodes := map[string]string{}
	for row := range c.State().Registry.Coordinators() {
		nodes[row.Namespace] = row.ComponentAddr
		if row.ComponentAddr == "" {
			nodes[row.Namespace] = row.PeerAddr
		}
	}
	return nodes, nil
}

// NewConversation mints the id of a conversation.
func (c *Core) NewConversation() ([16]byte, error) {
	id, err := uuid.NewV7FromReader(c.random)
	if err != nil {
		return id, fmt.Errorf("mint a conversation id: %w", err)
	}
	return id, nil
}

// Sleep waits d or until ctx ends; it reports whether the whole time passed.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
