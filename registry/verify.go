package registry

import (
	"errors"
	"fmt"
)

// Verify says where rows and what is derived from them contradict each other;
// nil when they do not. It reads every row: it is for tests and for a restored
// snapshot.
func (t *Table) Verify() error {
	return errors.Join(t.verifySessions(), t.coldView().verifyCoordinators(), t.coldView().ended.verify(), t.coldView().removed.verify())
}

func (t *Table) verifySessions() error {
	sessions, workers, bytes := 0, 0, int64(0)
	homes, tokens := map[string]int{}, map[string]int{}
	for s := range t.Sessions() {
		sessions++
		homes[s.Home]++
		bytes += s.Bytes()
		if s.Token != "" {
			tokens[s.Token]++
			of := t.ofToken(s.Token)
			if row, ok := of.get(s.FullName); !ok || row.ID != s.ID {
				return fmt.Errorf("session %s of %s is not found by its token %s", s.ID, s.FullName, s.Token)
			}
		}
		if byID, ok := t.ids.get(s.ID); !ok || byID.FullName != s.FullName {
			return fmt.Errorf("session %s of %s is not found by its id", s.ID, s.FullName)
		}
		if s.FullName != FullName(s.Namespace, s.Name) {
			return fmt.Errorf("session %s: %s is not %s.%s", s.ID, s.FullName, s.Namespace, s.Name)
		}
		_, works := t.workers.get(s.FullName)
		if works != (s.Slots > 0) {
			return fmt.Errorf("%s has %d slots; among the workers: %v", s.FullName, s.Slots, works)
		}
		if works {
			workers++
		}
	}
	switch {
	case t.sessions.size != sessions || t.workers.size != workers:
		return fmt.Errorf("there are %d sessions and %d workers, but %d and %d are counted", sessions, workers, t.sessions.size, t.workers.size)
	case t.bytes != bytes:
		return fmt.Errorf("the sessions have %d bytes, but %d are counted", bytes, t.bytes)
	case len(t.homes) != len(homes):
		return fmt.Errorf("there are %d homes, but %d are counted", len(homes), len(t.homes))
	}
	for _, h := range t.homes {
		if homes[h.id] != h.sessions {
			return fmt.Errorf("home %s has %d sessions, but %d are counted", h.id, homes[h.id], h.sessions)
		}
	}
	return t.verifyTokens(tokens)
}

func (r *coldRows) verifyCoordinators() (err error) {
	r.coordinators.Scan(func(id string, c *Coordinator) bool {
		if by, ok := r.namespaces.Get(c.Namespace); !ok || by != c || c.ID != id {
			err = fmt.Errorf("coordinator %s is not the one of its namespace %s", id, c.Namespace)
		}
		return err == nil
	})
	if err == nil && r.namespaces.Len() != r.coordinators.Len() {
		err = fmt.Errorf("%d coordinators have %d namespaces", r.coordinators.Len(), r.namespaces.Len())
	}
	return err
}

func (g *tombstones) verify() (err error) {
	g.order.Scan(func(place uint64, e *Ended) bool {
		if at, ok := g.byID.Get(e.ID); !ok || at.place != place || place >= g.next {
			err = fmt.Errorf("ended session %s is not found by its id", e.ID)
		}
		return err == nil
	})
	if err == nil && g.byID.Len() != g.order.Len() {
		err = fmt.Errorf("%d ended sessions are in order, %d by id", g.order.Len(), g.byID.Len())
	}
	return err
}
