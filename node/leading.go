package node

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
)

// whileLeading registers what only the leader does. Each task begins with an
// election won and ends with the leadership.
func (n *Node) whileLeading() {
	n.raft.WhileLeading("cluster id", n.foundCluster)
	n.raft.WhileLeading("group", n.writeGroup)
	n.raft.WhileLeading("lost homes", func(ctx context.Context) error {
		return lease.Sweep(ctx, lease.SweepConfig{
			Self: n.cfg.ID, View: n.machine.View, Alive: n.raft.Alive, Window: n.raft.ContactWindow(), Grace: n.cfg.Grace, Logger: n.log,
			Propose: lease.Through(n.proposer, n.cfg.ID),
		})
	})
	n.raft.WhileLeading("removed members", n.forgetRemoved)
	n.raft.WhileLeading("dispatch", n.dispatch)
}

// foundCluster writes the cluster's id into the state, once in its life.
func (n *Node) foundCluster(ctx context.Context) error {
	for n.machine.View().ClusterID == "" {
		if err := n.propose(ctx, fsm.KindFound, fsm.Found{Cluster: n.raft.ClusterID()}); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// groupEvery is how often the leader looks whether what it wrote down of the
// group still holds, and groupTime how long a change of it waits for that.
const (
	groupEvery = time.Second
	groupTime  = 2 * time.Second
)

// writeGroup writes down that this coordinator leads, and who votes where that
// was not done at the change itself.
func (n *Node) writeGroup(ctx context.Context) error {
	tick := time.NewTicker(groupEvery)
	defer tick.Stop()
	for {
		n.noteGroup(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// noteGroup writes down how raft's group stands, so that there is news of it.
// In vain, it is tried again at the next look. One at a time, so that an older
// look is not written down behind a newer one.
func (n *Node) noteGroup(ctx context.Context) {
	n.noting.Lock()
	defer n.noting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, groupTime)
	defer cancel()
	if now, leads := n.group(ctx); leads && !now.Same(n.machine.View().Group) {
		_ = n.propose(ctx, fsm.KindGroup, now)
	}
}

// group is raft's group as of now; leads tells whether this server leads it.
func (n *Node) group(ctx context.Context) (g fsm.Group, leads bool) {
	members, err := n.raft.Members(ctx)
	if err != nil {
		return g, false
	}
	for _, m := range members {
		g.Servers = append(g.Servers, fsm.Server{ID: m.ID, ServerID: m.ServerID, Suffrage: m.Suffrage})
	}
	slices.SortFunc(g.Servers, func(a, b fsm.Server) int { return strings.Compare(a.ServerID, b.ServerID) })
	g.Leader, g.ServerID, _, g.Term = n.raft.LeaderInfo()
	return g, g.Leader == n.cfg.ID
}

// forgetRemoved deletes the row of a coordinator that is no longer a member,
// so that its namespace is free. Its sessions end by the lost homes' grace.
func (n *Node) forgetRemoved(ctx context.Context) error {
	absent := map[string]int{} // by server id: how many looks in a row
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		members, err := n.raft.Members(ctx)
		if err != nil {
			continue
		}
		there := map[string]bool{}
		for _, m := range members {
			there[m.ServerID] = true
		}
		for c := range n.machine.View().Registry.Coordinators() {
			if there[c.ServerID] {
				delete(absent, c.ServerID)
				continue
			}
			if absent[c.ServerID]++; absent[c.ServerID] < 3 {
				continue // it may be joining under a new incarnation just now
			}
			if err := n.propose(ctx, registry.KindForget, registry.Forget{ID: c.ID, ServerID: c.ServerID}); err == nil {
				n.log.Info("forgot a removed coordinator", "id", c.ID, "server_id", c.ServerID)
				delete(absent, c.ServerID)
			}
		}
	}
}
