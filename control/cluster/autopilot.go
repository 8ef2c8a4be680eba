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
	mostMaxLag        = 1_000_000_000
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
	out := c.settings()
	leader, _, _, _ := c.Replica().LeaderInfo()
	out.Healthy, out.FailureTolerance = leader != "" && len(members) > 0, c.Replica().Status().Tolerance
	for _, m := range members {
		out.Healthy = out.Healthy && m.Healthy
		out.Servers = append(out.Servers, wire.ServerHealth{ID: m.ID, ServerID: m.ServerID, Healthy: m.Healthy, Reason: m.Reason})
	}
	return out, nil
}

// settings are those that hold here, without how the members are.
func (c *Cluster) settings() wire.Autopilot {
	by := c.Replica().Autopilot()
	return wire.Autopilot{
		CleanupDead: by.CleanupDead, DeadAfter: wire.Duration(by.DeadAfter), MinVoters: by.MinVoters,
		Stabilization: wire.Duration(by.Stabilize), MaxLag: by.MaxLag, FailureTolerance: -1, Servers: []wire.ServerHealth{},
	}
}

// SetAutopilot sets some of it, and tells what holds then. If the members cannot be asked
// for behind the write, which is done, there are no servers in the answer. Errors: invalid,
// conflict (the cluster's level is below 2), unavailable, unknown (repeat it).
func (c *Cluster) SetAutopilot(ctx context.Context, who control.Principal, in wire.AutopilotSettings) (wire.Autopilot, uint64, error) {
	if err := c.Authorize(who, control.ClusterWrite, control.Thing{}); err != nil {
		return wire.Autopilot{}, 0, err
	}
	if err := checkAutopilot(in); err != nil {
		return wire.Autopilot{}, 0, err
	}
	set, index, err := propose.Do[wire.AutopilotSettings](ctx, c.Proposer(), fsm.KindAutopilot, who.Author(control.ClusterWrite, ""), in)
	if err != nil {
		return wire.Autopilot{}, 0, err
	}
	// What is done is done: that it cannot be read says nothing of it.
	out := c.settings()
	if _, _, err := c.View(ctx, control.Read{Index: index}); err == nil {
		if read, err := c.autopilot(ctx); err == nil {
			out = read
		}
	}
	override(&out.CleanupDead, set.CleanupDead)
	override(&out.DeadAfter, set.DeadAfter)
	override(&out.MinVoters, set.MinVoters)
	override(&out.Stabilization, set.Stabilization)
	override(&out.MaxLag, set.MaxLag)
	return out, index, nil
}

func override[T any](to, by *T) {
	if by != nil {
		*to = *by
	}
}

func checkAutopilot(in wire.AutopilotSettings) error {
	switch {
	case in.DeadAfter != nil && (time.Duration(*in.DeadAfter) < leastDeadAfter || time.Duration(*in.DeadAfter) > mostDeadAfter):
		return wire.Invalid("dead_after", "a member is dead after %s to %s without an answer, not %s", leastDeadAfter, mostDeadAfter, time.Duration(*in.DeadAfter))
	case in.MinVoters != nil && (*in.MinVoters < 1 || *in.MinVoters > mostMinVoters):
		return wire.Invalid("min_voters", "it is 1 to %d, not %d", mostMinVoters, *in.MinVoters)
	case in.Stabilization != nil && (*in.Stabilization < 0 || time.Duration(*in.Stabilization) > mostStabilization):
		return wire.Invalid("stabilization", "it is 0 to %s, not %s", mostStabilization, time.Duration(*in.Stabilization))
	case in.MaxLag != nil && (*in.MaxLag < 1 || *in.MaxLag > mostMaxLag):
		return wire.Invalid("max_lag", "it is 1 to %d entries, not %d", mostMaxLag, *in.MaxLag)
	}
	return nil
}
