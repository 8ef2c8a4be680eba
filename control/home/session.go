package home

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// PostTime is how long a message that a door posts may take to its outcome.
const PostTime = 5 * time.Second

// Session is the handle of a session at home here that a door holds, which
// knows by the connection who speaks: no secret is asked for. Its methods are safe
// for concurrent use.
type Session struct {
	home *Home
	row  registry.Session
	who  control.Principal
}

// Session returns the handle of a session at home here, for the principal that
// signed it in.
func (h *Home) Session(who control.Principal, row registry.Session) *Session {
	return &Session{home: h, row: row, who: who}
}

// Row is the session as it signed in by this handle.
func (s *Session) Row() registry.Session { return s.row }

// Principal is who signed the session in.
func (s *Session) Principal() control.Principal { return s.who }

// Abandon says that the session's process is gone without a sign-out: unless there
// is a sign of life within grace, the session ends.
func (s *Session) Abandon(grace time.Duration) {
	s.home.leases.Shorten(s.row.Fence(), grace, "its connection was closed without a sign-out")
}

// FullName is the session's.
func (s *Session) FullName() string { return s.row.FullName }

// ID is the session's id.
func (s *Session) ID() string { return s.row.ID }

// Lease is how long the session lives without a sign of life.
func (s *Session) Lease() time.Duration { return s.row.Lease }

// Coordinator is the full name of the COORDINATOR of this home.
func (s *Session) Coordinator() string { return s.home.Name() }

// Renew lets the lease run anew: a look-up in a map. It reports whether the
// session is still at home here; Gone says why not.
func (s *Session) Renew() bool {
	if s.home.Authorize(s.who, control.AnyRight, control.Thing{}) != nil {
		return false
	}
	if s.home.leases.Renew(s.row.ID) {
		return true
	}
	row, ok := s.home.State().Registry.SessionByID(s.row.ID)
	if !ok || row.Home != s.home.Self().ID {
		return false
	}
	s.home.Reconcile(s.row.FullName, s.row.ID)
	return true
}

// Promise is Renew for a sign of life whose answer says that the lease runs anew.
// False means that this must not be said: the session is gone, or is about to end,
// or this coordinator is out of touch with a cluster that may end it.
func (s *Session) Promise() bool {
	return s.Renew() && !s.home.leases.Ending(s.row.ID) && s.home.Replica().InTouch()
}

// Gone says why the session is not to be served here any more: not_found with
// the reason if it ended, unauthorized if its token did, conflict if it moved,
// unavailable if this coordinator stops.
func (s *Session) Gone() *wire.Error {
	row, ok := s.home.State().Registry.SessionByID(s.row.ID)
	var refusal *wire.Error
	switch {
	case ok && errors.As(s.home.Authorize(s.who, control.AnyRight, control.Thing{}), &refusal):
		return refusal
	case !ok:
		reason := "it is not known any more"
		if e, ended := s.home.State().Registry.Ended(s.row.ID); ended {
			reason = e.Reason
		}
		return wire.Refuse(wire.CodeNotFound, "the session of %s ended: %s", s.row.FullName, reason)
	case row.Home != s.home.Self().ID:
		return wire.Refuse(wire.CodeConflict, "%s was taken over by coordinator %s", s.row.FullName, row.Home)
	}
	return wire.NotTried("coordinator %s stops", s.home.Self().ID)
}

// Mail takes over the session's mailbox; see router.Consumer. It is conflict once a
// later attempt to sign in was carried out.
func (s *Session) Mail(notify func(router.WriteMode)) (*router.Consumer, error) {
	if row, ok := s.home.State().Registry.SessionByID(s.row.ID); ok && row.Attempt > s.row.Attempt {
		return nil, wire.Refuse(wire.CodeConflict, "%s was signed in by a later attempt", s.row.FullName)
	}
	mail, err := s.home.mail.Consume(s.row.ID, notify)
	if err != nil { // it may have signed in just now
		s.home.Reconcile(s.row.FullName, s.row.ID)
		mail, err = s.home.mail.Consume(s.row.ID, notify)
	}
	if err != nil {
		return nil, s.Gone()
	}
	return mail, nil
}

// Address completes a receiver's name as of Send; here reports that it is the
// COORDINATOR of this home, which Ask speaks for.
func (s *Session) Address(to string) (full string, here bool, err error) {
	if own := s.home.Name(); to == wire.Coordinator || to == own {
		return own, true, nil
	}
	if i := strings.IndexByte(to, '.'); i < 0 || strings.IndexByte(to[i+1:], '.') >= 0 {
		full, err = s.home.Receiver(s.row.Namespace, to)
		return full, false, err
	}
	return to, false, nil
}

// Post sends a message in the session's name, whatever its From says, to a
// receiver that Address completed, with PostTime from now on, which may be a
// moment ago. done (not nil) is called exactly once, perhaps before Post returns,
// and must not wait; its error is forbidden, with what is needed, when the session's
// token has not the right to send there. The payload is borrowed; see
// router.PostOptions.
func (s *Session) Post(m wire.Message, now time.Time, write router.WriteMode, done func(router.Outcome, error)) {
	if err := s.home.Authorize(s.who, control.MessagesSend, control.ComponentThing(m.To)); err != nil {
		s.home.CountRefused(s.who.AuditDoor(), err)
		done(router.Refused, err)
		return
	}
	m.From = s.row.FullName
	s.home.mail.PostWith(m, router.PostOptions{Now: now, Timeout: PostTime, Borrowed: true, Write: write}, done)
}

// Outcome returns the error that a session receives for a message of Post. A
// receiver's home that does not know it as at home here any more refuses its
// messages: the connection learns the reason when it ends.
func (s *Session) Outcome(err error) error {
	var refusal *wire.Error
	if errors.As(err, &refusal) && refusal.Code == wire.CodeForbidden && refusal.Needs == "" {
		return notAtHome(s.row.FullName)
	}
	return err
}

// Receive waits for messages to the session numbered above after and returns at
// most limit of them; those up to after are acknowledged and forgotten. The caller
// does not change them. Errors: not_found (the session ended, with the reason, or
// is not at home here), conflict (another reader took over), and ctx's own.
func (s *Session) Receive(ctx context.Context, after uint64, limit int) ([]Mailed, error) {
	h := s.home
	got, err := h.mail.Receive(ctx, s.row.ID, after, limit)
	if wire.CodeOf(err) == wire.CodeNotFound {
		h.Reconcile(s.row.FullName, "") // it may have signed in just now
		got, err = h.mail.Receive(ctx, s.row.ID, after, limit)
	}
	if wire.CodeOf(err) == wire.CodeNotFound {
		err = h.unread(ctx, s.row.ID)
	}
	return got, err
}

// Events is Core.Events for the principal that signed the session in.
func (s *Session) Events(topics []string, after *control.Position) (*control.Cursor, error) {
	return s.home.Events(s.who, topics, after)
}

// SignOut ends the session. Errors: those of Authorize, unavailable, unknown.
func (s *Session) SignOut(ctx context.Context) error {
	_, err := s.home.SignOutAs(ctx, s.who, s.row)
	return err
}

// SignOutAs ends a session for a principal that is known to be it; it returns the
// index. Errors: those of Authorize, unavailable, unknown.
func (h *Home) SignOutAs(ctx context.Context, who control.Principal, s registry.Session) (uint64, error) {
	if err := h.Authorize(who, control.ComponentsWrite, control.ComponentThing(s.FullName)); err != nil {
		return 0, err
	}
	return h.EndSession(ctx, SignsOut(who, s), s)
}

// SignsOut is a principal as the author of its session's sign-out.
func SignsOut(who control.Principal, s registry.Session) propose.Author {
	return who.ForSession(s).Author(control.ComponentsWrite, s.Namespace)
}

// EndSession is SignOutAs for who may.
func (h *Home) EndSession(ctx context.Context, by propose.Author, s registry.Session) (uint64, error) {
	_, index, err := propose.Do[struct{}](ctx, h.Proposer(), registry.KindSignOut, by, registry.SignOut{FullName: s.FullName, Session: s.ID, Final: true})
	if err == nil {
		h.Reconcile(s.FullName, s.ID)
	}
	return index, err
}
