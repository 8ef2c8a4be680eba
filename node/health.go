package node

import (
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// ready tells whether clients and disruption budgets may count on this node.
func (n *Node) ready() (bool, string) {
	switch {
	case !n.opened.Load():
		return n.startedUp()
	case n.membership.isOut():
		return false, "removed from the cluster"
	case n.closing.Load():
		return false, "this coordinator is stopping"
	}
	if ok, reason := n.raft.Health(); !ok {
		return false, reason
	}
	return recorded(n.machine.View(), n.self())
}

// recorded tells whether the state has what clients count on: this coordinator, and of a cluster that was just founded its
// level, without which half of the commands are refused. The two are written in any order.
func recorded(state *fsm.State, self registry.Coordinator) (bool, string) {
	switch {
	case !isAnnounced(state, self):
		return false, "this coordinator has not taken its place in the registry yet"
	case state.ClusterID == "":
		return false, "the cluster is being founded: its level is not known yet"
	}
	return true, ""
}

// Ready tells whether clients may count on this node: it is a member, hears a
// leader and has caught up.
func (n *Node) Ready() bool {
	ok, _ := n.ready()
	return ok
}

// describe completes an answer of Status with what only the node knows.
func (n *Node) describe(st *wire.Status) {
	st.Ready, st.ReadyReason = n.ready()
	st.HTTPAddress, st.PeerAddress = n.addrs.HTTP, n.addrs.Peer
	st.Version, st.StartedAt = n.cfg.Version, n.started
	st.DataDir, st.InsecureReason = n.cfg.DataDir, n.cfg.insecureReason()
	st.MessageCounts = n.router.Stats()
	st.SlowConsumers, st.Disk = n.slowConsumers(), n.disk.last.Load()
}
