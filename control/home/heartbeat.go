package home

import (
	"context"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Heartbeat lets the session's lease run anew. It is judged at the session's
// home; elsewhere it costs one call to it. Errors: unauthorized, forbidden,
// not_found (with the reason), unavailable (the home is not reached, or is out of
// touch with the cluster: take the name over).
func (h *Home) Heartbeat(ctx context.Context, who control.Principal, full string) (wire.Beat, error) {
	s, err := h.AuthorizeOwner(ctx, who, control.ComponentsWrite, full)
	if err != nil {
		return wire.Beat{}, err
	}
	return atItsHome(ctx, h, s, func(s registry.Session) (wire.Beat, error) { return h.Beat(ctx, s) })
}

// Beat is Heartbeat for a session that is known, at its home as the row has it.
func (h *Home) Beat(ctx context.Context, s registry.Session) (wire.Beat, error) {
	if s.Home != h.Self().ID {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return askHome[wire.Beat](ctx, h, s.Home, "control.heartbeat", beatAt{Session: s.ID})
	}
	if err := h.Replica().WaitInTouch(ctx); err != nil {
		return wire.Beat{}, err
	}
	if err := h.RenewLease(s); err != nil {
		return wire.Beat{}, err
	}
	return wire.Beat{FullName: s.FullName, Session: s.ID, Home: h.Self().ID, Lease: wire.Duration(s.Lease)}, nil
}

// RenewLease is Alive for a sign of life whose answer says that the lease runs
// anew. Errors: unavailable (the session is about to end).
func (h *Home) RenewLease(s registry.Session) error {
	h.Alive(s)
	if h.leases.Ending(s.ID) {
		return LeaseEnding(s)
	}
	return nil
}

// LeaseEnding refuses to promise a lease to a session whose end is on its way. Soon it
// has ended, or is known to live on.
func LeaseEnding(s registry.Session) *wire.Error {
	return wire.NotTried("the lease of %s ran out, and its session is being ended", s.FullName)
}

// Alive lets the lease of a session at home here run anew: every request of
// its own is a sign of life.
func (h *Home) Alive(s registry.Session) {
	if !h.leases.Renew(s.ID) {
		h.Reconcile(s.FullName, s.ID) // the loop has not come to it yet: this grants the lease
	}
}
