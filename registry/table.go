// Package registry knows which coordinators there are and who is signed in.
package registry

import (
	"iter"

	"github.com/tidwall/btree"
)

// Table is the replicated directory as of one index. Its zero value is empty.
// A table that was published is frozen: any number of goroutines may read it,
// and what Next returned goes its own way. Rows sit behind pointers that are
// never written through again, so that copying a tree's node copies words.
type Table struct {
	index  uint64
	events []Event
	writes int

	owner      *owner // of the nodes this copy may change
	sessions   tree
	workers    tree // Slots > 0
	ids        trie
	homes      []home // in order
	bytes      int64  // of all sessions' texts
	ownsHomes  bool   // homes is of this copy alone
	tokens     *tokenIndex
	ownsTokens bool // tokens is of this copy alone
	cold       *coldRows
	ownsCold   bool // rest is of this copy alone
	changed    Changed
}

// Changed is at which index the rows of a kind changed last, since the table
// was made or loaded: 0 is not since then. It is no part of the state: replicas
// that began with different snapshots differ in it.
type Changed struct {
	Sessions, Workers, Coordinators uint64
}

// coldRows is what changes seldom, copied as one before its first change.
type coldRows struct {
	coordinators btree.Map[string, *Coordinator] // by id
	namespaces   btree.Map[string, *Coordinator]
	ended        tombstones // signed out or expired
	removed      tombstones // by an operator
}

var noColdRows coldRows // read only

// Next returns a copy for the entry at index, without events. It costs the same
// however many rows there are. Only the applying goroutine may call it, or any
// method that changes the copy.
func (t *Table) Next(index uint64) *Table {
	return &Table{
		index: index, owner: new(owner), cold: t.cold,
		sessions: t.sessions, workers: t.workers, ids: t.ids, homes: t.homes, bytes: t.bytes, tokens: t.tokens, changed: t.changed,
	}
}

// Changed returns when the rows changed last.
func (t *Table) Changed() Changed { return t.changed }

// coldView returns the rest, not to be changed.
func (t *Table) coldView() *coldRows {
	if t.cold == nil {
		return &noColdRows
	}
	return t.cold
}

// Writes counts what was changed in this copy or emitted by it, so that a caller
// can see whether a refused command left it as it was.
func (t *Table) Writes() int { return t.writes }

// writableCold returns the rest of this copy alone.
func (t *Table) writableCold() *coldRows {
	t.writes++
	if !t.ownsCold {
		r := t.coldView()
		if t.cold == nil {
			r = new(coldRows)
		}
		t.cold = &coldRows{
			coordinators: *r.coordinators.Copy(), namespaces: *r.namespaces.Copy(),
			ended: r.ended.copy(), removed: r.removed.copy(),
		}
		t.ownsCold = true
	}
	return t.cold
}

// Session returns the live session of a full name.
func (t *Table) Session(full string) (Session, bool) {
	return deref(t.sessions.get(full))
}

// SessionByID returns the live session of an id.
func (t *Table) SessionByID(id string) (Session, bool) { return deref(t.ids.get(id)) }

// Ended returns how a session ended, if it is among the last KeepEnded ones.
func (t *Table) Ended(id string) (Ended, bool) {
	if e, ok := t.coldView().removed.get(id); ok {
		return e, true
	}
	return t.coldView().ended.get(id)
}

// Coordinator returns the row of a coordinator's id.
func (t *Table) Coordinator(id string) (Coordinator, bool) {
	return deref(t.coldView().coordinators.Get(id))
}

// NamespaceOwner returns the coordinator that owns a namespace.
func (t *Table) NamespaceOwner(namespace string) (Coordinator, bool) {
	return deref(t.coldView().namespaces.Get(namespace))
}

// Len is the number of live sessions.
func (t *Table) Len() int { return t.sessions.size }

// Bytes is how many bytes of names, labels, places and runtimes the live
// sessions have together.
func (t *Table) Bytes() int64 { return t.bytes }

// Sessions yields all live sessions by full name.
func (t *Table) Sessions() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		t.sessions.ascend("", func(s *Session) bool { return yield(*s) })
	}
}

// SessionsAfter yields the live sessions whose full name is beyond full.
func (t *Table) SessionsAfter(full string) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		t.sessions.ascend(full, func(s *Session) bool {
			return s.FullName == full || yield(*s)
		})
	}
}

// SessionsOf yields the live sessions of one home by full name. It looks at
// all sessions until it has them all.
func (t *Table) SessionsOf(home string) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		t.scanHome(home, func(s *Session) bool { return yield(*s) })
	}
}

// Workers yields the live sessions that have slots, by full name.
func (t *Table) Workers() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		t.workers.ascend("", func(s *Session) bool { return yield(*s) })
	}
}

// Coordinators yields all coordinators by id.
func (t *Table) Coordinators() iter.Seq[Coordinator] {
	return func(yield func(Coordinator) bool) {
		t.coldView().coordinators.Scan(func(_ string, c *Coordinator) bool { return yield(*c) })
	}
}

func deref[R any](r *R, ok bool) (R, bool) {
	if !ok {
		var none R
		return none, false
	}
	return *r, true
}
