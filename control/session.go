package control

import (
	"context"

	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// SignOut ends the session whose secret was presented and frees its name. It works
// at any coordinator, whether the home lives or not. It returns the index.
// Errors: unauthorized, forbidden, not_found (with the reason if the session
// ended before), unavailable, unknown.
func (c *Control) SignOut(ctx context.Context, who Principal, full string) (uint64, error) {
	s, err := c.authorizeOwner(ctx, who, ComponentsWrite, full)
	if err != nil {
		return 0, err
	}
	return c.signOut(ctx, s)
}

func (c *Control) signOut(ctx context.Context, s registry.Session) (uint64, error) {
	_, index, err := propose.Do[struct{}](ctx, c.proposer, registry.KindSignOut, s.FullName, registry.SignOut{FullName: s.FullName, Session: s.ID})
	if err == nil {
		c.settle(s.FullName, s.ID)
	}
	return index, err
}

// Heartbeat lets the session's lease run anew. It is judged at the session's
// home; elsewhere it costs one call to it. Errors: unauthorized, forbidden,
// not_found (with the reason), unavailable (the home is not reached, or is out of
// touch with the cluster: take the name over).
func (c *Control) Heartbeat(ctx context.Context, who Principal, full string) (wire.Beat, error) {
	s, err := c.authorizeOwner(ctx, who, ComponentsWrite, full)
	if err != nil {
		return wire.Beat{}, err
	}
	return atItsHome(ctx, c, s, func(s registry.Session) (wire.Beat, error) { return c.beat(ctx, s) })
}

func (c *Control) beat(ctx context.Context, s registry.Session) (wire.Beat, error) {
	if s.Home != c.self.ID {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return askHome[wire.Beat](ctx, c, s.Home, "control.heartbeat", beatAt{Session: s.ID})
	}
	if err := c.node.WaitInTouch(ctx); err != nil {
		return wire.Beat{}, err
	}
	c.alive(s)
	if c.leases.Ending(s.ID) {
		return wire.Beat{}, c.ending(s)
	}
	return wire.Beat{FullName: s.FullName, Session: s.ID, Home: c.self.ID, Lease: wire.Duration(s.Lease)}, nil
}

// ending refuses to promise a lease to a session whose end is on its way. Soon it
// has ended, or is known to live on.
func (c *Control) ending(s registry.Session) *wire.Error {
	return wire.NotTried("the lease of %s ran out, and its session is being ended", s.FullName)
}

// alive lets the lease of a session at home here run anew: every request of
// its own is a sign of life.
func (c *Control) alive(s registry.Session) {
	if !c.leases.Renew(s.ID) {
		c.settle(s.FullName, s.ID) // the loop has not come to it yet: this grants the lease
	}
}

// RemoveComponent ends a session against its will. It stays removed: its
// secret does not take the name over any more. reason is shown to it and to
// others; "" is "removed by an operator". It returns the index. Errors:
// not_found, invalid, unavailable, unknown.
func (c *Control) RemoveComponent(ctx context.Context, who Principal, full, reason string) (uint64, error) {
	if err := c.Authorize(who, Admin, componentThing(full)); err != nil {
		return 0, err
	}
	if reason == "" {
		reason = "removed by an operator"
	}
	if !label(reason, 1024) {
		return 0, wire.Invalid("reason", "a reason is at most 1024 bytes of plain text")
	}
	for {
		// The one who has the name now, by a view that is as new as the request: a
		// repeat does not hit who comes after it.
		view, _, err := c.View(ctx, Read{Consistency: string(raftnode.Strict)})
		if err != nil {
			return 0, err
		}
		row, live := view.Registry.Session(full)
		if !live {
			return 0, wire.Refuse(wire.CodeNotFound, "%.600q is not signed in", full)
		}
		_, index, err := propose.Do[registry.Session](ctx, c.proposer, registry.KindRemove, who.Name(),
			registry.Remove{FullName: full, Session: row.ID, Reason: reason})
		if wire.CodeOf(err) == wire.CodeNotFound {
			continue // it ended in between, and another may be signed in
		}
		if err == nil {
			c.settle(full, "")
		}
		return index, err
	}
}
