package control

import (
	"context"
	"errors"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/wire"
)

// Trail is where it is recorded who asked for what; *trail.Trail is one. Record and Err do not block.
type Trail interface {
	Record(e audit.Event)
	// Err says why nothing can be recorded now; nil: it can.
	Err() error
	// Flush waits until what was recorded before can be read.
	Flush(ctx context.Context) error
	Read(after uint64, limit int) (audit.Page, error)
}

// Record records what was asked for at a door, and what came of it, and counts it if it was refused for want of a token
// or a right. It does not block. Without a trail it counts alone.
func (c *Core) Record(e audit.Event) {
	if code := wire.Code(e.Code); code == wire.CodeNotFound && e.Needs != "" { // refused in the words of what is not there
		c.refused.count(e.Door, wire.CodeForbidden)
	} else {
		c.refused.count(e.Door, code)
	}
	if c.trail != nil {
		c.trail.Record(e)
	}
}

// Trail returns this coordinator's trail; nil: it keeps none.
func (c *Core) Trail() Trail { return c.trail }

// Authorize refuses what a principal may not do, as Authenticator.Authorize says, and what must not be done without a
// record while none can be made. Errors: those of Authenticator.Authorize, unavailable.
func (c *Core) Authorize(who Principal, right Right, thing Thing) error {
	if err := c.Authenticator.Authorize(who, right, thing); err != nil {
		return err
	}
	if right == Admin || right == ClusterWrite {
		return c.Recordable()
	}
	return nil
}

// Recordable refuses what must not be done without a record while none can be made. Errors: unavailable.
func (c *Core) Recordable() error {
	if c.trail == nil {
		return nil
	}
	if err := c.trail.Err(); err != nil {
		return wire.NotTried("the audit trail of %s cannot be written, and this is not done without a record: %v", c.self.ID, err)
	}
	return nil
}

// Audited is the principal as a line of the trail names it.
func (p Principal) Audited() audit.Who {
	who := p.from.Audited()
	if p.token != "" {
		who.Token, who.Name = p.token, p.tokenName
	}
	return who
}

// WithTokenName returns the principal of a session with the name of its token, for the trail.
func (a *Authenticator) WithTokenName(who Principal) Principal {
	if who.tokenName == "" {
		who.tokenName = a.tokenName(who.token)
	}
	return who
}

// Audited is the caller as a line of the trail names it, whether or not it was let in.
func (from Credentials) Audited() audit.Who {
	who := audit.Who{Name: from.Name, Remote: from.Remote}
	if cert := from.Certificate; cert != nil {
		who.Certificate = cert.Subject.String()
		if len(cert.URIs) > 0 {
			who.Certificate = cert.URIs[0].String()
		}
	}
	return who
}

// AuditDoor is the door of a principal as a line of the trail names it.
func (p Principal) AuditDoor() string {
	switch p.Door() {
	case DoorNative:
		return audit.DoorNative
	case DoorLECO:
		return audit.DoorLECO
	}
	return audit.DoorHTTP
}

// Audited fills in what came of an event: err, or nil where it was done at index (0: nothing was written).
func Audited(e audit.Event, index uint64, err error) audit.Event {
	e.Index, e.Outcome = index, audit.Done
	if err == nil {
		return e
	}
	code := wire.CodeOf(err)
	e.Index, e.Code, e.Needs = 0, string(code), HiddenNeed(err)
	var refusal *wire.Error
	if errors.As(err, &refusal) {
		if refusal.Needs != "" {
			e.Needs = refusal.Needs
		}
		if e.Who.Token == "" {
			e.Who.Token = refusal.Token
		}
	}
	switch code {
	case wire.CodeUnavailable:
		e.Outcome = audit.NotTried
	case wire.CodeUnknown, wire.CodeInternal:
		e.Outcome = audit.Unknown
	default:
		e.Outcome = audit.Refused
	}
	if code == wire.CodeUnauthorized {
		// Whoever has no token could make up as many targets as fill the trail.
		e.Target = ""
	}
	return e
}
