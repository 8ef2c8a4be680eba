package member

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
)

// Info is one server of the group as this node sees it.
type Info struct {
	ID, ServerID, Address string
	Suffrage              string // voter, nonvoter
	State                 string // leader, follower, candidate, stopped; unreachable
	Alive, Healthy        bool
	Reason                string // why it is not healthy
	NonVoter              bool   // is to stay without a vote
	LastIndex             uint64
	AppliedIndex          uint64
	LastContact           time.Duration // since its last answer to this node; -1: never
	Version               string
	Boot                  uint64
	Certificate           *wire.MemberCertificate // of its peer port; nil if that is not known
	Disk                  *wire.DiskSpace         // the volume of its data directory; nil if that is not known
}

// List is raft's newest configuration, with what this server itself has
// heard of each. It asks nobody and so never fails while others do.
func (m *Manager) List() []Info {
	servers := m.raft.GetConfiguration().Configuration().Servers
	all := make([]Info, len(servers))
	for i, s := range servers {
		all[i] = m.Info(s)
	}
	return all
}

// Info is what this server knows of s, a server of the configuration.
func (m *Manager) Info(s raft.Server) Info {
	id := string(s.ID)
	info := Info{
		ID: disk.CoordinatorID(id), ServerID: id, Address: string(s.Address),
		Suffrage: strings.ToLower(s.Suffrage.String()), State: "unreachable", LastContact: -1,
	}
	if addr, ok := m.addresses.lookup(id); ok {
		info.Address = addr
	}
	var h Hello
	if id == m.serverID {
		h = m.buildHello("")
		info.Alive, info.LastContact = true, 0
	} else if k, ok := m.peers.lookup(id); ok {
		h = k.hello
		info.LastContact = time.Since(k.answered)
		info.Alive = m.peers.fresh(k)
	}
	if info.Alive {
		info.State = h.State
	}
	info.LastIndex, info.AppliedIndex, info.Version, info.Boot, info.NonVoter = h.Last, h.Applied, h.Version, h.Boot, h.NonVoter
	info.Certificate, info.Disk = h.Certificate, h.Disk
	info.Reason = m.illness(info, h.Leader)
	info.Healthy = info.Reason == ""
	return info
}

// illness is why a member is not well; "" if it is.
func (m *Manager) illness(info Info, leader string) string {
	commit := m.raft.CommitIndex()
	switch {
	case info.LastContact < 0:
		return "has not answered yet"
	case !info.Alive:
		return fmt.Sprintf("has not answered for %s", info.LastContact.Round(time.Second))
	case leader == "":
		return "knows no leader"
	case behind(info.LastIndex, commit) > m.Settings().MaxLag:
		return fmt.Sprintf("is %d entries behind", commit-info.LastIndex)
	case m.isUnreachable(info.ServerID):
		return "gets nothing of the log: the leader does not reach it"
	}
	return ""
}

// isUnreachable reports whether the leader, this server or as it said last, does not
// reach a member: that one may answer all others, and gets nothing of the log.
func (m *Manager) isUnreachable(serverID string) bool {
	if m.raft.State() == raft.Leader {
		return slices.Contains(m.host.HeldServers(), serverID)
	}
	_, leader := m.raft.LeaderWithID()
	k, ok := m.peers.lookup(string(leader))
	return ok && slices.Contains(k.hello.Unreachable, serverID)
}

// findMember returns the one server that id means.
func (m *Manager) findMember(id string) (raft.Server, error) {
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if id == string(s.ID) || id == disk.CoordinatorID(string(s.ID)) {
			return s, nil
		}
	}
	return raft.Server{}, wire.Refuse(wire.CodeNotFound, "%q is no member of the cluster", id)
}

// Successor is the server id of the voter to which a leader that stops hands over:
// of those that are well the one that was started last; "" if none is. Where all
// are restarted one after the other, that is one whose turn is over, so that
// leadership changes at most twice. One whose volume is full is chosen only if there is
// no other.
func (m *Manager) Successor() (serverID string) {
	if serverID = m.SuccessorWithRoom(); serverID != "" {
		return serverID
	}
	return m.successor(func(Hello) bool { return true })
}

// SuccessorWithRoom is Successor among those whose volume is not full; "" if there is none.
func (m *Manager) SuccessorWithRoom() (serverID string) {
	return m.successor(func(h Hello) bool { return !h.Disk.IsFull() })
}

// successor is, of the other voters that are well and suit, the one that was started last.
func (m *Manager) successor(suits func(Hello) bool) (serverID string) {
	newest := ""
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		id := string(s.ID)
		k, ok := m.peers.lookup(id)
		if !ok || id == m.serverID || s.Suffrage != raft.Voter || !m.Info(s).Healthy || !suits(k.hello) || k.hello.Run <= newest {
			continue
		}
		serverID, newest = id, k.hello.Run
	}
	return serverID
}
