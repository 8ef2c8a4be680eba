package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// Members lists the coordinators of the cluster by server id. The strength of the read
// counts for their namespaces and addresses; who is alive is as this
// coordinator sees it. A wait ends by a change of the coordinators' rows, and
// soon after one of who votes, leads or is alive. Errors: unavailable.
func (c *Cluster) Members(ctx context.Context, who control.Principal, r control.Read) (wire.Members, control.Fresh, error) {
	if err := c.Authorize(who, control.ClusterRead, control.Thing{}); err != nil {
		return wire.Members{}, control.Fresh{}, err
	}
	if r.Wait > 0 && r.Index > 0 {
		c.untilMembersChange(ctx, min(r.Wait, control.LongestWait), r.Index)
		r.Index, r.Wait = 0, 0
	}
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Members{}, fresh, err
	}
	index := c.Replica().ConfigIndex() // before the list, which is then as new or newer
	infos, err := c.Replica().Members(ctx)
	if err != nil {
		return wire.Members{}, fresh, control.ReadError(err)
	}
	list := wire.Members{Members: []wire.Member{}, ConfigIndex: index}
	for _, m := range infos {
		list.Members = append(list.Members, c.member(view.Registry, m))
	}
	slices.SortFunc(list.Members, func(a, b wire.Member) int { return strings.Compare(a.ServerID, b.ServerID) })
	return list, fresh, nil
}

// membersEvery is how often a wait looks at what is in no table.
const membersEvery = time.Second

// untilMembersChange blocks until the coordinators' rows have changed after
// index, the servers of the group have, or the time is over.
func (c *Cluster) untilMembersChange(ctx context.Context, wait time.Duration, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	before := c.servers(ctx)
	for ctx.Err() == nil {
		look, cancel := context.WithTimeout(ctx, membersEvery)
		err := c.WaitFor(look, fsm.Coordinators, index+1)
		cancel()
		if err == nil || !maps.Equal(before, c.servers(ctx)) {
			return
		}
	}
}

// servers is what of the group's servers tells a change.
func (c *Cluster) servers(ctx context.Context) map[string]string {
	infos, err := c.Replica().Members(ctx)
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for _, m := range infos {
		all[m.ServerID] = fmt.Sprint(m.Suffrage, m.State, m.Alive, m.Healthy)
	}
	return all
}

// AddMember takes the coordinator at a peer address in, and tells the index of the
// configuration then. Errors: invalid, conflict (also: the configuration is another
// than that of change), unavailable, unknown.
func (c *Cluster) AddMember(ctx context.Context, who control.Principal, in wire.AddMember, change control.MemberChange) (wire.Member, uint64, error) {
	if err := c.Authorize(who, control.ClusterWrite, control.Thing{}); err != nil {
		return wire.Member{}, 0, err
	}
	if in.Address == "" || len(in.Address) > 512 || !strings.Contains(in.Address, ":") {
		return wire.Member{}, 0, wire.Invalid("address", "an address is host:port, not %.80q", in.Address)
	}
	done, err := c.Replica().AddMember(ctx, in.Address, in.NonVoter, change)
	if err != nil {
		return wire.Member{}, 0, control.WriteError(err)
	}
	return c.member(c.State().Registry, done.Member), done.ConfigIndex, nil
}

// RemoveMember takes a coordinator out, by id or server id. Errors: not_found,
// conflict (the rest would have no majority; the configuration is another than that
// of change), unavailable, unknown.
func (c *Cluster) RemoveMember(ctx context.Context, who control.Principal, id string, change control.MemberChange) (wire.MemberChangeResult, error) {
	return c.change(ctx, who, id, change, c.Replica().RemoveMember)
}

// Promote gives a non-voter its vote. Errors as of RemoveMember.
func (c *Cluster) Promote(ctx context.Context, who control.Principal, id string, change control.MemberChange) (wire.MemberChangeResult, error) {
	return c.change(ctx, who, id, change, c.Replica().Promote)
}

// Demote takes the vote from a voter. Errors as of RemoveMember.
func (c *Cluster) Demote(ctx context.Context, who control.Principal, id string, change control.MemberChange) (wire.MemberChangeResult, error) {
	return c.change(ctx, who, id, change, c.Replica().Demote)
}

// changeFunc changes one member.
type changeFunc = func(ctx context.Context, id string, c control.MemberChange) (raftnode.MemberChangeResult, error)

func (c *Cluster) change(ctx context.Context, who control.Principal, id string, on control.MemberChange, do changeFunc) (wire.MemberChangeResult, error) {
	if err := c.Authorize(who, control.ClusterWrite, control.Thing{ID: id}); err != nil {
		return wire.MemberChangeResult{}, err
	}
	if id == "" {
		return wire.MemberChangeResult{}, wire.Invalid("id", "a member's id is missing")
	}
	done, err := do(ctx, id, on)
	if err != nil {
		return wire.MemberChangeResult{}, control.WriteError(err)
	}
	return wire.MemberChangeResult{ID: id, ConfigIndex: done.ConfigIndex}, nil
}

// transferTime is how long Transfer waits for the new leader to be known.
const transferTime = 15 * time.Second

// Transfer hands leadership over, to the best follower unless one is named, and
// returns the leader of the new term; if the one named leads already, that one.
// Errors: not_found, conflict (it cannot lead, or another one was elected),
// unavailable, unknown (the old leader has stepped down, and no other is known).
func (c *Cluster) Transfer(ctx context.Context, who control.Principal, in wire.Transfer) (wire.Leader, error) {
	if err := c.Authorize(who, control.ClusterWrite, control.Thing{}); err != nil {
		return wire.Leader{}, err
	}
	_, _, _, before := c.Replica().LeaderInfo()
	past, err := c.Replica().Transfer(ctx, in.To)
	switch {
	case err != nil:
		return wire.Leader{}, control.WriteError(err)
	case past == 0 && in.To == "":
		past = before
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		l, err := c.leader()
		switch {
		case err != nil || l.Term <= past:
		case in.To == "" || in.To == l.ID || in.To == l.ServerID:
			return l, nil
		case past > 0:
			return l, wire.Refuse(wire.CodeConflict, "%s was elected, in term %d, and not %s: hand leadership over again", l.ID, l.Term, in.To)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return wire.Leader{}, wire.Unknown(fmt.Errorf("leadership was given up, and no leader of a term after %d is known here: %w", past, context.Cause(ctx)))
		}
	}
}

// Leader returns the leader as known here. Errors: unavailable (none is known).
func (c *Cluster) Leader(_ context.Context, who control.Principal) (wire.Leader, error) {
	if err := c.Authorize(who, control.AnyRight, control.Thing{}); err != nil {
		return wire.Leader{}, err
	}
	return c.leader()
}

func (c *Cluster) leader() (wire.Leader, error) {
	id, server, addr, term := c.Replica().LeaderInfo()
	if id == "" {
		return wire.Leader{}, wire.NotTried("no leader is known")
	}
	l := wire.Leader{ID: id, ServerID: server, Address: addr, Term: term}
	if row, ok := c.State().Registry.Coordinator(id); ok {
		l.HTTPAddress = row.HTTPAddr
	}
	return l, nil
}
