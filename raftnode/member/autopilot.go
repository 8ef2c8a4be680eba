package member

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// AutopilotSettings are what the leader goes by when it changes the membership by itself.
type AutopilotSettings struct {
	CleanupDead bool          // remove members that are dead
	DeadAfter   time.Duration // for so long a member has not answered
	MinVoters   int           // so many voters stay, dead or not
	Stabilize   time.Duration // for so long a member is well before it may vote
	MaxLag      uint64        // entries that a member may be behind and be well, or get its vote
}

// Settings are those of now.
func (m *Manager) Settings() AutopilotSettings {
	s := AutopilotSettings{CleanupDead: true, DeadAfter: 24 * time.Hour, MinVoters: 3, Stabilize: m.cfg.Stabilize, MaxLag: m.cfg.MaxLag}
	if m.cfg.Autopilot != nil {
		s = m.cfg.Autopilot(s)
	}
	return s
}

// Autopilot is a task of the leader: it writes changed addresses into the
// configuration, gives votes to members that have proved themselves, and removes
// those that are dead, one change at a time.
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
	if s, ok := m.deadMember(m.Settings()); ok {
		m.log.Warn("a member has not answered for long and is removed", "server", s.ID, "silent", m.peers.silence(string(s.ID)).Round(time.Second))
		return m.awaitChange(ctx, m.raft.RemoveServer(s.ID, 0, changeTimeout))
	}
	return nil
}

// deadMember is a member to be removed: it has been silent for long, and without it
// enough voters are left, of which a majority answers. Those without a vote go first.
func (m *Manager) deadMember(by AutopilotSettings) (dead raft.Server, found bool) {
	if !by.CleanupDead {
		return dead, false
	}
	voters := m.OtherVoters() + 1 // the leader votes
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == m.serverID || m.peers.silence(string(s.ID)) < by.DeadAfter {
			continue
		}
		if s.Suffrage != raft.Voter {
			return s, true
		}
		if !found && voters > by.MinVoters && (&configChange{Manager: m}).checkQuorumWithout(s) == nil {
			dead, found = s, true
		}
	}
	return dead, found
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
	by := m.Settings()
	return ok && !k.hello.NonVoter &&
		m.peers.fresh(k) &&
		k.answered.Sub(k.healthySince) >= by.Stabilize &&
		behind(k.hello.Last, m.raft.LastIndex()) <= by.MaxLag
}

// behind is how many entries are missing from one index to another.
func behind(has, newest uint64) uint64 { return newest - min(has, newest) }

// pruneNonMembers drops the records of servers that are no members and have
// not been heard of for a while.
func (m *Manager) pruneNonMembers() {
	m.peers.recordMembers(m.raft.GetConfiguration().Configuration().Servers)
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
