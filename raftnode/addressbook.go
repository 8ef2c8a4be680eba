package raftnode

import (
	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
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

// PeerHello is what the peer port says about the coordinator of an identity, now.
func PeerHello(id *disk.Identity) peer.Hello {
	r := id.Record()
	return peer.Hello{Cluster: r.Cluster, ServerID: r.ID + "/" + r.Incarnation, ID: r.ID, Boot: r.Boot}
}
