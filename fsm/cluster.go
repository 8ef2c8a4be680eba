package fsm

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// emit appends an event of topic "member" without a row.
func (tx *txn) emit(kind, key string, at time.Time) {
	tx.append(Event{Event: wire.Event{Index: tx.Index, Topic: wire.TopicMember, Kind: kind, Key: key, At: at}})
}

// Found gives the cluster its id, once.
type Found struct {
	Cluster string `json:"cluster"`
	// Level is that of the cluster from then on, 0: 1. The proposer knows of every
	// server that its binary knows it; an older one does not know this field.
	Level int `json:"level,omitempty"`
}

// Validate says what is wrong with the itx. The error is a *wire.Error of code
// invalitx.
func (c Found) Validate() error {
	if c.Cluster == "" || len(c.Cluster) > wire.MaxName {
		return wire.Invalid("cluster", "a cluster's id has 1 to %d bytes, not %d", wire.MaxName, len(c.Cluster))
	}
	if c.Level < 0 || c.Level > Level {
		return wire.Invalid("level", "level %d is not within 1..%d", c.Level, Level)
	}
	return nil
}

func (tx *txn) found(c Found, at time.Time) (string, error) {
	switch {
	case c.Cluster == "":
		return "", wire.Invalid("cluster", "a cluster's id is not empty")
	case tx.ClusterID == c.Cluster:
		return tx.ClusterID, nil
	case tx.ClusterID != "":
		return "", wire.Refuse(wire.CodeConflict, "this is cluster %s already", tx.ClusterID)
	case c.Level > tx.maxLevel:
		return "", &stopError{fmt.Errorf("level %d: this binary is too old, it knows level %d", c.Level, tx.maxLevel)}
	}
	tx.ClusterID, tx.Level = c.Cluster, max(tx.Level, c.Level)
	tx.emit("founded", c.Cluster, at)
	return tx.ClusterID, nil
}

// RaiseLevel offers the commands of a higher level. It is refused while a
// coordinator is known that does not know them.
type RaiseLevel struct {
	Level int `json:"level"`
}

func (tx *txn) raiseLevel(c RaiseLevel, at time.Time) (int, error) {
	if c.Level <= tx.Level {
		return tx.Level, nil
	}
	n := 0
	for row := range tx.Registry.Coordinators() {
		if row.Level < c.Level {
			return 0, wire.Refuse(wire.CodeConflict, "coordinator %s knows level %d only", row.ID, row.Level)
		}
		n++
	}
	if n == 0 {
		return 0, wire.Refuse(wire.CodeConflict, "no coordinator is known yet")
	}
	if c.Level > tx.maxLevel {
		return 0, &stopError{fmt.Errorf("level %d: this binary is too old, it knows level %d", c.Level, tx.maxLevel)}
	}
	tx.Level = c.Level
	tx.emit("level_raised", fmt.Sprint(c.Level), at)
	return tx.Level, nil
}

// announce keeps a coordinator out that is too old for the cluster's level.
func (tx *txn) announce(c registry.Announce, at time.Time) (registry.Coordinator, error) {
	row, err := tx.registry().Announce(c, at)
	if err == nil && row.Level < tx.Level {
		return registry.Coordinator{}, wire.Refuse(wire.CodeConflict,
			"coordinator %s knows level %d only; the cluster is at level %d", row.ID, row.Level, tx.Level)
	}
	return row, err
}
