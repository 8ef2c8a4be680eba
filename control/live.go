package control

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// Exchange is what a door with connections of its own needs of the router
// beyond Mail; OverRouter offers it.
type Exchange interface {
	// Consume makes the caller the one who takes from a session's mailbox.
	Consume(session string, notify func(router.WriteMode)) (*router.Consumer, error)
	// PostWith sends without blocking; done is called exactly once, perhaps
	// before it returns, and must not wait.
	PostWith(m wire.Message, o router.PostOptions, done func(router.Outcome, error))
}

var _ Exchange = overRouter{}

// PostTime is how long a message that a door posts may take to its outcome.
const PostTime = 5 * time.Second

// Live is a session at home here that a door holds on a connection. Its
// methods are safe for concurrent use.
type Live struct {
	c        *Control
	exchange Exchange
	row      registry.Session
	own      string // the full name of COORDINATOR here
	who      Principal
}

// Enter signs a session in for a door, as SignIn does, and makes this its
// home. With Session and Secret of a session that is at home here already it
// is resumed: nothing is written, and resumed is true. Errors as of SignIn.
func (c *Control) Enter(ctx context.Context, who Principal, in wire.SignIn, key string) (live *Live, out wire.SignedIn, resumed bool, err error) {
	if in.Namespace == "" {
		in.Namespace = c.self.Namespace
	}
	if err := c.Authorize(who, ComponentsWrite, Thing{Namespace: in.Namespace}); err != nil {
		return nil, out, false, err
	}
	exchange, ok := c.mail.(Exchange)
	if !ok {
		return nil, out, false, wire.NotTried("this coordinator has no mailboxes for doors")
	}
	live = &Live{c: c, exchange: exchange, own: c.Name(), who: who}
	if row, ok := c.atHomeAlready(in); ok {
		if err := c.node.WaitInTouch(ctx); err != nil {
			return nil, out, false, err
		}
		live.row = row
		if !live.Promise() {
			return nil, out, false, c.ending(row)
		}
		return live, wire.SignedIn{
			FullName: row.FullName, Session: row.ID, Secret: in.Secret, Namespace: row.Namespace,
			Home: row.Home, Lease: wire.Duration(row.Lease), Index: row.Index, Attempt: row.Attempt,
		}, true, nil
	}
	out, err = c.signIn(ctx, who, in, key)
	if err != nil {
		return nil, out, false, err
	}
	row, ok := c.machine.View().Registry.SessionByID(out.Session)
	switch {
	case !ok:
		return nil, out, false, gone(c.machine.View().Registry, out.Session)
	case row.Home != c.self.ID:
		return nil, out, false, wire.Refuse(wire.CodeConflict, "%s was taken over by coordinator %s", row.FullName, row.Home)
	}
	live.row = row
	return live, out, false, nil
}

// atHomeAlready returns the session that in wants to go on with, if it is at
// home here and its secret is right. All else is for the log to judge: also an
// attempt that is late, and one with others between it and the last that was
// carried out, which must not be carried out after it.
func (c *Control) atHomeAlready(in wire.SignIn) (registry.Session, bool) {
	if in.Session == "" || len(in.Secret) > 256 {
		return registry.Session{}, false
	}
	if id, ok := sessionOf(in.Secret); !ok || id != in.Session {
		return registry.Session{}, false
	}
	row, err := check(c.machine.View().Registry, in.Session, in.Secret)
	if err != nil || row.Home != c.self.ID || row.FullName != registry.FullName(in.Namespace, in.Name) {
		return registry.Session{}, false
	}
	if in.Attempt > 0 && in.Attempt != row.Attempt+1 {
		return registry.Session{}, false
	}
	return row, true
}

// Abandon says that the session's process is gone without a sign-out: unless there
// is a sign of life within grace, the session ends.
func (l *Live) Abandon(grace time.Duration) {
	l.c.leases.Shorten(l.row.Fence(), grace, "its connection was closed without a sign-out")
}

// FullName is the session's.
func (l *Live) FullName() string { return l.row.FullName }

// Session is the session's id.
func (l *Live) Session() string { return l.row.ID }

// Lease is how long the session lives without a sign of life.
func (l *Live) Lease() time.Duration { return l.row.Lease }

// Coordinator is the full name of the COORDINATOR of this home.
func (l *Live) Coordinator() string { return l.own }

// Renew lets the lease run anew: a look-up in a map. It reports whether the
// session is still at home here; Gone says why not.
func (l *Live) Renew() bool {
	if l.c.leases.Renew(l.row.ID) {
		return true
	}
	row, ok := l.c.machine.View().Registry.SessionByID(l.row.ID)
	if !ok || row.Home != l.c.self.ID {
		return false
	}
	l.c.settle(l.row.FullName, l.row.ID)
	return true
}

// Promise is Renew for a sign of life whose answer says that the lease runs anew.
// False means that this must not be said: the session is gone, or is about to end,
// or this coordinator is out of touch with a cluster that may end it.
func (l *Live) Promise() bool {
	return l.Renew() && !l.c.leases.Ending(l.row.ID) && l.c.node.InTouch()
}

// Gone says why the session is not to be served here any more: not_found with
// the reason if it ended, conflict if it moved, unavailable if this coordinator
// stops.
func (l *Live) Gone() *wire.Error {
	row, ok := l.c.machine.View().Registry.SessionByID(l.row.ID)
	switch {
	case !ok:
		reason := "it is not known any more"
		if e, ended := l.c.machine.View().Registry.Ended(l.row.ID); ended {
			reason = e.Reason
		}
		return wire.Refuse(wire.CodeNotFound, "the session of %s ended: %s", l.row.FullName, reason)
	case row.Home != l.c.self.ID:
		return wire.Refuse(wire.CodeConflict, "%s was taken over by coordinator %s", l.row.FullName, row.Home)
	}
	return wire.NotTried("coordinator %s stops", l.c.self.ID)
}

// Mail takes over the session's mailbox; see router.Consumer. It is conflict once a
// later attempt to sign in was carried out.
func (l *Live) Mail(notify func(router.WriteMode)) (*router.Consumer, error) {
	if row, ok := l.c.machine.View().Registry.SessionByID(l.row.ID); ok && row.Attempt > l.row.Attempt {
		return nil, wire.Refuse(wire.CodeConflict, "%s was signed in by a later attempt", l.row.FullName)
	}
	mail, err := l.exchange.Consume(l.row.ID, notify)
	if err != nil { // it may have signed in just now
		l.c.settle(l.row.FullName, l.row.ID)
		mail, err = l.exchange.Consume(l.row.ID, notify)
	}
	if err != nil {
		return nil, l.Gone()
	}
	return mail, nil
}

// Address completes a receiver's name as of Send; here tells that it is the
// COORDINATOR of this home, which Ask speaks for.
func (l *Live) Address(to string) (full string, here bool, err error) {
	if to == wire.Coordinator || to == l.own {
		return l.own, true, nil
	}
	if i := strings.IndexByte(to, '.'); i < 0 || strings.IndexByte(to[i+1:], '.') >= 0 {
		full, err = l.c.receiver(l.row.Namespace, to)
		return full, false, err
	}
	return to, false, nil
}

// Post sends a message in the session's name, whatever its From says, to a
// receiver that Address completed, with PostTime from now on, which may be a
// moment ago. done (not nil) is called exactly once,
// perhaps before Post returns, and must not wait. The payload is
// borrowed, as router.PostOptions tells; more tells that another one is posted at once.
func (l *Live) Post(m wire.Message, now time.Time, more bool, done func(router.Outcome, error)) {
	m.From = l.row.FullName
	l.exchange.PostWith(m, router.PostOptions{Now: now, Timeout: PostTime, Borrowed: true, Write: router.WriteMode(!more)}, done)
}

// Outcome is what a session is told of a message that Post brought about. A
// receiver's home that does not know it as at home here any more refuses its
// messages: the connection will learn why by its end.
func (l *Live) Outcome(err error) error {
	if wire.CodeOf(err) == wire.CodeForbidden {
		return notAtHome(l.row.FullName)
	}
	return err
}

// DoorMethods are the methods of COORDINATOR that only a door can carry out,
// since they are about the connection.
type DoorMethods interface {
	// Carry carries out one of them; known is false, and nothing was done, when
	// the door has no such method.
	Carry(ctx context.Context, method string, params json.RawMessage) (result any, known bool, err error)
}

// Ask hands a message to the COORDINATOR of this home and returns the content
// of its answer: nil is no answer. own (nil: none) are the door's methods. It
// blocks for what is asked.
func (l *Live) Ask(ctx context.Context, m *wire.Message, own DoorMethods) []byte {
	m.From, m.To = l.row.FullName, l.own
	if l.c.calls.resolve(*m) || len(m.Payload) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return l.c.serve(ctx, l.row, m.Payload[0], own)
}

// Events is Control.Events, for doors that hold a Live only.
func (l *Live) Events(topics []string, after *Position) (*Cursor, error) {
	return l.c.Events(l.who, topics, after)
}

// Doors lists where native sessions are taken, this coordinator first.
func (c *Control) Doors(who Principal) ([]wire.Door, error) {
	if err := c.Authorize(who, AnyRight, Thing{}); err != nil {
		return nil, err
	}
	return c.doors(), nil
}

func (c *Control) doors() []wire.Door {
	list := make([]wire.Door, 1, 8)
	list[0] = wire.Door{ID: c.self.ID, Namespace: c.self.Namespace, Address: c.self.ComponentAddr}
	for row := range c.machine.View().Registry.Coordinators() {
		if row.ID != c.self.ID {
			list = append(list, wire.Door{ID: row.ID, Namespace: row.Namespace, Address: row.ComponentAddr})
		}
	}
	return list
}

// SignOut ends the session; see Control.SignOut.
func (l *Live) SignOut(ctx context.Context) error {
	_, err := l.c.signOut(ctx, l.row)
	return err
}
