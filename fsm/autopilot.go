package fsm

import (
	"errors"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// KindAutopilot sets what the leader does with the membership by itself. Its body is a
// wire.AutopilotSettings: what is not in it stays as it is.
const KindAutopilot = "fsm.autopilot"

// rowAutopilot is the table of the one wire.AutopilotSettings in a snapshot.
const rowAutopilot = "fsm.autopilot"

// setAutopilot returns the settings that were ever set, these included.
func (tx *txn) setAutopilot(c wire.AutopilotSettings, at time.Time) (wire.AutopilotSettings, error) {
	if err := ruleAutopilot(c); err != nil {
		return wire.AutopilotSettings{}, err
	}
	before, after := tx.Autopilot, tx.Autopilot
	setIf(&after.CleanupDead, c.CleanupDead)
	setIf(&after.DeadAfter, c.DeadAfter)
	setIf(&after.MinVoters, c.MinVoters)
	setIf(&after.Stabilization, c.Stabilization)
	setIf(&after.MaxLag, c.MaxLag)
	if tx.Autopilot = after; after != before {
		tx.emit("autopilot_set", "autopilot", at)
	}
	return after, nil
}

// setIf keeps the old pointer where the value is the same.
func setIf[T comparable](to **T, value *T) {
	if value != nil && (*to == nil || **to != *value) {
		*to = value
	}
}

// ruleAutopilot refuses what no leader could go by.
func ruleAutopilot(c wire.AutopilotSettings) error {
	switch {
	case c.DeadAfter != nil && *c.DeadAfter <= 0:
		return wire.Invalid("dead_after", "a time is more than 0")
	case c.MinVoters != nil && *c.MinVoters < 1:
		return wire.Invalid("min_voters", "there is at least 1 voter")
	case c.Stabilization != nil && *c.Stabilization < 0:
		return wire.Invalid("stabilization", "a time is not less than 0")
	case c.MaxLag != nil && *c.MaxLag < 1:
		return wire.Invalid("max_lag", "a lag is at least 1 entry")
	}
	return nil
}

func (s *State) loadAutopilot(decode func(any) error) error {
	if s.Autopilot != (wire.AutopilotSettings{}) {
		return errors.New("settings of the autopilot are there twice")
	}
	return decode(&s.Autopilot)
}
