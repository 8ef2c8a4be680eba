package control

import (
	"context"
	"encoding/json"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Vouched is a Control for a door that keeps a connection for each session and
// so knows who speaks: its methods ask for no secret. The session must be at
// home here.
type Vouched struct{ *Control }

// Vouched is for such a door.
func (c *Control) Vouched() Vouched { return Vouched{c} }

// State returns the view of now, whatever its age.
func (c Vouched) State() *fsm.State { return c.machine.View() }

// Changed is closed at the next change of the view.
func (c Vouched) Changed() <-chan struct{} { return c.machine.Feed().Changed() }

// KeepAlive lets the leases of sessions run anew, as a heartbeat of each would.
func (c Vouched) KeepAlive(sessions ...string) {
	for _, id := range sessions {
		c.leases.Renew(id)
	}
}

// TakeMail waits for messages to the session numbered above after and returns
// at most max of them; those up to after are acknowledged and forgotten. The
// caller does not change them. Errors: not_found (the session ended, with the
// reason, or is not at home here), conflict (another reader took over), and
// ctx's own.
func (c Vouched) TakeMail(ctx context.Context, full, session string, after uint64, max int) ([]Mailed, error) {
	got, err := c.mail.Receive(ctx, session, after, max)
	if wire.CodeOf(err) == wire.CodeNotFound {
		c.settle(full, "") // it may have signed in just now
		got, err = c.mail.Receive(ctx, session, after, max)
	}
	if wire.CodeOf(err) == wire.CodeNotFound {
		err = c.unread(ctx, session)
	}
	return got, err
}

// Post sends a message as it stands; the caller vouches for its sender. It
// does not block. done (nil: not told) is called exactly once, perhaps before
// Post returns, and must not block; its error is as of Send. more tells that
// another one is posted at once.
func (c Vouched) Post(m wire.Message, more bool, done func(error)) {
	c.mail.Post(m, more, func(err error) {
		if done != nil {
			done(asWire(err))
		}
	})
}

// PostLinked is Post for a sender who waits no longer than a moment: where the
// receiver's home cannot be reached, done is told unavailable after linkWait.
func (c Vouched) PostLinked(m wire.Message, linkWait time.Duration, more bool, done func(error)) {
	c.mail.PostLinked(m, linkWait, more, func(err error) { done(asWire(err)) })
}

// EndSessions ends sessions whose connections are gone, in one write. Fences
// that are stale by then change nothing. Errors: unavailable, unknown.
func (c Vouched) EndSessions(ctx context.Context, sessions []registry.Fence, reason string) error {
	gone, _, err := propose.Do[[]string](ctx, c.proposer, registry.KindExpire, c.self.ID, registry.Expire{Sessions: sessions, Reason: reason})
	for _, full := range gone {
		c.settle(full, "")
	}
	return err
}

// CallAs is Call for the session.
func (c Vouched) CallAs(ctx context.Context, s registry.Session, method string, params json.RawMessage) (any, uint64, error) {
	return c.call(ctx, s, method, params)
}
