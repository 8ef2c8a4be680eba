package registry

import (
	"fmt"
	"iter"
)

// Names of the tables in a snapshot, in the order they are written.
const (
	TableCoordinators = "registry.coordinator"

	rowSession = "registry.session"
	rowEnded   = "registry.ended"
	rowRemoved = "registry.removed"
)

// Rows yields every row with the name of its table, in the order a snapshot
// has them. A row is good only until the next one.
func (t *Table) Rows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		_ = each(TableCoordinators, t.Coordinators(), yield) && each(rowSession, t.Sessions(), yield) &&
			each(rowEnded, t.coldView().ended.all(), yield) && each(rowRemoved, t.coldView().removed.all(), yield)
	}
}

func each[R any](name string, rows iter.Seq[R], yield func(string, any) bool) bool {
	var row R
	for row = range rows {
		if !yield(name, &row) {
			return false
		}
	}
	return true
}

// Load puts one row of a snapshot into a table that is being built. decode
// fills its argument with the row. known is false when the table's name is not
// one of this package's.
func (t *Table) Load(name string, decode func(any) error) (known bool, err error) {
	switch name {
	case TableCoordinators:
		c := new(Coordinator)
		if err := decode(c); err != nil {
			return true, err
		}
		_, twice := t.coldView().coordinators.Get(c.ID)
		_, shared := t.coldView().namespaces.Get(c.Namespace)
		if twice || shared {
			return true, fmt.Errorf("coordinator %s or its namespace %s is there twice", c.ID, c.Namespace)
		}
		t.putCoordinator(c)
	case rowSession:
		s := new(Session)
		if err := decode(s); err != nil {
			return true, err
		}
		return true, t.loadSession(s)
	case rowEnded:
		return true, t.writableCold().ended.load(decode)
	case rowRemoved:
		return true, t.writableCold().removed.load(decode)
	default:
		return false, nil
	}
	return true, nil
}

func (t *Table) loadSession(s *Session) error {
	if s.FullName != FullName(s.Namespace, s.Name) {
		return fmt.Errorf("session %s: %s is not %s.%s", s.ID, s.FullName, s.Namespace, s.Name)
	}
	_, named := t.sessions.get(s.FullName)
	_, known := t.ids.get(s.ID)
	if named || known {
		return fmt.Errorf("session %s or its name %s is there twice", s.ID, s.FullName)
	}
	s.copyTexts(&SignIn{
		Namespace: s.Namespace, Name: s.Name, Session: s.ID, SecretHash: s.SecretHash, Token: s.Token,
		Place: s.Place, Labels: s.Labels, Runtimes: s.Runtimes,
	})
	s.Kind = intern(s.Kind)
	if home, ok := t.coldView().coordinators.Get(s.Home); ok {
		s.Home = home.ID // one string for all sessions of a home
	}
	t.putSession(s)
	return nil
}

func (g *tombstones) load(decode func(any) error) error {
	e := new(Ended)
	if err := decode(e); err != nil {
		return err
	}
	if _, ok := g.byID.Get(e.ID); ok {
		return fmt.Errorf("ended session %s is there twice", e.ID)
	}
	g.put(e)
	return nil
}
