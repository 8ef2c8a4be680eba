package node

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/jobs/dispatch"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
)

// registerLeaderTasks registers what only the leader does. Each task starts with
// an election won and ends with the leadership.
func (n *Node) registerLeaderTasks() {
	n.raft.WhileLeading("cluster id", n.recordClusterID)
	n.raft.WhileLeading("expired tokens", n.expireTokens)
	n.raft.WhileLeading("group", n.recordGroupChanges)
	n.raft.WhileLeading("lost homes", n.expireLostHomes)
	n.raft.WhileLeading("removed members", n.forgetRemovedMembers)
	n.raft.WhileLeading("dispatch", n.dispatchJobs)
	n.raft.WhileLeading("restores", n.dropRestores)
	if n.cfg.BackupDir != "" {
		n.raft.WhileLeading("backups", n.backups.whileLeading)
	}
}

// expireLostHomes ends the sessions of coordinators that are gone.
func (n *Node) expireLostHomes(ctx context.Context) error {
	return lease.Sweep(ctx, lease.SweepConfig{
		Self: n.cfg.ID, View: n.machine.View, Alive: n.raft.Alive, Window: n.raft.ContactWindow(), Grace: n.cfg.Grace, Logger: n.log,
		Propose: lease.Through(n.proposer, n.cfg.ID),
	})
}

// dispatchJobs assigns the parts of jobs to workers.
func (n *Node) dispatchJobs(ctx context.Context) error {
	return dispatch.Run(ctx, dispatch.Config{
		Machine: n.machine, Proposer: n.proposer, Logger: n.log,
		Alive: func(home string) bool {
			alive, _ := n.raft.Alive(home)
			return alive || home == n.cfg.ID
		},
	})
}

// clusterIDRetry is the wait between attempts to record the cluster's id, and
// levelPatience how long a new leader waits for every founder to have said which
// level it knows. A cluster of which one says nothing begins at level 1, which
// every binary knows.
const (
	clusterIDRetry = 200 * time.Millisecond
	levelPatience  = 10 * time.Second
)

// recordClusterID writes the cluster's id into the state, once in its life, and
// the highest level that all founders know.
func (n *Node) recordClusterID(ctx context.Context) error {
	began := time.Now()
	for n.machine.View().ClusterID == "" {
		level, known := n.raft.CommonLevel()
		if known || time.Since(began) > levelPatience {
			found := fsm.Found{Cluster: n.raft.ClusterID()}
			if known && level > 1 { // an older binary does not know the field
				found.Level = level
			}
			if err := n.propose(ctx, fsm.KindFound, found); err == nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(clusterIDRetry):
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// expiryInterval is how often the leader looks for tokens whose time is over.
const expiryInterval = time.Second

// expireTokens ends tokens and join tokens whose time is over by this clock. The
// doors have refused them since; with the token its sessions end.
func (n *Node) expireTokens(ctx context.Context) error {
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		over, some := n.machine.View().Access.Expired(time.Now(), access.MaxOver)
		if !some {
			continue
		}
		if err := n.propose(ctx, access.KindExpire, over); err != nil {
			n.log.Debug("tokens that have expired are ended at the next look", "error", err)
		}
	}
}

// groupInterval is how often the leader checks whether the recorded group still
// holds, and groupTimeout how long a change of the group waits for its record.
const (
	groupInterval = time.Second
	groupTimeout  = 2 * time.Second
)

// recordGroupChanges records that this coordinator leads, and who votes where that
// was not recorded with the change itself.
func (n *Node) recordGroupChanges(ctx context.Context) error {
	tick := time.NewTicker(groupInterval)
	defer tick.Stop()
	for {
		n.recordGroup(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// recordGroup writes raft's group into the state if it has changed, so that there
// is an event of it. If it fails, it is tried again at the next check. Calls run
// one at a time, so that an older group is not recorded after a newer one.
func (n *Node) recordGroup(ctx context.Context) {
	n.groupMu.Lock()
	defer n.groupMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	if now, leads := n.currentGroup(ctx); leads && !now.Same(n.machine.View().Group) {
		_ = n.propose(ctx, fsm.KindGroup, now)
	}
}

// currentGroup is raft's group as of now; leads tells whether this server leads it.
func (n *Node) currentGroup(ctx context.Context) (g fsm.Group, leads bool) {
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

// A coordinator that is not a member at this many checks in a row was removed,
// and is not joining under a new incarnation just now.
const (
	removedInterval = 2 * time.Second
	removedChecks   = 3
)

// forgetRemovedMembers deletes the row of a coordinator that is no longer a
// member, so that its namespace is free. Its sessions end by the lost homes' grace.
func (n *Node) forgetRemovedMembers(ctx context.Context) error {
	absent := map[string]int{} // by server id: at how many checks in a row
	tick := time.NewTicker(removedInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if members, err := n.raft.Members(ctx); err == nil {
			n.forgetAbsent(ctx, members, absent)
		}
	}
}

// forgetAbsent counts at how many checks in a row each coordinator was absent, and
// forgets those that were long enough.
func (n *Node) forgetAbsent(ctx context.Context, members []raftnode.MemberInfo, absent map[string]int) {
	present := map[string]bool{}
	for _, m := range members {
		present[m.ServerID] = true
	}
	for c := range n.machine.View().Registry.Coordinators() {
		if present[c.ServerID] {
			delete(absent, c.ServerID)
			continue
		}
		if absent[c.ServerID]++; absent[c.ServerID] < removedChecks {
			continue
		}
		if err := n.propose(ctx, registry.KindForget, registry.Forget{ID: c.ID, ServerID: c.ServerID}); err == nil {
			n.log.Info("forgot a removed coordinator", "id", c.ID, "server_id", c.ServerID)
			delete(absent, c.ServerID)
		}
	}
}

// restoreInterval is how often the leader looks whether a restore goes on, and restoreChecks
// at how many looks in a row one that stands still is given up: whoever takes it through the
// log tries each step for a minute.
const (
	restoreInterval = 10 * time.Second
	restoreChecks   = 12
)

// dropRestores drops the pieces of a file that nobody goes on to restore.
func (n *Node) dropRestores(ctx context.Context) error {
	var last fsm.Restoring
	same := 0
	tick := time.NewTicker(restoreInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, some := n.machine.View().Restoring()
		if !some || now != last {
			last, same = now, 0
			continue
		}
		if same++; same < restoreChecks {
			continue
		}
		drop := fsm.DropRestore{ID: now.ID, Changed: now.Changed}
		if dropped, _, err := propose.Do[bool](ctx, n.proposer, fsm.KindDropRestore, propose.System(n.cfg.ID), drop); err == nil && dropped {
			n.log.Warn("a restore that nobody went on with was given up", "id", now.ID, "received", now.Received, "size", now.Size)
			same = 0
		}
	}
}
