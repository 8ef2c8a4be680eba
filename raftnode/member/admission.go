package member

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// Admit is for peer.Config: raft streams, links and calls are for servers of the newest configuration. Any other may say
// hello and ask to join; a removed one, too. A server without a configuration takes everybody: its first one
// comes from whoever founds the cluster or takes it in.
func (m *Manager) Admit(kind peer.Kind, method string, from peer.Hello) error {
	if kind == peer.KindCall && (method == "" || method == methodHello || method == methodOrder) || m.admitted(from) {
		return nil
	}
	return wire.NotTried("%s is no member of the cluster as %s knows it: it may say hello and ask to join, no more", from.ServerID, m.serverID)
}

// admitted reports whether a server is in the newest configuration that this one knows, or this one has none.
func (m *Manager) admitted(from peer.Hello) bool {
	servers := m.raft.GetConfiguration().Configuration().Servers
	return len(servers) == 0 || slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == from.ServerID }) ||
		m.admission.vouched(from.ServerID, servers, m.raft.CommitIndex())
}

// admitChange refuses what one that is no member may not ask for: it may only join, itself.
func (m *Manager) admitChange(from peer.Hello, o membershipRequest) error {
	if m.admitted(from) || o.Op == opJoin && o.Peer.ServerID == from.ServerID {
		return nil
	}
	return wire.Refuse(wire.CodeForbidden, "%s is no member of the cluster: it may only ask to join itself", from.ServerID)
}

// serverIDs are those of raft's newest configuration.
func (m *Manager) serverIDs() (ids []string) {
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		ids = append(ids, string(s.ID))
	}
	return ids
}

// admission is what members that are ahead say of the configuration. A server that was away while members were
// replaced has a configuration without the leader, and would never get the log that tells it otherwise.
type admission struct {
	mu   sync.Mutex
	said map[string]heardServers // by coordinator id: with TLS that is the certificate's
}

// heardServers is the newest configuration of a member, and how far its log was committed.
type heardServers struct {
	servers []string
	commit  uint64
}

// record notes what an admitted server says of its configuration.
func (a *admission) record(from peer.Hello, h Hello) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.said == nil || len(a.said) >= disk.MaxPeers {
		a.said = map[string]heardServers{}
	}
	a.said[from.ID] = heardServers{h.Servers, h.Commit}
}

// vouched reports whether a coordinator of the own configuration, the members, has a server in its own, and is
// ahead of the own commit index. One that is behind may name servers that were removed long ago.
func (a *admission) vouched(serverID string, members []raft.Server, commit uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range members {
		if s, ok := a.said[disk.CoordinatorID(string(m.ID))]; ok && s.commit > commit && slices.Contains(s.servers, serverID) {
			return true
		}
	}
	return false
}
