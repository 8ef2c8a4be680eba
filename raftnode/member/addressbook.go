package member

import (
	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
)

// addressBook tells where a server is now.
type addressBook struct {
	local *disk.Identity
	self  disk.Peer
	// configured is the address in raft's configuration, set once raft exists.
	configured func(serverID string) (string, bool)
}

func (b *addressBook) lookup(serverID string) (string, bool) {
	if serverID == b.self.ServerID {
		return b.self.Address, true
	}
	if p, ok := b.local.Peer(serverID); ok {
		return p.Address, true
	}
	if b.configured == nil {
		return "", false
	}
	return b.configured(serverID)
}

// lookupOr is the address in the book, or the configured one.
func (b *addressBook) lookupOr(id raft.ServerID, configured raft.ServerAddress) string {
	if p, ok := b.local.Peer(string(id)); ok {
		return p.Address
	}
	return string(configured)
}

// Address is where a server is now, as far as this one knows.
func (m *Manager) Address(serverID string) (string, bool) { return m.addresses.lookup(serverID) }

// AddressOr is the newest address that is known of a server, or the configured one.
func (m *Manager) AddressOr(id raft.ServerID, configured raft.ServerAddress) string {
	return m.addresses.lookupOr(id, configured)
}
