package registry

import (
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// SignIn begins a session, or with TakeOver goes on with one at another home.
// The proposer mints Session, which is the command's own id: applied twice, it
// leaves one row. A lease of 0 is ImpliedLease.
type SignIn struct {
	Name       string        `json:"name"`
	Namespace  string        `json:"namespace"`
	Session    string        `json:"session"`
	SecretHash string        `json:"secret_hash"` // HashSecret of the secret
	Home       string        `json:"home"`
	Kind       string        `json:"kind,omitempty"`
	Labels     Labels        `json:"labels,omitempty"`
	Place      wire.Place    `json:"place,omitzero"`
	Lease      time.Duration `json:"lease,omitempty"` // nanoseconds
	Runtimes   []string      `json:"runtimes,omitempty"`
	Slots      int           `json:"slots,omitempty"`
	TakeOver   bool          `json:"take_over,omitempty"`
	// Attempt numbers the client's tries to sign the session in, 0: not. One that
	// is not above those carried out before is late and changes nothing.
	Attempt uint64 `json:"attempt,omitempty"`
	// Keep, of a take-over: labels, place, lease, runtimes and slots that are not
	// named stay as they were.
	Keep bool `json:"keep,omitempty"`
	// Token is that of the session's row, also of one that is taken over.
	Token string `json:"token,omitempty"`
}

// SignIn refuses with name_taken when somebody else has the name, forbidden
// when the secret is wrong or an operator removed the session, not_found when
// no coordinator owns the namespace, and conflict when the session is
// over and the command comes late, or when a take-over is of an attempt before
// one that was carried out: only a take-over brings a session back, and none one
// that signed out for good.
func (t *Table) SignIn(c SignIn, at time.Time) (Session, error) {
	row, err := t.newSession(c, at)
	if err != nil {
		return Session{}, err
	}
	if old, ok := t.sessions.get(row.FullName); ok {
		return t.signInExisting(old, row, &c, at)
	}
	if other, ok := t.ids.get(c.Session); ok {
		return Session{}, wire.Refuse(wire.CodeConflict, "session %s is that of %s", c.Session, other.FullName)
	}
	if e, ok := t.coldView().removed.get(c.Session); ok {
		return Session{}, wire.Refuse(wire.CodeForbidden, "%s was removed by an operator: %s", row.FullName, e.Reason)
	}
	if e, ok := t.coldView().ended.get(c.Session); ok {
		if !c.TakeOver || e.Final {
			return Session{}, wire.Refuse(wire.CodeConflict,
				"session %s of %s is over: %s", c.Session, e.FullName, e.Reason)
		}
		if stale(c.Attempt, e.Attempt) {
			return Session{}, errStale(c.Attempt, e.Attempt, e.FullName)
		}
		row.Attempt = max(row.Attempt, e.Attempt)
		t.writableCold().ended.remove(c.Session)
	}
	t.putSession(row)
	t.emit(wire.TopicComponent, EventSignedIn, row.FullName, "", at).Session = row.public()
	return *row, nil
}

// signInExisting answers a sign-in for a name that is taken: by the same
// session again, by the same session at another home, or by somebody else.
func (t *Table) signInExisting(old, row *Session, c *SignIn, at time.Time) (Session, error) {
	// A later attempt of the same sign-in goes on at the home where it was made.
	takeOver := c.TakeOver || c.Attempt > old.Attempt && old.ID == row.ID && old.SecretHash == row.SecretHash
	switch {
	case old.ID != row.ID || old.SecretHash != row.SecretHash && !takeOver:
		return Session{}, wire.Refuse(wire.CodeNameTaken, "%s is signed in by another session", old.FullName)
	case old.SecretHash != row.SecretHash:
		return Session{}, wire.Refuse(wire.CodeForbidden, "the secret is not that of session %s", old.ID)
	case !takeOver, c.Attempt > 0 && c.Attempt == old.Attempt && row.Home == old.Home:
		return *old, nil // applied before
	case stale(c.Attempt, old.Attempt):
		return Session{}, errStale(c.Attempt, old.Attempt, old.FullName)
	}
	if c.Keep {
		row.inherit(old, c)
	}
	row.Attempt = max(row.Attempt, old.Attempt)
	row.Epoch, row.Since = old.Epoch, old.Since
	kind, reason := EventUpdated, ""
	if row.Home != old.Home {
		kind, reason = EventMoved, "from "+old.Home
		row.Epoch++
	} else if sameAttributes(old, row) {
		return *old, nil // applied before
	}
	t.removeSession(old)
	t.putSession(row)
	t.emit(wire.TopicComponent, kind, row.FullName, reason, at).Session = row.public()
	return *row, nil
}

// stale reports whether an attempt comes after a later one was carried out.
func stale(attempt, done uint64) bool { return attempt > 0 && attempt <= done }

func errStale(attempt, done uint64, full string) error {
	return wire.Refuse(wire.CodeConflict, "attempt %d to take %s over comes after attempt %d: nothing was changed", attempt, full, done)
}

// inherit leaves what a take-over does not name as it was.
func (s *Session) inherit(old *Session, c *SignIn) {
	if c.Place == (wire.Place{}) {
		s.Place = old.Place
	}
	if c.Labels == nil {
		s.Labels = old.Labels
	}
	if c.Lease == 0 {
		s.Lease = old.Lease
	}
	if c.Runtimes == nil {
		s.Runtimes = old.Runtimes
	}
	if c.Slots == 0 {
		s.Slots = old.Slots
	}
}

func sameAttributes(a, b *Session) bool {
	return a.Attempt == b.Attempt && a.Kind == b.Kind && a.Token == b.Token && a.Place == b.Place && a.Lease == b.Lease && a.Slots == b.Slots &&
		slices.Equal(a.Runtimes, b.Runtimes) && slices.Equal(a.Labels, b.Labels)
}

// putSession and take keep in step all that finds sessions.
func (t *Table) putSession(s *Session) {
	t.writes++
	t.sessions.set(t.owner, s)
	t.ids.set(t.owner, s)
	t.addToHome(s.Home, 1)
	t.bytes += s.Bytes()
	t.changed.Sessions = t.index
	if s.Slots > 0 {
		t.changed.Workers = t.index
		t.workers.set(t.owner, s)
	}
	t.addToToken(s)
}

func (t *Table) removeSession(s *Session) {
	t.writes++
	t.sessions.remove(t.owner, s)
	t.bytes -= s.Bytes()
	t.ids.remove(t.owner, s.ID)
	t.addToHome(s.Home, -1)
	t.changed.Sessions = t.index
	if s.Slots > 0 {
		t.changed.Workers = t.index
		t.workers.remove(t.owner, s)
	}
	t.removeFromToken(s)
}

// newSession is the row a sign-in asks for, of epoch 1.
func (t *Table) newSession(c SignIn, at time.Time) (*Session, error) {
	if err := c.checkRules(); err != nil {
		return nil, err
	}
	owner, ok := t.coldView().namespaces.Get(c.Namespace)
	if !ok {
		return nil, wire.Refuse(wire.CodeNotFound, "no coordinator presides over namespace %s", c.Namespace)
	}
	home := owner
	if home.ID != c.Home {
		if home, ok = t.coldView().coordinators.Get(c.Home); !ok {
			return nil, wire.Refuse(wire.CodeNotFound, "there is no coordinator %s to be a home", c.Home)
		}
	}
	s := &Session{
		Home: home.ID, Kind: intern(c.Kind), Epoch: 1,
		Place: c.Place, Lease: c.Lease, Slots: c.Slots, Since: at, Index: t.index, Attempt: c.Attempt,
	}
	s.copyTexts(&c)
	if s.Lease == 0 {
		s.Lease = ImpliedLease
	}
	return s, nil
}

// copyTexts sets what is text in a row. All of it is cut from one string, a copy of
// what the command has, so that a row is two or three objects to the collector
// and keeps nothing else alive. No list and an empty one are the same.
func (s *Session) copyTexts(c *SignIn) {
	var all strings.Builder
	all.Grow(int(c.Bytes())) // so that what is cut off is never moved
	keep := func(text string) string {
		from := all.Len()
		all.WriteString(text)
		return all.String()[from:]
	}
	keep(c.Namespace)
	keep(".")
	keep(c.Name)
	s.FullName = all.String()
	s.Namespace, s.Name = s.FullName[:len(c.Namespace)], s.FullName[len(c.Namespace)+1:]
	s.ID, s.SecretHash, s.Token = keep(c.Session), keep(c.SecretHash), keep(c.Token)
	s.Place = wire.Place{Host: keep(c.Place.Host), Group: keep(c.Place.Group)}
	s.Labels, s.Runtimes = nil, nil
	if len(c.Labels) > 0 {
		s.Labels = make(Labels, len(c.Labels))
		for i, l := range c.Labels {
			s.Labels[i] = Label{keep(l.Key), keep(l.Value)}
		}
	}
	if len(c.Runtimes) > 0 {
		s.Runtimes = make([]string, len(c.Runtimes))
		for i, r := range c.Runtimes {
			s.Runtimes[i] = keep(r)
		}
	}
}

// Bytes is how many bytes of text a sign-in puts into the table.
func (c *SignIn) Bytes() int64 {
	return textBytes(len(c.Namespace)+1+len(c.Name)+len(c.Session)+len(c.SecretHash)+len(c.Token), c.Place, c.Labels, c.Runtimes)
}

// Bytes is how many bytes of text a session has in the table.
func (s *Session) Bytes() int64 {
	return textBytes(len(s.FullName)+len(s.ID)+len(s.SecretHash)+len(s.Token), s.Place, s.Labels, s.Runtimes)
}

func textBytes(n int, p wire.Place, labels Labels, runtimes []string) int64 {
	n += len(p.Host) + len(p.Group)
	for i := range labels {
		n += len(labels[i].Key) + len(labels[i].Value)
	}
	for _, r := range runtimes {
		n += len(r)
	}
	return int64(n)
}
