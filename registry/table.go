// Package registry knows which coordinators there are and who is signed in.
package registry

import (
	"iter"
	"time"

	"github.com/tidwall/btree"

	"github.com/folkmoot/folkmoot/wire"
)

// Table is the replicated directory as of one index. Its zero value is empty.
// A table that was published is frozen: any number of goroutines may read it,
// and what Next returned goes its own way. Rows sit behind pointers that are
// never written through again, so that copying a tree's node copies words.
type Table struct {
	index uint64
	news  []wire.Event

	coordinators btree.Map[string, *Coordinator] // by id
	namespaces   btree.Map[string, *Coordinator]
	sessions     btree.Map[string, *Session] // by full name
	byID         btree.Map[string, *Session]
	byHome       btree.Map[string, *Session] // by home, 0x00, full name
	workers      btree.Map[string, *Session] // by full name; Slots > 0
	ended        graveyard                   // signed out or expired
	removed      graveyard                   // by an operator
}

// Next returns a copy for the entry at index, without news. It costs the same
// however many rows there are. Only the applying goroutine may call it.
func (t *Table) Next(index uint64) *Table {
	return &Table{
		index:        index,
		coordinators: *t.coordinators.Copy(),
		namespaces:   *t.namespaces.Copy(),
		sessions:     *t.sessions.Copy(),
		byID:         *t.byID.Copy(),
		byHome:       *t.byHome.Copy(),
		workers:      *t.workers.Copy(),
		ended:        t.ended.copy(),
		removed:      t.removed.copy(),
	}
}

// News returns the events of the commands carried out on this copy, in order,
// without Seq. The caller must not change them.
func (t *Table) News() []wire.Event { return t.news }

func (t *Table) tell(topic, kind, key, reason string, at time.Time, data any) {
	t.news = append(t.news, wire.Event{
		Index: t.index, Topic: topic, Kind: kind, Key: key, Reason: reason, At: at, Data: data,
	})
}

// Session returns the live session of a full name.
func (t *Table) Session(full string) (Session, bool) { return deref(t.sessions.Get(full)) }

// SessionByID returns the live session of an id.
func (t *Table) SessionByID(id string) (Session, bool) { return deref(t.byID.Get(id)) }

// Ended tells how a session ended, if it is among the last KeepEnded ones.
func (t *Table) Ended(id string) (Ended, bool) {
	if e, ok := t.removed.get(id); ok {
		return e, true
	}
	return t.ended.get(id)
}

// Coordinator returns the row of a coordinator's id.
func (t *Table) Coordinator(id string) (Coordinator, bool) { return deref(t.coordinators.Get(id)) }

// Presider returns the coordinator that presides over a namespace.
func (t *Table) Presider(namespace string) (Coordinator, bool) {
	return deref(t.namespaces.Get(namespace))
}

// Len is the number of live sessions.
func (t *Table) Len() int { return t.sessions.Len() }

// Sessions yields all live sessions by full name.
func (t *Table) Sessions() iter.Seq[Session] { return rows(&t.sessions) }

// SessionsAfter yields the live sessions whose full name is beyond full.
func (t *Table) SessionsAfter(full string) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		t.sessions.Ascend(full, func(key string, s *Session) bool { return key == full || yield(*s) })
	}
}

// SessionsOf yields the live sessions of one home by full name.
func (t *Table) SessionsOf(home string) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		t.byHome.Ascend(homeKey(home, ""), func(_ string, s *Session) bool {
			return s.Home == home && yield(*s)
		})
	}
}

// Workers yields the live sessions that have slots, by full name.
func (t *Table) Workers() iter.Seq[Session] { return rows(&t.workers) }

// Coordinators yields all coordinators by id.
func (t *Table) Coordinators() iter.Seq[Coordinator] { return rows(&t.coordinators) }

// homeKey sorts by home first; no name holds a zero byte.
func homeKey(home, full string) string { return home + "\x00" + full }

func rows[R any](m *btree.Map[string, *R]) iter.Seq[R] {
	return func(yield func(R) bool) {
		m.Scan(func(_ string, r *R) bool { return yield(*r) })
	}
}

func deref[R any](r *R, ok bool) (R, bool) {
	if !ok {
		var none R
		return none, false
	}
	return *r, true
}
