package registry

import (
	"iter"
	"slices"
	"strings"
)

// home counts the live sessions of one. An order of all sessions by home would
// cost every sign-in a third more, and is asked for when a home is lost.
type home struct {
	id       string
	sessions int
}

// addToHome adds n to the sessions of a home.
func (t *Table) addToHome(id string, n int) {
	if !t.ownsHomes {
		t.homes, t.ownsHomes = slices.Clone(t.homes), true
	}
	i, found := t.homeIndex(id)
	if !found {
		t.homes = slices.Insert(t.homes, i, home{id: id})
	}
	t.homes[i].sessions += n
	if t.homes[i].sessions == 0 {
		t.homes = slices.Delete(t.homes, i, i+1)
	}
}

func (t *Table) homeIndex(id string) (int, bool) {
	return slices.BinarySearchFunc(t.homes, id, func(h home, id string) int { return strings.Compare(h.id, id) })
}

// scanHome yields the live sessions of a home by full name.
func (t *Table) scanHome(id string, yield func(*Session) bool) {
	i, found := t.homeIndex(id)
	if !found {
		return
	}
	left := t.homes[i].sessions
	t.sessions.ascend("", func(s *Session) bool {
		if s.Home != id {
			return true
		}
		left--
		return yield(s) && left > 0
	})
}

// Homes yields every home that has a live session, in order. It costs the same
// however many sessions there are.
func (t *Table) Homes() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, h := range t.homes {
			if !yield(h.id) {
				return
			}
		}
	}
}
