package cluster

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of the autopilot's settings: what is shorter or longer is surely a slip.
const (
	leastDeadAfter    = 10 * time.Second
	mostDeadAfter     = 365 * 24 * time.Hour
	mostStabilization = time.Hour
	mostMinVoters     = 99
)

// Autopilot tells what the leader goes by when it changes the membership by itself, and
// how the members are, as this coordinator sees them. Errors: unavailable.
func (c *Cluster) Autopilot(ctx context.Context, who control.Principal, r control.Read) (wire.Autopilot, control.Fresh, error) {
	if err := c.Authorize(who, control.ClusterRead, control.Thing{}); err != nil {
		return wire.Autopilot{}, control.Fresh{}, err
	}
	_, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Autopilot{}, fresh, err
	}
	out, err := c.autopilot(ctx)
	return out, fresh, err
}

func (c *Cluster) autopilot(ctx context.Context) (wire.Autopilot, error) {
	members, err := c.Replica().Members(ctx)
	if err != nil {
		return wire.Autopilot{}, control.ReadError(err)
	}
	by := c.Replica().Autopilot()
	leader, _, _, _ := c.Replica().LeaderInfo()
	out := wire.Autopilot{
		CleanupDead: by.CleanupDead, DeadAfter: wire.Duration(by.DeadAfter), MinVoters: by.MinVoters,
		Stabilization: wire.Duration(by.Stabilize), MaxLag: by.MaxLag,
		Healthy: leader != "" && len(members) > 0, FailureTolerance: c.Replica().Status().Tolerance, Servers: []wire.ServerHealth{},
	}
	for _, m := range members {
		out.Healthy = out.Healthy && m.Healthy
		out.Servers = append(out.Servers, wire.ServerHealth{ID: m.ID, ServerID: m.ServerID, Healthy: m.Healthy, Reason: m.Reason})
	}
	return out, nil
}

// SetAutopilot sets some of it, and tells what holds then. Errors: invalid, conflict (the
// cluster's level is below 2), unavailable, unknown (repeat it).
func (c *Cluster) SetAutopilot(ctx context.Context, who control.Principal, in wire.AutopilotSettings) (wire.Autopilot, uint64, error) {
	if err := c.Authorize(who, control.ClusterWrite, control.Thing{}); err != nil {
		return wire.Autopilot{}, 0, err
	}
	if err := checkAutopilot(in); err != nil {
		return wire.Autopilot{}, 0, err
	}
	_, index, err := propose.Do[wire.AutopilotSettings](ctx, c.Proposer(), fsm.KindAutopilot, who.Author(control.ClusterWrite, ""), in)
	if err != nil {
		return wire.Autopilot{}, 0, err
	}
	if _, _, err := c.View(ctx, control.Read{Index: index}); err != nil {
		return wire.Autopilot{}, index, err
	}
	out, err := c.autopilot(ctx)
	return out, index, err
}

func checkAutopilot(in wire.AutopilotSettings) error {
	switch {
	case in.DeadAfter != nil && (time.Duration(*in.DeadAfter) < leastDeadAfter || time.Duration(*in.DeadAfter) > mostDeadAfter):
		return wire.Invalid("dead_after", "a member is dead after %s to %s without an answer, not %s", leastDeadAfter, mostDeadAfter, time.Duration(*in.DeadAfter))
	case in.MinVoters != nil && (*in.MinVoters < 1 || *in.MinVoters > mostMinVoters):
		return wire.Invalid("min_voters", "it is 1 to %d, not %d", mostMinVoters, *in.MinVoters)
	case in.Stabilization != nil && (*in.Stabilization < 0 || time.Duration(*in.Stabilization) > mostStabilization):
		return wire.Invalid("stabilization", "it is 0 to %s, not %s", mostStabilization, time.Duration(*in.Stabilization))
	case in.MaxLag != nil && *in.MaxLag < 1:
		return wire.Invalid("max_lag", "it is at least 1 entry")
	}
	return nil
}
