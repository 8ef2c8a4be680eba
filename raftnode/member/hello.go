package member

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// The methods that a manager answers. Their bodies are JSON. Version 1: 2026-11.
const (
	methodHello = "raftnode.hello"
	methodOrder = "raftnode.order"
	methodVote  = "raftnode.vote"
)

// Hello is what coordinators tell each other every second: asked and answered
// alike.
type Hello struct {
	disk.Peer
	Cluster    string      `json:"cluster,omitempty"`
	Empty      bool        `json:"empty,omitempty"`    // has no log and has never voted
	Expect     int         `json:"expect,omitempty"`   // how many are to found the cluster
	FounderSet string      `json:"founding,omitempty"` // the founders as the speaker sees them
	State      string      `json:"state"`
	Leader     string      `json:"leader,omitempty"` // server id
	Term       uint64      `json:"term"`
	Last       uint64      `json:"last"`
	Commit     uint64      `json:"commit"`
	Applied    uint64      `json:"applied"`
	NonVoter   bool        `json:"observer,omitempty"` // is to stay without a vote
	Level      int         `json:"level,omitempty"`    // the highest level of commands that the binary knows; 0: 1
	Known      []disk.Peer `json:"known,omitempty"`
	// NotMember is said by the leader to a server that is not in its
	// configuration, Ours to one that is.
	NotMember bool `json:"stranger,omitempty"`
	Member    bool `json:"ours,omitempty"`
	// NewerRun, in an answer, is a newer process of the server that asked: it has
	// asked as well, a moment ago.
	NewerRun *disk.Peer `json:"newer,omitempty"`
	// Servers are the server ids of the speaker's newest configuration.
	Servers []string `json:"servers,omitempty"`
	// Certificate is that of the speaker's peer port, with TLS.
	Certificate *wire.MemberCertificate `json:"certificate,omitempty"`
	// Disk is the volume of the speaker's data directory. Since 2026-12.
	Disk *wire.DiskSpace `json:"disk,omitempty"`
	// Unreachable is said by the leader: the server ids of members that get
	// nothing of the log, since it does not reach them.
	Unreachable []string `json:"unreached,omitempty"`
}

// buildHello is this node's hello, to the server to ("" if that is not known).
func (m *Manager) buildHello(to string) Hello {
	_, leader := m.raft.LeaderWithID()
	h := Hello{
		Peer:     m.self,
		Cluster:  m.identity.Cluster(),
		Empty:    m.hasNoState(),
		Expect:   m.cfg.Expect,
		State:    StateName(m.raft.State()),
		Leader:   string(leader),
		Term:     m.raft.CurrentTerm(),
		Last:     m.raft.LastIndex(),
		Commit:   m.raft.CommitIndex(),
		Applied:  m.host.AppliedIndex(),
		NonVoter: m.staysNonVoter(),
		Level:    m.cfg.Level,
		Known:    m.identity.Peers(),
		Servers:  m.serverIDs(),
	}
	if m.cfg.Certificate != nil {
		h.Certificate = m.cfg.Certificate()
	}
	if m.cfg.Disk != nil {
		h.Disk = m.cfg.Disk()
	}
	if f := m.founderSetSeen.Load(); f != nil {
		h.FounderSet = *f
	}
	if _, ok := m.host.Leading(); ok {
		h.Unreachable = m.host.HeldServers()
		if to != "" {
			_, h.Member = m.Server(to)
			h.NotMember = !h.Member
		}
	}
	return h
}

func (m *Manager) hasNoState() bool {
	return m.raft.LastIndex() == 0 && m.raft.CurrentTerm() == 0
}

// StateName is a state of raft in a word, as it is told to others and shown.
func StateName(s raft.RaftState) string {
	switch s {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Follower:
		return "follower"
	}
	return "stopped"
}

// handleHello answers a hello with the own one.
func (m *Manager) handleHello(_ context.Context, from peer.Hello, body []byte) ([]byte, error) {
	var h Hello
	if err := json.Unmarshal(body, &h); err != nil {
		return nil, wire.Invalid("hello", "%v", err)
	}
	if h.ServerID != from.ServerID {
		return nil, wire.Refuse(wire.CodeForbidden, "a hello of %q on a connection of %q", h.ServerID, from.ServerID)
	}
	if m.admitted(from) {
		m.admission.record(from, h)
	} else {
		h.Known = nil // of a stranger only where it is itself
	}
	m.merge(h)
	if h.Empty && m.founderCalls.changed(h) && h.ServerID != m.serverID {
		wake(m.discoverNow) // perhaps the founder that was missing
	}
	answer := m.buildHello(h.ServerID)
	if h.ServerID != m.serverID {
		answer.NewerRun = m.liveRuns.record(h.Peer, m.peers.clock.Now(), m.peers.timeout)
	}
	return json.Marshal(answer)
}

// sendHello says hello to addr and takes in the answer.
func (m *Manager) sendHello(ctx context.Context, addr, to string) (h Hello, err error) {
	body, err := json.Marshal(m.buildHello(to))
	if err != nil {
		return h, err
	}
	if body, err = m.calls.Call(ctx, addr, methodHello, body); err != nil {
		if to != "" {
			m.host.MarkUnreachable(to)
		}
		return h, err
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, err
	}
	m.merge(h)
	if h.NewerRun != nil {
		m.checkSuperseded(*h.NewerRun)
	}
	if h.ServerID != m.serverID {
		m.host.MarkReachable(h.ServerID)
		m.peers.recordAnswer(h)
		m.applyMembership(h)
	}
	return h, nil
}

// merge takes in what another coordinator said of itself and others. Newer
// addresses are dialed from now on, and passed on at once.
func (m *Manager) merge(h Hello) {
	if h.ServerID == m.serverID {
		m.checkSuperseded(h.Peer)
		return
	}
	if own := m.identity.Cluster(); own != "" && h.Cluster != "" && own != h.Cluster {
		return
	}
	known := h.Known
	if m.raft.State() == raft.Leader {
		// The leader drops what is no member any more; from others it would come back at every hello.
		known = slices.DeleteFunc(slices.Clone(known), func(p disk.Peer) bool { return !m.memberOrHeard(p.ServerID) })
	}
	added, err := m.identity.MergePeers(append(known, h.Peer))
	if err != nil {
		m.failStorage(err)
		return
	}
	for _, p := range added {
		m.log.Info("learnt where a coordinator is", "server", p.ServerID, "address", p.Address, "boot", p.Boot)
	}
	if len(added) > 0 {
		wake(m.pingNow)
	}
	if h.Cluster != "" && m.identity.Cluster() == "" && m.IsMember() {
		m.setClusterID(h.Cluster)
	}
}

// applyMembership applies what the leader says about this server's membership.
func (m *Manager) applyMembership(h Hello) {
	self := m.identity.Record()
	if h.Cluster == "" || h.Cluster != self.Cluster || h.Member == h.NotMember {
		return
	}
	removed := h.NotMember && self.Member
	if removed == self.Removed {
		return
	}
	if err := m.identity.Update(func(l *disk.SelfRecord) { l.Removed = removed }); err != nil {
		m.failStorage(err)
		return
	}
	if removed {
		m.log.Error("this server was removed from the cluster: it stays away until it is added again, or starts anew with an empty data directory", "server", m.serverID)
	} else {
		m.log.Info("this server is a member again", "server", m.serverID)
	}
	m.host.DisableElections(removed)
	m.host.Removed(removed)
}

// HelloAll says hello to some servers and returns what they answer, by server id.
func (m *Manager) HelloAll(ctx context.Context, servers []raft.Server) map[string]Hello {
	hellos := map[string]Hello{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range servers {
		id := string(s.ID)
		addr, ok := m.addresses.lookup(id)
		if !ok {
			continue
		}
		wg.Go(func() {
			h, err := m.sendHello(ctx, addr, id)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && h.ServerID == id {
				hellos[id] = h
			}
		})
	}
	wg.Wait()
	return hellos
}
