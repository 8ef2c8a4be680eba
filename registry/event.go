package registry

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of the events, with the row that each has: the first three a Session,
// the next three an Ended, the last two a Coordinator.
const (
	EventSignedIn = "signed_in" // a new session
	EventMoved    = "moved"     // taken over by another home
	EventUpdated  = "updated"   // taken over by the same home with other labels, slots, ...

	EventSignedOut = "signed_out" // by its own wish
	EventExpired   = "expired"    // its lease ran out or its home was lost
	EventRemoved   = "removed"    // by an operator

	EventAnnounced = "announced" // topic member
	EventForgotten = "forgotten" // topic member
)

// Event is an event with the row that it is about. Rows are read only.
type Event struct {
	wire.Event // without Data
	Row
}

// Row is what an event of this package is about: one of the pointers.
type Row struct {
	Session     *Session // as it is now, without its SecretHash
	Ended       *Ended
	Coordinator *Coordinator // as it is now, or was when it was forgotten
}

// Events returns the events of the commands carried out on this copy, in order,
// without Seq. The caller must not change them.
func (t *Table) Events() []Event { return t.events }

// TakeEvents returns the events and begins anew. What it returned is good until
// the next command.
func (t *Table) TakeEvents() []Event {
	events := t.events
	t.events = t.events[:0]
	return events
}

// emit appends an event; what it is about is set in place.
func (t *Table) emit(topic, kind, key, reason string, at time.Time) *Row {
	t.writes++
	t.events = append(t.events, Event{Event: wire.Event{Index: t.index, Topic: topic, Kind: kind, Key: key, Reason: reason, At: at}})
	return &t.events[len(t.events)-1].Row
}

// public returns the row without its secret's hash, for events leave the process.
func (s Session) public() *Session {
	s.SecretHash = ""
	return &s
}

// Wire returns the session as everybody may see it.
func (s *Session) Wire() wire.Component {
	return wire.Component{
		FullName: s.FullName, Name: s.Name, Namespace: s.Namespace, Home: s.Home, Session: s.ID, Kind: s.Kind,
		Labels: s.Labels.Map(), Place: s.Place, Lease: wire.Duration(s.Lease), Runtimes: s.Runtimes, Slots: s.Slots,
		Since: s.Since, Index: s.Index,
	}
}
