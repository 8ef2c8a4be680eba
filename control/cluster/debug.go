package cluster

import (
	"context"
	"io"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// WriteDebug writes what a coordinator knows of itself as one file, a tar.gz: how it is, its
// metrics, goroutines and heap, its settings and the last lines of its log; and with cpu above
// 0 what it was busy with for that long. No secret, message or script is in it. who is
// somebody who may do everything.
type WriteDebug func(ctx context.Context, who control.Principal, cpu time.Duration, w io.Writer) error

// Debug writes the file for whoever looks for a fault of this coordinator, to what start
// returns, which is called once the caller is known to have the right. Like the audit trail it
// is given out also while no line of that can be written: that may be the fault. Errors:
// unauthorized, forbidden, busy (one is being written), not_found (this coordinator has none);
// and whatever comes of start and of writing.
func (c *Cluster) Debug(ctx context.Context, who control.Principal, cpu time.Duration, start func() (io.Writer, error)) error {
	if err := c.Authenticator.Authorize(who, control.Admin, control.Thing{}); err != nil {
		return err
	}
	if c.debug == nil {
		return wire.Refuse(wire.CodeNotFound, "coordinator %s gives out nothing for debugging", c.Self().ID)
	}
	if !c.debugging.TryLock() {
		e := wire.Refuse(wire.CodeBusy, "coordinator %s is giving this out already, to another caller: one at a time", c.Self().ID)
		e.RetryAfter = 5 * time.Second
		return e
	}
	defer c.debugging.Unlock()
	w, err := start()
	if err != nil {
		return err
	}
	return c.debug(ctx, who, cpu, w)
}
