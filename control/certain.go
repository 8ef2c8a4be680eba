package control

import (
	"context"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// surely answers what look finds. A yes is taken from the view of now; a no
// counts only from a view that is at least as new as the call, since this
// coordinator may be behind. All who ask meanwhile share one read of the
// leader, so that whoever shows made-up secrets costs no round each. Errors:
// those of look, and unavailable when nobody newer can be asked.
func surely[R any](ctx context.Context, c *Control, look func(*fsm.State) (R, error)) (R, error) {
	out, err := look(c.machine.View())
	if err == nil {
		return out, nil
	}
	view, _, stale := c.View(ctx, Read{Consistency: string(raftnode.Strict)})
	if stale != nil {
		return out, wire.NotTried("%v: so it is known here, and nobody newer can be asked: %v", err, stale)
	}
	return look(view)
}

// atItsHome asks a session's home, wherever that is. The home as this view
// knows it may be one of before: then the session is followed, once for every
// move.
func atItsHome[R any](ctx context.Context, c *Control, s registry.Session, ask func(registry.Session) (R, error)) (R, error) {
	for {
		out, err := ask(s)
		if wire.CodeOf(err) != wire.CodeUnavailable || ctx.Err() != nil {
			return out, err
		}
		view, _, stale := c.View(ctx, Read{Consistency: string(raftnode.Strict)})
		if stale != nil {
			return out, err
		}
		now, live := view.Registry.SessionByID(s.ID)
		if !live || now.Epoch == s.Epoch && now.Home == s.Home {
			return out, err // who asks again learns that it has ended
		}
		s = now
	}
}
