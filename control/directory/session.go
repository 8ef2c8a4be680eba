package directory

import (
	"context"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// SignOut ends the session whose secret was presented and frees its name. It works
// at any coordinator, whether the home lives or not. It returns the index.
// Errors: unauthorized, forbidden, not_found (with the reason if the session
// ended before), unavailable, unknown.
func (d *Directory) SignOut(ctx context.Context, who control.Principal, full string) (uint64, error) {
	s, err := d.AuthorizeOwner(ctx, who, control.ComponentsWrite, full)
	if err != nil {
		return 0, err
	}
	return d.home.EndSession(ctx, home.SignsOut(who, s), s)
}

// RemoveComponent ends a session against its will. It stays removed: its
// secret does not take the name over any more. reason is shown to it and to
// others; "" is "removed by an operator". It returns the index. Errors:
// not_found, invalid, unavailable, unknown.
func (d *Directory) RemoveComponent(ctx context.Context, who control.Principal, full, reason string) (uint64, error) {
	if err := d.Authorize(who, control.Admin, control.ComponentThing(full)); err != nil {
		return 0, err
	}
	if reason == "" {
		reason = "removed by an operator"
	}
	if !control.PlainText(reason, 1024) {
		return 0, wire.Invalid("reason", "a reason is at most 1024 bytes of plain text")
	}
	for {
		// The one who has the name now, by a view that is as new as the request: a
		// repeat does not hit who comes after it.
		view, _, err := d.View(ctx, control.Read{Consistency: string(raftnode.Strict)})
		if err != nil {
			return 0, err
		}
		row, live := view.Registry.Session(full)
		if !live {
			return 0, wire.Refuse(wire.CodeNotFound, "%.600q is not signed in", full)
		}
		_, index, err := propose.Do[registry.Session](ctx, d.Proposer(), registry.KindRemove, who.Author(control.Admin, control.ComponentThing(full).Namespace),
			registry.Remove{FullName: full, Session: row.ID, Reason: reason})
		if wire.CodeOf(err) == wire.CodeNotFound {
			continue // it ended in between, and another may be signed in
		}
		if err == nil {
			d.home.Reconcile(full, "")
		}
		return index, err
	}
}
