package member

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// Autopilot is a task of the leader: it writes changed addresses into the
// configuration and gives votes to members that have proved themselves, one
// change at a time.
func (m *Manager) Autopilot(ctx context.Context) error {
	tick := time.NewTicker(m.cfg.Ping)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := m.autopilotStep(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("the membership could not be tended", "error", err)
		}
		m.pruneNonMembers()
	}
}

// autopilotStep makes at most one change.
func (m *Manager) autopilotStep(ctx context.Context) error {
	select {
	case m.changeLock <- struct{}{}:
		defer func() { <-m.changeLock }()
	default:
		return nil // an operator is at it
	}
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if addr := m.changedAddress(s); addr != "" {
			return (&configChange{Manager: m}).updateAddress(ctx, s, addr)
		}
	}
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter && m.promotable(string(s.ID)) {
			addr, _ := m.addresses.lookup(string(s.ID))
			m.log.Info("a member has been well for a while and gets a vote", "server", s.ID)
			return m.awaitChange(ctx, m.raft.AddVoter(s.ID, raft.ServerAddress(addr), 0, changeTimeout))
		}
	}
	return nil
}

// changedAddress is the address of a server that has answered at another one than the
// configuration says, else "".
func (m *Manager) changedAddress(s raft.Server) string {
	addr := m.self.Address
	if string(s.ID) != m.serverID {
		k, ok := m.peers.lookup(string(s.ID))
		if !ok || !m.peers.fresh(k) {
			return ""
		}
		addr = k.hello.Address
	}
	if addr == string(s.Address) {
		return ""
	}
	return addr
}

// promotable reports whether a member may get a vote: it wants one, has answered
// without a gap for the time of stabilisation, and is close behind.
func (m *Manager) promotable(serverID string) bool {
	k, ok := m.peers.lookup(serverID)
	return ok && !k.hello.NonVoter &&
		m.peers.fresh(k) &&
		k.answered.Sub(k.healthySince) >= m.cfg.Stabilize &&
		k.hello.Last+m.cfg.MaxLag >= m.raft.LastIndex()
}

// pruneNonMembers drops the records of servers that are no members and have
// not been heard of for a while.
func (m *Manager) pruneNonMembers() {
	if err := m.identity.PrunePeers(m.memberOrHeard); err != nil {
		m.failStorage(err)
	}
	m.peers.prune(m.memberOrHeard)
	m.host.PruneUnreachable(m.memberOrHeard)
}

// memberOrHeard reports whether a server is a member, or has been heard of lately:
// it may be about to join.
func (m *Manager) memberOrHeard(serverID string) bool {
	if _, ok := m.Server(serverID); ok {
		return true
	}
	k, ok := m.peers.lookup(serverID)
	return ok && m.peers.clock.Now()-k.answeredClock < 10*m.peers.timeout
}
