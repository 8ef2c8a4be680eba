package fsm

import (
	"maps"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of the catalogue, in order.
func Kinds() []string { return slices.Sorted(maps.Keys(catalogue)) }

// AddTestCommand makes m a newer binary: one that knows level Level+1 and its
// command "test.shout".
func (m *Machine) AddTestCommand() {
	type shout struct{ Word string }
	m.maxLevel = Level + 1
	m.kinds = maps.Clone(m.kinds)
	m.kinds["test.shout"] = handler(Level+1, func(_ *txn, c shout, _ time.Time) (string, error) { return c.Word + "!", nil })
}

// AddFailingCommands teaches m commands that change a table before they are refused.
func (m *Machine) AddFailingCommands() {
	m.kinds = maps.Clone(m.kinds)
	m.kinds["test.botch"] = handler(1, func(tx *txn, c registry.SignIn, at time.Time) (any, error) {
		if _, err := tx.registry().SignIn(c, at); err != nil {
			return nil, err
		}
		return nil, wire.Refuse(wire.CodeConflict, "on second thoughts")
	})
	m.kinds["test.botch_job"] = handler(1, func(tx *txn, c jobs.Submit, at time.Time) (any, error) {
		if _, err := tx.jobs().Submit(c, at); err != nil {
			return nil, err
		}
		return nil, wire.Refuse(wire.CodeConflict, "on second thoughts")
	})
}

// CopyPerCommand makes m carry out every command on a copy of its own.
func (m *Machine) CopyPerCommand() { m.shareCopies = false }

// Waiting is how many wait for an index.
func (m *Machine) Waiting() int {
	return m.waiters[All].Len()
}

// LimitFeed gives the feed other limits than FeedSize and FeedBytes.
func (m *Machine) LimitFeed(events, bytes int) {
	m.feed.limits.events, m.feed.limits.bytes = events, bytes
}

// FeedKeeps is how many events the feed keeps, and how many bytes of them.
func (m *Machine) FeedKeeps() (events, bytes int) { return m.feed.count, m.feed.bytes }

// Raw is the event with its row as its data, as the tables have it.
func (e Event) Raw() wire.Event {
	out := e.Event
	switch {
	case e.Token != nil:
		out.Data = e.Token
	case e.TokenGone != nil:
		out.Data = e.TokenGone
	case e.Session != nil:
		out.Data = e.Session
	case e.Ended != nil:
		out.Data = e.Ended
	case e.Coordinator != nil:
		out.Data = e.Coordinator
	case e.Job != nil:
		out.Data = e.Job
	case e.Part != nil:
		out.Data = e.Part
	case e.Group != nil:
		out.Data = e.Group
	case e.Server != nil:
		out.Data = e.Server
	}
	return out
}
