package node

import (
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
)

// autopilot puts what is set in the state over what the leader goes by otherwise.
func (o *opener) autopilot(s raftnode.AutopilotSettings) raftnode.AutopilotSettings {
	set := o.machine.View().Autopilot
	if set.CleanupDead != nil {
		s.CleanupDead = *set.CleanupDead
	}
	if set.DeadAfter != nil {
		s.DeadAfter = time.Duration(*set.DeadAfter)
	}
	if set.MinVoters != nil {
		s.MinVoters = *set.MinVoters
	}
	if set.Stabilization != nil {
		s.Stabilize = time.Duration(*set.Stabilization)
	}
	if set.MaxLag != nil {
		s.MaxLag = *set.MaxLag
	}
	return s
}
