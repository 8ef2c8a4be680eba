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

// configChange is one order that this server carries out as the leader, in one step or
// two: of the configuration, or a server that is told its role before it.
type configChange struct {
	*Manager
	prev    uint64 // the index that the configuration must have for the next step; 0: any
	index   uint64 // that it has after the last one; 0: nothing was changed
	roleSet bool   // a server took note of a new role
	force   bool   // also where too few voters are left that can be reached
}

// outcome is the error of the order. After a step that was done nothing that stops the
// next one is told as a refusal, which promises that nothing has happened; nor is the
// order begun anew, for a configuration that is gone by then.
func (c *configChange) outcome(err error) error {
	if err == nil || c.index == 0 && !c.roleSet || wire.CodeOf(err) == wire.CodeUnknown {
		return err
	}
	return wire.Refuse(wire.CodeUnknown, "one step of the change is done and the next is not: look at the members, and order again what is missing: %v", err)
}

// setRole is assignRole as a step of the order.
func (c *configChange) setRole(ctx context.Context, addr, serverID string, nonVoter bool) error {
	if err := c.assignRole(ctx, addr, serverID, nonVoter); err != nil {
		return err
	}
	c.roleSet = true
	return nil
}

// await waits for one step.
func (c *configChange) await(ctx context.Context, f raft.IndexFuture) error {
	if err := c.awaitChange(ctx, f); err != nil {
		return err
	}
	if c.index = f.Index(); c.prev > 0 {
		c.prev = c.index
	}
	return nil
}

// checkIndex refuses an order that was given in sight of another configuration. Raft
// judges again when the change is proposed; before that, others are told things.
func (c *configChange) checkIndex() error {
	if now := c.host.ConfigIndex(); c.prev > 0 && c.prev != now {
		return errOtherConfig(c.prev, now)
	}
	return nil
}

func errOtherConfig(want, now uint64) error {
	return wire.Refuse(wire.CodeConflict, "the configuration is that of index %d by now, and this change is for that of %d: look at the members again", now, want)
}

// admitMember takes in the server p, or records its new address. It is
// idempotent. A coordinator that comes back with an empty disk is a new
// server: its old one, which has votes that the new one does not know of, is
// removed first, if it is really gone.
func (c *configChange) admitMember(ctx context.Context, p disk.Peer, nonVoter bool) (serverID string, err error) {
	if p.ServerID == "" || p.ID == "" || p.Address == "" || disk.CoordinatorID(p.ServerID) != p.ID {
		return "", wire.Invalid("peer", "a server needs an id, a server id that begins with it, and an address; not %q, %q, %q", p.ID, p.ServerID, p.Address)
	}
	for _, s := range c.raft.GetConfiguration().Configuration().Servers {
		id := string(s.ID)
		switch {
		case id == p.ServerID && string(s.Address) == p.Address:
			return id, nil
		case id == p.ServerID:
			return id, c.updateAddress(ctx, s, p.Address)
		case disk.CoordinatorID(id) == p.ID:
			if err := c.replaceMember(ctx, s, p); err != nil {
				return "", err
			}
		case string(s.Address) == p.Address:
			return "", wire.Refuse(wire.CodeConflict, "the address %s of %s is that of the member %s", p.Address, p.ServerID, id)
		}
	}
	c.log.Info("a server joins without a vote", "server", p.ServerID, "address", p.Address, "stays_so", nonVoter)
	return p.ServerID, c.await(ctx, c.raft.AddNonvoter(raft.ServerID(p.ServerID), raft.ServerAddress(p.Address), c.prev, changeTimeout))
}

// updateAddress writes a member's new address into the configuration. The library's
// AddNonvoter leaves a voter its vote.
func (c *configChange) updateAddress(ctx context.Context, s raft.Server, addr string) error {
	c.log.Info("a member has a new address", "server", s.ID, "from", s.Address, "to", addr)
	return c.await(ctx, c.raft.AddNonvoter(s.ID, raft.ServerAddress(addr), c.prev, changeTimeout))
}

// replaceMember removes the old server of a coordinator, unless it still answers.
func (c *configChange) replaceMember(ctx context.Context, old raft.Server, p disk.Peer) error {
	probe, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addr, _ := c.addresses.lookup(string(old.ID))
	for _, a := range []string{addr, string(old.Address)} {
		if h, err := c.sendHello(probe, a, string(old.ID)); err == nil && h.ServerID == string(old.ID) {
			return wire.Refuse(wire.CodeConflict, "a coordinator with the id %s is a member and alive at %s (server %s): %s needs another id", p.ID, a, old.ID, p.ServerID)
		}
	}
	if err := c.checkQuorumWithout(old); err != nil {
		return err
	}
	c.log.Warn("a coordinator came back with an empty disk: its old server is removed", "old", old.ID, "new", p.ServerID)
	return c.await(ctx, c.raft.RemoveServer(old.ID, c.prev, changeTimeout))
}

// inviteMember asks who runs at addr and takes it in.
func (c *configChange) inviteMember(ctx context.Context, addr string, nonVoter bool) (string, error) {
	if addr == "" {
		return "", wire.Invalid("address", "no address is given")
	}
	h, err := c.sendHello(ctx, addr, "")
	switch {
	case err != nil && permanent(err):
		return "", err
	case err != nil:
		return "", wire.Refuse(wire.CodeConflict, "no coordinator answers at %s: %v", addr, err)
	case h.Cluster != "" && h.Cluster != c.identity.Cluster():
		return "", wire.Refuse(wire.CodeConflict, "%s at %s belongs to another cluster, %s", h.ServerID, addr, h.Cluster)
	}
	if nonVoter != h.NonVoter && h.ServerID != c.serverID {
		if err := c.setRole(ctx, h.Address, h.ServerID, nonVoter); err != nil {
			return "", err
		}
	}
	return c.admitMember(ctx, h.Peer, nonVoter)
}

// checkQuorumWithout refuses to take the vote of s away when the voters that are left
// could not agree on anything, that very change included; by force only the last vote stays.
func (c *configChange) checkQuorumWithout(s raft.Server) error {
	if s.Suffrage != raft.Voter {
		return nil
	}
	remaining, answering := 0, 0
	for _, v := range c.raft.GetConfiguration().Configuration().Servers {
		if v.Suffrage != raft.Voter || v.ID == s.ID {
			continue
		}
		remaining++
		if alive, _ := c.peers.alive(string(v.ID)); alive || string(v.ID) == c.serverID {
			answering++
		}
	}
	switch {
	case remaining == 0:
		return wire.Refuse(wire.CodeConflict, "%s has the last vote", disk.CoordinatorID(string(s.ID)))
	case answering < remaining/2+1 && c.force:
		c.log.Warn("a vote is taken away by force, though too few are left that answer", "server", s.ID, "answering", answering, "voters", remaining)
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

func (c *configChange) removeMember(ctx context.Context, id string) error {
	s, err := c.findMember(id)
	if err != nil {
		return err
	}
	if err := c.checkQuorumWithout(s); err != nil {
		return err
	}
	if err := c.transferIfSelf(ctx, s); err != nil {
		return err
	}
	c.log.Info("a member is removed", "server", s.ID)
	return c.await(ctx, c.raft.RemoveServer(s.ID, c.prev, changeTimeout))
}

func (c *configChange) promoteMember(ctx context.Context, id string) error {
	s, err := c.findMember(id)
	if err != nil || s.Suffrage == raft.Voter {
		return err
	}
	if alive, _ := c.peers.alive(string(s.ID)); !alive {
		return wire.Refuse(wire.CodeConflict, "%s does not answer: a vote of its own would only be missing", id)
	}
	addr, _ := c.addresses.lookup(string(s.ID))
	if err := c.setRole(ctx, addr, string(s.ID), false); err != nil {
		return err
	}
	c.log.Info("a member gets a vote", "server", s.ID)
	return c.await(ctx, c.raft.AddVoter(s.ID, raft.ServerAddress(addr), c.prev, changeTimeout))
}

func (c *configChange) demoteMember(ctx context.Context, id string) error {
	s, err := c.findMember(id)
	if err != nil || s.Suffrage != raft.Voter {
		return err
	}
	if err := c.checkQuorumWithout(s); err != nil {
		return err
	}
	if err := c.transferIfSelf(ctx, s); err != nil {
		return err
	}
	addr, _ := c.addresses.lookup(string(s.ID))
	if err := c.setRole(ctx, addr, string(s.ID), true); err != nil {
		return err
	}
	c.log.Info("a member loses its vote", "server", s.ID)
	return c.await(ctx, c.raft.DemoteVoter(s.ID, c.prev, changeTimeout))
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
