package cluster

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// flushTime bounds how long a reader of the trail waits for what is recorded and not written yet.
const flushTime = 2 * time.Second

// mayReadAudit refuses who is no administrator. Unlike all else that needs that, the trail is read also while it cannot be
// written: that is when it is looked at. Errors: those of Authenticator.Authorize.
func (c *Cluster) mayReadAudit(who control.Principal) error {
	return c.Authenticator.Authorize(who, control.Admin, control.Thing{})
}

// Audit returns up to limit lines of this coordinator's audit trail behind number after, oldest first. It sees what was
// answered before it was called, but for reads, which are recorded within a minute. Errors: not_found (no trail is kept
// here), unavailable, internal (the files were changed).
func (c *Cluster) Audit(ctx context.Context, who control.Principal, after uint64, limit int) (wire.Audit, error) {
	if err := c.mayReadAudit(who); err != nil {
		return wire.Audit{}, err
	}
	trail := c.Trail()
	if trail == nil {
		return wire.Audit{}, wire.Refuse(wire.CodeNotFound, "coordinator %s keeps no audit trail: it was started with an empty --audit-dir", c.Self().ID)
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	_ = trail.Flush(ctx) // what is written can be read in any case
	page, err := trail.Read(after, limit)
	if err != nil {
		return wire.Audit{}, wire.Refuse(wire.CodeInternal, "read the audit trail: %v", err)
	}
	return wire.Audit{Coordinator: c.Self().ID, First: page.First, Last: page.Last, Lines: page.Lines, Next: page.Next}, nil
}

// AuditAnchors returns what the cluster was told of the audit trail of a coordinator, oldest first; "" is of this one.
// Errors: invalid, unavailable.
func (c *Cluster) AuditAnchors(ctx context.Context, who control.Principal, r control.Read, coordinator string) (wire.AuditAnchors, control.Fresh, error) {
	out := wire.AuditAnchors{Anchors: []wire.AuditAnchor{}}
	if err := c.mayReadAudit(who); err != nil {
		return out, control.Fresh{}, err
	}
	if coordinator == "" {
		coordinator = c.Self().ID
	}
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return out, fresh, err
	}
	for _, a := range view.Audit.Of(coordinator) {
		out.Anchors = append(out.Anchors, wire.AuditAnchor(a))
	}
	return out, fresh, nil
}
