package control

import (
	"context"

	"github.com/folkmoot/folkmoot/wire"
)

// Status describes this coordinator. It answers at once, from what is here,
// also without a leader.
func (c *Control) Status(ctx context.Context) (wire.Status, error) { return c.status(), nil }

// Digest returns the fingerprint of the replicated state: coordinators with
// the same index have the same digest. It costs a walk over the whole state.
// Errors: unavailable.
func (c *Control) Digest(ctx context.Context, r Read) (wire.Digest, Fresh, error) {
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Digest{}, fresh, err
	}
	return wire.Digest{Index: view.Index, Digest: view.Fingerprint()}, fresh, nil
}
