package cluster

import (
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// member is one server of the group with what its coordinator announced.
func (c *Cluster) member(table *registry.Table, m raftnode.MemberInfo) wire.Member {
	out := wire.Member{
		ID: m.ID, ServerID: m.ServerID, Address: m.Address, Suffrage: m.Suffrage, State: m.State, Alive: m.Alive,
		LastIndex: m.LastIndex, AppliedIndex: m.AppliedIndex, LastContactMs: float64(m.LastContact.Microseconds()) / 1000,
		Version: m.Version, Healthy: m.Healthy, Boot: m.Boot, NonVoter: m.NonVoter, Certificate: m.Certificate, Disk: m.Disk,
	}
	if m.LastContact < 0 {
		out.LastContactMs = -1
	}
	if row, ok := table.Coordinator(m.ID); ok {
		out.Namespace, out.HTTPAddress = row.Namespace, row.HTTPAddr
	}
	return out
}

// fromReplica fills in what the log's keeper knows.
func (c *Cluster) fromReplica(s *wire.Status) {
	n := c.Replica().Status()
	if n.ServerID != "" {
		s.ServerID = n.ServerID
	}
	if s.ClusterID == "" {
		s.ClusterID = n.ClusterID
	}
	s.State, s.Members, s.Voters, s.Tolerance = n.State, n.Members, n.Voters, n.Tolerance
	s.LastIndex, s.CommitIndex, s.LastSnapshot = n.LastIndex, n.CommitIndex, n.LastSnapshot
	s.Warning = n.Warning
	s.LogStore, s.PreVote, s.LeaderChanges = n.LogStore, n.PreVote, n.LeaderChanges
	if s.Term == 0 {
		s.Term = n.Term
	}
	s.RaftTimeouts["heartbeat"] = n.HeartbeatTimeout.String()
	s.RaftTimeouts["election"] = n.ElectionTimeout.String()
	s.RaftTimeouts["leader_lease"] = n.LeaderLease.String()
	s.RaftTimeouts["commit"] = n.CommitTimeout.String()
}
