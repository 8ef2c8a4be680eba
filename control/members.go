package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Members lists the coordinators of the cluster by server id. The strength of the read
// counts for their namespaces and addresses; who is alive is as this
// coordinator sees it. A wait ends by a change of the coordinators' rows, and
// soon after one of who votes, leads or is alive. Errors: unavailable.
func (c *Control) Members(ctx context.Context, who Principal, r Read) (wire.Members, Fresh, error) {
	if err := c.Authorize(who, ClusterRead, Thing{}); err != nil {
		return wire.Members{}, Fresh{}, err
	}
	if r.Wait > 0 && r.Index > 0 {
		c.untilMembersChange(ctx, min(r.Wait, longestWait), r.Index)
		r.Index, r.Wait = 0, 0
	}
	view, fresh, err := c.View(ctx, r)
	if err != nil {
		return wire.Members{}, fresh, err
	}
	infos, err := c.node.Members(ctx)
	if err != nil {
		return wire.Members{}, fresh, asRead(err)
	}
	list := wire.Members{Members: []wire.Member{}}
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
func (c *Control) untilMembersChange(ctx context.Context, wait time.Duration, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	before := c.servers(ctx)
	for ctx.Err() == nil {
		look, cancel := context.WithTimeout(ctx, membersEvery)
		err := c.machine.WaitFor(look, fsm.Coordinators, index+1)
		cancel()
		if err == nil || !maps.Equal(before, c.servers(ctx)) {
			return
		}
	}
}

// servers is what of the group's servers tells a change.
func (c *Control) servers(ctx context.Context) map[string]string {
	infos, err := c.node.Members(ctx)
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for _, m := range infos {
		all[m.ServerID] = fmt.Sprint(m.Suffrage, m.State, m.Alive, m.Healthy)
	}
	return all
}

// AddMember takes the coordinator at a peer address in. Errors: invalid,
// conflict, unavailable, unknown.
func (c *Control) AddMember(ctx context.Context, who Principal, in wire.AddMember) (wire.Member, error) {
	if err := c.Authorize(who, ClusterWrite, Thing{}); err != nil {
		return wire.Member{}, err
	}
	if in.Address == "" || len(in.Address) > 512 || !strings.Contains(in.Address, ":") {
		return wire.Member{}, wire.Invalid("address", "an address is host:port, not %.80q", in.Address)
	}
	m, err := c.node.AddMember(ctx, in.Address, in.NonVoter)
	if err != nil {
		return wire.Member{}, asWire(err)
	}
	return c.member(c.machine.View().Registry, m), nil
}

// RemoveMember takes a coordinator out, by id or server id. Errors: not_found,
// conflict (the rest would have no majority), unavailable, unknown.
func (c *Control) RemoveMember(ctx context.Context, who Principal, id string) error {
	return c.change(ctx, who, id, c.node.RemoveMember)
}

// Promote gives a non-voter its vote. Errors as of RemoveMember.
func (c *Control) Promote(ctx context.Context, who Principal, id string) error {
	return c.change(ctx, who, id, c.node.Promote)
}

// Demote takes the vote from a voter. Errors as of RemoveMember.
func (c *Control) Demote(ctx context.Context, who Principal, id string) error {
	return c.change(ctx, who, id, c.node.Demote)
}

func (c *Control) change(ctx context.Context, who Principal, id string, do func(context.Context, string) error) error {
	if err := c.Authorize(who, ClusterWrite, Thing{ID: id}); err != nil {
		return err
	}
	if id == "" {
		return wire.Invalid("id", "a member's id is missing")
	}
	return asWire(do(ctx, id))
}

// transferTime is how long Transfer waits for the new leader to be known.
const transferTime = 15 * time.Second

// Transfer hands leadership over, to the best follower unless one is named, and
// returns the leader of the new term; if the one named leads already, that one.
// Errors: not_found, conflict (it cannot lead, or another one was elected),
// unavailable, unknown (the old leader has stepped down, and no other is known).
func (c *Control) Transfer(ctx context.Context, who Principal, in wire.Transfer) (wire.Leader, error) {
	if err := c.Authorize(who, ClusterWrite, Thing{}); err != nil {
		return wire.Leader{}, err
	}
	_, _, _, before := c.node.LeaderInfo()
	past, err := c.node.Transfer(ctx, in.To)
	switch {
	case err != nil:
		return wire.Leader{}, asWire(err)
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
func (c *Control) Leader(_ context.Context, who Principal) (wire.Leader, error) {
	if err := c.Authorize(who, AnyRight, Thing{}); err != nil {
		return wire.Leader{}, err
	}
	return c.leader()
}

func (c *Control) leader() (wire.Leader, error) {
	id, server, addr, term := c.node.LeaderInfo()
	if id == "" {
		return wire.Leader{}, wire.NotTried("no leader is known")
	}
	l := wire.Leader{ID: id, ServerID: server, Address: addr, Term: term}
	if row, ok := c.machine.View().Registry.Coordinator(id); ok {
		l.HTTPAddress = row.HTTPAddr
	}
	return l, nil
}

// asRead is asWire for what changes nothing: an error without a code is
// unavailable.
func asRead(err error) error {
	if wire.CodeOf(err) == wire.CodeInternal {
		return wire.NotTried("%v", err)
	}
	return err
}
