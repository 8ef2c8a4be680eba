package cluster

import (
	"context"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// Level tells the cluster's level, and which one each member knows. Errors:
// unavailable.
func (c *Cluster) Level(ctx context.Context, who control.Principal, r control.Read) (wire.Level, control.Fresh, error) {
	if err := c.Authorize(who, control.ClusterRead, control.Thing{}); err != nil {
		return wire.Level{}, control.Fresh{}, err
	}
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Level{}, fresh, err
	}
	members, err := c.Replica().Members(ctx)
	if err != nil {
		return wire.Level{}, fresh, control.ReadError(err)
	}
	return levelOf(view, members), fresh, nil
}

// levelOf is a level that all members know, and what each of them knows.
func levelOf(view *fsm.State, members []raftnode.MemberInfo) wire.Level {
	out := wire.Level{Level: view.Level, Members: []wire.MemberLevel{}}
	for i, m := range members {
		row := wire.MemberLevel{ID: m.ID, ServerID: m.ServerID, Version: m.Version}
		// What another server of the same id announced says nothing of this one.
		if said, ok := view.Registry.Coordinator(m.ID); ok && said.ServerID == m.ServerID {
			row.Level = max(said.Level, 1)
		}
		if i == 0 || row.Level < out.Known {
			out.Known = row.Level
		}
		out.Members = append(out.Members, row)
	}
	out.Known = max(out.Known, out.Level) // which nobody is let in without
	slices.SortFunc(out.Members, func(a, b wire.MemberLevel) int { return strings.Compare(a.ServerID, b.ServerID) })
	return out
}

// RaiseLevel raises the cluster's level, by default to the highest that this
// coordinator knows, and tells it before and after. There is no way back: a binary
// that does not know the level can be no member any more. What is raised already is
// done. Errors: invalid, conflict (a coordinator, which is named, does not know the
// level, or has not said what it knows; the level is higher already), unavailable,
// unknown (repeat it).
func (c *Cluster) RaiseLevel(ctx context.Context, who control.Principal, in wire.RaiseLevel) (wire.RaisedLevel, error) {
	if err := c.Authorize(who, control.ClusterWrite, control.Thing{}); err != nil {
		return wire.RaisedLevel{}, err
	}
	to := fsm.Level
	if in.Level != nil {
		to = *in.Level
	}
	switch {
	case to < 1:
		return wire.RaisedLevel{}, wire.Invalid("level", "level %d: a level is at least 1", to)
	case to > fsm.Level:
		return wire.RaisedLevel{}, wire.Refuse(wire.CodeConflict, "coordinator %s knows level %d only: install a newer version first", c.Self().ID, fsm.Level)
	}
	members, err := c.Replica().Members(ctx)
	if err != nil {
		return wire.RaisedLevel{}, control.ReadError(err)
	}
	view, _, err := c.View(ctx, control.Read{Consistency: string(raftnode.Strict)})
	if err != nil {
		return wire.RaisedLevel{}, err
	}
	if err := mayRaise(levelOf(view, members), to); err != nil {
		return wire.RaisedLevel{}, err
	}
	after, index, err := propose.Do[int](ctx, c.Proposer(), fsm.KindRaiseLevel, who.Author(control.ClusterWrite, ""), fsm.RaiseLevel{Level: to})
	if err != nil {
		return wire.RaisedLevel{}, err
	}
	return wire.RaisedLevel{Before: view.Level, Level: after, Index: index}, nil
}

// mayRaise refuses a level that a member is not known to know, and one below that
// of the cluster. The state machine asks again, of all that have announced
// themselves by then. Errors: conflict.
func mayRaise(is wire.Level, to int) error {
	if to < is.Level {
		return wire.Refuse(wire.CodeConflict, "the cluster is at level %d, and a level is never lowered to %d", is.Level, to)
	}
	for _, m := range is.Members {
		switch {
		case to == is.Level || m.Level >= to:
		case m.Level == 0:
			return wire.Refuse(wire.CodeConflict, "coordinator %s (%s) has not said yet which level it knows: start it, or remove it", m.ID, m.ServerID)
		default:
			return wire.Refuse(wire.CodeConflict, "coordinator %s knows level %d only: install a newer version there first, or remove it", m.ID, m.Level)
		}
	}
	return nil
}
