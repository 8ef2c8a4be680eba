package member

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/outcome"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// admitMember takes in the server p, or records its new address. It is
// idempotent. A coordinator that comes back with an empty disk is a new
// server: its old one, which has votes that the new one does not know of, is
// removed first, if it is really gone.
func (m *Manager) admitMember(ctx context.Context, p disk.Peer, nonVoter bool) (serverID string, err error) {
	if p.ServerID == "" || p.ID == "" || p.Address == "" || disk.CoordinatorID(p.ServerID) != p.ID {
		return "", wire.Invalid("peer", "a server needs an id, a server id that begins with it, and an address; not %q, %q, %q", p.ID, p.ServerID, p.Address)
	}
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		id := string(s.ID)
		switch {
		case id == p.ServerID && string(s.Address) == p.Address:
			return id, nil
		case id == p.ServerID:
			return id, m.updateAddress(ctx, s, p.Address)
		case disk.CoordinatorID(id) == p.ID:
			if err := m.replaceMember(ctx, s, p); err != nil {
				return "", err
			}
		case string(s.Address) == p.Address:
			return "", wire.Refuse(wire.CodeConflict, "the address %s of %s is that of the member %s", p.Address, p.ServerID, id)
		}
	}
	m.log.Info("a server joins without a vote", "server", p.ServerID, "address", p.Address, "stays_so", nonVoter)
	return p.ServerID, m.awaitChange(ctx, m.raft.AddNonvoter(raft.ServerID(p.ServerID), raft.ServerAddress(p.Address), 0, changeTimeout))
}

// updateAddress writes a member's new address into the configuration. The library's
// AddNonvoter leaves a voter its vote.
func (m *Manager) updateAddress(ctx context.Context, s raft.Server, addr string) error {
	m.log.Info("a member has a new address", "server", s.ID, "from", s.Address, "to", addr)
	return m.awaitChange(ctx, m.raft.AddNonvoter(s.ID, raft.ServerAddress(addr), 0, changeTimeout))
}

// replaceMember removes the old server of a coordinator, unless it still answers.
func (m *Manager) replaceMember(ctx context.Context, old raft.Server, p disk.Peer) error {
	probe, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addr, _ := m.addresses.lookup(string(old.ID))
	for _, a := range []string{addr, string(old.Address)} {
		if h, err := m.sendHello(probe, a, string(old.ID)); err == nil && h.ServerID == string(old.ID) {
			return wire.Refuse(wire.CodeConflict, "a coordinator with the id %s is a member and alive at %s (server %s): %s needs another id", p.ID, a, old.ID, p.ServerID)
		}
	}
	if err := m.checkQuorumWithout(old); err != nil {
		return err
	}
	m.log.Warn("a coordinator came back with an empty disk: its old server is removed", "old", old.ID, "new", p.ServerID)
	return m.awaitChange(ctx, m.raft.RemoveServer(old.ID, 0, changeTimeout))
}

// inviteMember asks who runs at addr and takes it in.
func (m *Manager) inviteMember(ctx context.Context, addr string, nonVoter bool) (string, error) {
	if addr == "" {
		return "", wire.Invalid("address", "no address is given")
	}
	h, err := m.sendHello(ctx, addr, "")
	switch {
	case err != nil && permanent(err):
		return "", err
	case err != nil:
		return "", wire.Refuse(wire.CodeConflict, "no coordinator answers at %s: %v", addr, err)
	case h.Cluster != "" && h.Cluster != m.identity.Cluster():
		return "", wire.Refuse(wire.CodeConflict, "%s at %s belongs to another cluster, %s", h.ServerID, addr, h.Cluster)
	}
	if nonVoter != h.NonVoter && h.ServerID != m.serverID {
		if err := m.assignRole(ctx, h.Address, h.ServerID, nonVoter); err != nil {
			return "", err
		}
	}
	return m.admitMember(ctx, h.Peer, nonVoter)
}

// checkQuorumWithout refuses to take the vote of s away when the voters that are left
// could not agree on anything, that very change included.
func (m *Manager) checkQuorumWithout(s raft.Server) error {
	if s.Suffrage != raft.Voter {
		return nil
	}
	remaining, answering := 0, 0
	for _, v := range m.raft.GetConfiguration().Configuration().Servers {
		if v.Suffrage != raft.Voter || v.ID == s.ID {
			continue
		}
		remaining++
		if alive, _ := m.peers.alive(string(v.ID)); alive || string(v.ID) == m.serverID {
			answering++
		}
	}
	switch {
	case remaining == 0:
		return wire.Refuse(wire.CodeConflict, "%s has the last vote", disk.CoordinatorID(string(s.ID)))
	case answering < remaining/2+1:
		return wire.Refuse(wire.CodeConflict, "without %s only %d of %d voters would be reachable: too few to go on", disk.CoordinatorID(string(s.ID)), answering, remaining)
	}
	return nil
}

// transferIfSelf hands leadership over when the order is about this server itself.
// The order is then carried out by the next leader.
func (m *Manager) transferIfSelf(ctx context.Context, s raft.Server) error {
	if string(s.ID) != m.serverID {
		return nil
	}
	if err := m.host.HandOver(ctx, ""); err != nil {
		return err
	}
	return outcome.ErrNotLeader
}

func (m *Manager) removeMember(ctx context.Context, id string) error {
	s, err := m.findMember(id)
	if err != nil {
		return err
	}
	if err := m.checkQuorumWithout(s); err != nil {
		return err
	}
	if err := m.transferIfSelf(ctx, s); err != nil {
		return err
	}
	m.log.Info("a member is removed", "server", s.ID)
	return m.awaitChange(ctx, m.raft.RemoveServer(s.ID, 0, changeTimeout))
}

func (m *Manager) promoteMember(ctx context.Context, id string) error {
	s, err := m.findMember(id)
	if err != nil || s.Suffrage == raft.Voter {
		return err
	}
	if alive, _ := m.peers.alive(string(s.ID)); !alive {
		return wire.Refuse(wire.CodeConflict, "%s does not answer: a vote of its own would only be missing", id)
	}
	addr, _ := m.addresses.lookup(string(s.ID))
	if err := m.assignRole(ctx, addr, string(s.ID), false); err != nil {
		return err
	}
	m.log.Info("a member gets a vote", "server", s.ID)
	return m.awaitChange(ctx, m.raft.AddVoter(s.ID, raft.ServerAddress(addr), 0, changeTimeout))
}

func (m *Manager) demoteMember(ctx context.Context, id string) error {
	s, err := m.findMember(id)
	if err != nil || s.Suffrage != raft.Voter {
		return err
	}
	if err := m.checkQuorumWithout(s); err != nil {
		return err
	}
	if err := m.transferIfSelf(ctx, s); err != nil {
		return err
	}
	addr, _ := m.addresses.lookup(string(s.ID))
	if err := m.assignRole(ctx, addr, string(s.ID), true); err != nil {
		return err
	}
	m.log.Info("a member loses its vote", "server", s.ID)
	return m.awaitChange(ctx, m.raft.DemoteVoter(s.ID, 0, changeTimeout))
}

// roleAssignment tells a server whether it is to stay without a vote. It remembers that
// itself, on disk, so that no later leader gives it one.
type roleAssignment struct {
	ServerID string `json:"server_id"`
	NonVoter bool   `json:"non_voter"`
}

func (m *Manager) assignRole(ctx context.Context, addr, serverID string, nonVoter bool) error {
	body, err := json.Marshal(roleAssignment{ServerID: serverID, NonVoter: nonVoter})
	if err != nil {
		return err
	}
	if _, err := m.calls.Call(ctx, addr, methodVote, body); err != nil {
		if e := outcome.UnknownUnlessCoded(err); wire.CodeOf(e) == wire.CodeUnknown {
			return e // it may have taken note
		}
		return wire.Refuse(wire.CodeConflict, "%s did not take note of its new role, so nothing was changed: %v", disk.CoordinatorID(serverID), err)
	}
	return nil
}

func (m *Manager) handleVote(_ context.Context, _ peer.Hello, body []byte) ([]byte, error) {
	var v roleAssignment
	if err := json.Unmarshal(body, &v); err != nil || v.ServerID != m.serverID {
		return nil, wire.Invalid("vote", "not for %s", m.serverID)
	}
	err := m.identity.Update(func(l *disk.SelfRecord) {
		if l.Role = disk.RoleVoter; v.NonVoter {
			l.Role = disk.RoleNonVoter
		}
	})
	if err != nil {
		m.failStorage(err)
		return nil, err
	}
	return nil, nil
}

// staysNonVoter reports whether this server is to stay without a vote: by an
// operator's last word, else by its configuration.
func (m *Manager) staysNonVoter() bool {
	switch m.identity.Record().Role {
	case disk.RoleVoter:
		return false
	case disk.RoleNonVoter:
		return true
	}
	return m.cfg.NonVoter
}
