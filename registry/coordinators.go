package registry

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Announce tells the cluster where a coordinator is and which namespace it owns.
// Since and Index of the row given are not read.
type Announce struct {
	Coordinator Coordinator `json:"coordinator"`
}

// Announce puts a coordinator's row, by id. A new server id of the same id
// replaces the old row: the coordinator has come back with an empty disk. A
// namespace that another coordinator owns is a conflict.
func (t *Table) Announce(c Announce, at time.Time) (Coordinator, error) {
	row := c.Coordinator
	if err := row.checkRules(); err != nil {
		return Coordinator{}, err
	}
	row.Level = max(row.Level, 1)
	if other, ok := t.coldView().namespaces.Get(row.Namespace); ok && other.ID != row.ID {
		return Coordinator{}, wire.Refuse(wire.CodeConflict,
			"coordinator %s presides over namespace %s", other.ID, row.Namespace)
	}
	row.Since, row.Index = at, t.index
	if old, ok := t.coldView().coordinators.Get(row.ID); ok {
		if old.ServerID == row.ServerID {
			row.Since = old.Since
			same := row
			same.Index = old.Index
			if same == *old {
				return *old, nil // applied before
			}
		}
		t.writableCold().namespaces.Delete(old.Namespace)
	}
	t.putCoordinator(&row)
	t.emit(wire.TopicMember, EventAnnounced, row.ID, "", at).Coordinator = &row
	return row, nil
}

func (t *Table) putCoordinator(c *Coordinator) {
	t.changed.Coordinators = t.index
	r := t.writableCold()
	r.coordinators.Set(c.ID, c)
	r.namespaces.Set(c.Namespace, c)
}

// Forget takes the row of a coordinator that was removed from the cluster out
// of the table. ServerID must be that of the row, so that a late Forget does
// not hit its successor.
type Forget struct {
	ID       string `json:"id"`
	ServerID string `json:"server_id"`
}

// Forget also ends the sessions that still have their home there: nobody
// judges their leases any more. A component that is alive takes its name over
// at another coordinator.
func (t *Table) Forget(c Forget, at time.Time) (struct{}, error) {
	row, ok := t.coldView().coordinators.Get(c.ID)
	if !ok {
		return struct{}{}, wire.Refuse(wire.CodeNotFound, "there is no coordinator %s", c.ID)
	}
	if row.ServerID != c.ServerID {
		return struct{}{}, wire.Refuse(wire.CodeConflict,
			"coordinator %s is server %s now, not %s", c.ID, row.ServerID, c.ServerID)
	}
	t.changed.Coordinators = t.index
	t.writableCold().coordinators.Delete(row.ID)
	t.writableCold().namespaces.Delete(row.Namespace)
	var orphans []*Session
	t.scanHome(row.ID, func(s *Session) bool {
		orphans = append(orphans, s)
		return true
	})
	for _, s := range orphans {
		t.endSession(s, EventExpired, "home "+row.ID+" was removed", at)
	}
	t.emit(wire.TopicMember, EventForgotten, row.ID, "", at).Coordinator = row
	return struct{}{}, nil
}
