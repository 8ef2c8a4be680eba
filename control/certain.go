package control

import (
	"context"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// Certain answers what look finds. A yes is taken from the view of now; a no
// counts only from a view that is at least as new as the call, since this
// coordinator may be behind. All who ask meanwhile share one read of the
// leader, so that requests with made-up secrets do not cost a round each. Errors:
// those of look, and unavailable when nobody newer can be asked.
func Certain[R any](ctx context.Context, c *Core, look func(*fsm.State) (R, error)) (R, error) {
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
