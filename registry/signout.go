package registry

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// SignOut ends a session by its own wish.
type SignOut struct {
	FullName string `json:"full_name"`
	Session  string `json:"session"`
	// Final is for good: no take-over brings the session back. One that the client
	// sent before, to a coordinator that stood still, may come later.
	Final bool `json:"final,omitempty"`
}

// SignOut of a session that is over already is done; of one nobody remembers,
// or of somebody else's name, not_found.
func (t *Table) SignOut(c SignOut, at time.Time) (struct{}, error) {
	s, ok := t.sessions.get(c.FullName)
	if ok && s.ID == c.Session {
		t.endSession(s, EventSignedOut, "signed out", at).Final = c.Final
		return struct{}{}, nil
	}
	if e, ok := t.Ended(c.Session); ok && e.FullName == c.FullName {
		t.makeFinal(c)
		return struct{}{}, nil // applied before, or its lease ran out before
	}
	return struct{}{}, wire.Refuse(wire.CodeNotFound, "session %s is not signed in as %s", c.Session, c.FullName)
}

// Fence names one stay of a session at one home; after a move it is stale.
type Fence struct {
	FullName string `json:"full_name"`
	Session  string `json:"session"`
	Epoch    uint64 `json:"epoch"`
}

// Fence of this session as it is now.
func (s Session) Fence() Fence { return Fence{s.FullName, s.ID, s.Epoch} }

// Expire ends sessions whose lease ran out or whose home was lost.
type Expire struct {
	Sessions []Fence `json:"sessions"`
	Reason   string  `json:"reason"`
}

// Expire returns the full names that it ended, in the order asked. Stale
// fences are skipped: that session moved, or is another one by now.
func (t *Table) Expire(c Expire, at time.Time) ([]string, error) {
	gone := []string{}
	for _, f := range c.Sessions {
		s, ok := t.sessions.get(f.FullName)
		if !ok || s.ID != f.Session || s.Epoch != f.Epoch {
			continue
		}
		t.endSession(s, EventExpired, c.Reason, at)
		gone = append(gone, s.FullName)
	}
	return gone, nil
}

// Remove is the operator's way to end a session. It stays removed: its
// component cannot take the name over again, only sign in anew. With Session
// it is fenced: a repeat does not hit whoever has the name by then.
type Remove struct {
	FullName string `json:"full_name"`
	Session  string `json:"session,omitempty"`
	Reason   string `json:"reason"`
}

// Remove returns the session it ended. A fenced repeat returns what is
// remembered of it.
func (t *Table) Remove(c Remove, at time.Time) (Session, error) {
	s, ok := t.sessions.get(c.FullName)
	if ok && (c.Session == "" || c.Session == s.ID) {
		t.endSession(s, EventRemoved, c.Reason, at)
		return *s, nil
	}
	if e, ok := t.coldView().removed.get(c.Session); ok && e.FullName == c.FullName {
		return Session{FullName: e.FullName, ID: e.ID, Home: e.Home}, nil // applied before
	}
	return Session{}, wire.Refuse(wire.CodeNotFound, "%s is not signed in", c.FullName)
}

// endSession removes a session, keeps the reason and emits the event.
func (t *Table) endSession(s *Session, kind, reason string, at time.Time) *Ended {
	if kind == EventRemoved {
		return t.endInto(&t.writableCold().removed, s, kind, reason, at)
	}
	return t.endInto(&t.writableCold().ended, s, kind, reason, at)
}

// endInto is endSession that says where the session is remembered.
func (t *Table) endInto(list *tombstones, s *Session, kind, reason string, at time.Time) *Ended {
	t.removeSession(s)
	e := &Ended{ID: s.ID, FullName: s.FullName, Home: s.Home, Kind: kind, Reason: reason, At: at, Index: t.index, Attempt: s.Attempt}
	list.put(e)
	t.emit(wire.TopicComponent, kind, s.FullName, reason, at).Ended = e
	return e
}

// makeFinal lets no take-over bring back a session that had ended before it was
// signed out.
func (t *Table) makeFinal(c SignOut) {
	e, ok := t.coldView().ended.get(c.Session)
	if !ok || e.Final || !c.Final {
		return
	}
	e.Final = true
	t.writes++
	t.writableCold().ended.put(&e)
}
