package raftnode

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
)

// The methods that a node answers. Their bodies are JSON, but for a proposal,
// which is the command, and a read, which is its strength. Version 1: 2026-11.
const (
	methodHello     = "raftnode.hello"
	methodTerm      = "raftnode.term"
	methodRead      = "raftnode.read_index"
	methodPropose   = "raftnode.propose"
	methodOrder     = "raftnode.order"
	methodVote      = "raftnode.vote"
	methodCommitted = "raftnode.committed"
)

func (n *Node) registerHandlers() {
	for method, h := range map[string]func(context.Context, peer.Hello, []byte) ([]byte, error){
		methodHello:     n.handleHello,
		methodTerm:      n.handleTerm,
		methodRead:      n.handleReadIndex,
		methodPropose:   n.handlePropose,
		methodOrder:     n.handleChange,
		methodVote:      n.handleVote,
		methodCommitted: n.handleCommitted,
	} {
		n.calls.Handle(method, func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error) {
			if n.ctx.Err() != nil {
				return nil, errClosed
			}
			n.unreachable.markReachable(from.ServerID)
			return h(ctx, from, body)
		})
	}
}

// hello is what coordinators tell each other every second: asked and answered
// alike.
type hello struct {
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
	Known      []disk.Peer `json:"known,omitempty"`
	// NotMember is said by the leader to a server that is not in its
	// configuration, Ours to one that is.
	NotMember bool `json:"stranger,omitempty"`
	Member    bool `json:"ours,omitempty"`
	// NewerRun, in an answer, is a newer process of the server that asked: it has
	// asked as well, a moment ago.
	NewerRun *disk.Peer `json:"newer,omitempty"`
	// Unreachable is said by the leader: the server ids of members that get
	// nothing of the log, since it does not reach them.
	Unreachable []string `json:"unreached,omitempty"`
}

// buildHello is this node's hello, to the server to ("" if that is not known).
func (n *Node) buildHello(to string) hello {
	_, leader := n.raft.LeaderWithID()
	h := hello{
		Peer:     n.self,
		Cluster:  n.identity.Cluster(),
		Empty:    n.hasNoState(),
		Expect:   n.cfg.Expect,
		State:    n.stateName(),
		Leader:   string(leader),
		Term:     n.raft.CurrentTerm(),
		Last:     n.raft.LastIndex(),
		Commit:   n.raft.CommitIndex(),
		Applied:  n.AppliedIndex(),
		NonVoter: n.staysNonVoter(),
		Known:    n.identity.Peers(),
	}
	if f := n.founderSetSeen.Load(); f != nil {
		h.FounderSet = *f
	}
	if _, ok := n.leading(); ok {
		h.Unreachable = n.unreachable.held.servers()
		if to != "" {
			_, h.Member = n.configuredServer(to)
			h.NotMember = !h.Member
		}
	}
	return h
}

func (n *Node) hasNoState() bool {
	return n.raft.LastIndex() == 0 && n.raft.CurrentTerm() == 0
}

func (n *Node) stateName() string {
	switch n.raft.State() {
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
func (n *Node) handleHello(_ context.Context, _ peer.Hello, body []byte) ([]byte, error) {
	var h hello
	if err := json.Unmarshal(body, &h); err != nil {
		return nil, wire.Invalid("hello", "%v", err)
	}
	n.merge(h)
	if h.Empty && n.founderCalls.changed(h) && h.ServerID != n.serverID {
		wake(n.discoverNow) // perhaps the founder that was missing
	}
	answer := n.buildHello(h.ServerID)
	if h.ServerID != n.serverID {
		answer.NewerRun = n.liveRuns.record(h.Peer, n.peers.clock.Now(), n.peers.timeout)
	}
	return json.Marshal(answer)
}

// sendHello says hello to addr and takes in the answer.
func (n *Node) sendHello(ctx context.Context, addr, to string) (h hello, err error) {
	body, err := json.Marshal(n.buildHello(to))
	if err != nil {
		return h, err
	}
	if body, err = n.calls.Call(ctx, addr, methodHello, body); err != nil {
		if to != "" {
			n.unreachable.markUnreachable(to)
		}
		return h, err
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, err
	}
	n.merge(h)
	if h.NewerRun != nil {
		n.checkSuperseded(*h.NewerRun)
	}
	if h.ServerID != n.serverID {
		n.unreachable.markReachable(h.ServerID)
		n.peers.recordAnswer(h)
		n.applyMembership(h)
	}
	return h, nil
}

// merge takes in what another coordinator said of itself and others. Newer
// addresses are dialed from now on, and passed on at once.
func (n *Node) merge(h hello) {
	if h.ServerID == n.serverID {
		n.checkSuperseded(h.Peer)
		return
	}
	if own := n.identity.Cluster(); own != "" && h.Cluster != "" && own != h.Cluster {
		return
	}
	added, err := n.identity.MergePeers(append(h.Known, h.Peer))
	if err != nil {
		n.failStorage(err)
		return
	}
	for _, p := range added {
		n.log.Info("learnt where a coordinator is", "server", p.ServerID, "address", p.Address, "boot", p.Boot)
	}
	if len(added) > 0 {
		wake(n.pingNow)
	}
	if h.Cluster != "" && n.identity.Cluster() == "" && n.isMember() {
		n.setClusterID(h.Cluster)
	}
}

// applyMembership applies what the leader says about this server's membership.
func (n *Node) applyMembership(h hello) {
	self := n.identity.Record()
	if h.Cluster == "" || h.Cluster != self.Cluster || h.Member == h.NotMember {
		return
	}
	removed := h.NotMember && self.Member
	if removed == self.Removed {
		return
	}
	if err := n.identity.Update(func(l *disk.SelfRecord) { l.Removed = removed }); err != nil {
		n.failStorage(err)
		return
	}
	if removed {
		n.log.Error("this server was removed from the cluster: it stays away until it is added again, or starts anew with an empty data directory", "server", n.serverID)
	} else {
		n.log.Info("this server is a member again", "server", n.serverID)
	}
	n.updateTimeouts(func(t *electionTimeouts) { t.electionsDisabled = removed })
}

// pingLoop says hello to every member, every second and whenever something has changed.
// While members are missing it also tries the addresses given at the start, and
// those that were announced: they may have moved, and somebody there may know
// whereto.
func (n *Node) pingLoop() {
	tick := time.NewTicker(n.cfg.Ping)
	defer tick.Stop()
	for {
		for addr, to := range n.pingTargets() {
			if n.peers.beginProbe(addr) {
				if !n.spawn(func() {
					defer n.peers.endProbe(addr)
					ctx, cancel := context.WithTimeout(n.ctx, max(n.cfg.Ping, time.Second))
					defer cancel()
					_, _ = n.sendHello(ctx, addr, to)
				}) {
					return
				}
			}
		}
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		case <-n.pingNow:
			select { // several changes usually arrive together
			case <-time.After(20 * time.Millisecond):
			case <-n.ctx.Done():
				return
			}
		}
	}
}

// pingTargets are the addresses to say hello to, with the server expected there.
func (n *Node) pingTargets() map[string]string {
	to := map[string]string{}
	lost := false
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == n.serverID {
			continue
		}
		addr, _ := n.addresses.lookup(string(s.ID))
		to[addr] = string(s.ID)
		if alive, _ := n.peers.alive(string(s.ID)); !alive {
			lost = true
			if string(s.Address) != addr {
				to[string(s.Address)] = ""
			}
		}
	}
	if lost || n.identity.Record().Removed {
		for _, addr := range append(n.joinAddresses(), n.announced()...) {
			if _, ok := to[addr]; !ok && addr != n.self.Address {
				to[addr] = ""
			}
		}
	}
	if n.identity.Record().Removed {
		for _, p := range n.identity.Peers() {
			to[p.Address] = p.ServerID
		}
	}
	return to
}

// joinAddresses are the addresses given at the start, looked up anew.
func (n *Node) joinAddresses() (all []string) {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	for _, addr := range n.cfg.Join {
		all = append(all, n.cfg.Inject.Resolve(ctx, addr)...)
	}
	return all
}

// announced are the addresses at which the machine's state has the members.
func (n *Node) announced() []string {
	if n.cfg.Announced == nil {
		return nil
	}
	return n.cfg.Announced()
}

// resolve turns a name with several addresses, such as that of a headless
// service, into all of them. Anything else stays as it is: it is looked up at
// every dial.
func resolve(ctx context.Context, addr string) []string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil {
		return []string{addr}
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil || len(ips) < 2 {
		return []string{addr}
	}
	all := make([]string, len(ips))
	for i, ip := range ips {
		all[i] = net.JoinHostPort(ip, port)
	}
	return all
}

// peerHealth is what this node knows of the others by its own questions, and when
// they asked.
type peerHealth struct {
	mu        sync.Mutex
	clock     *awake.Clock  // what others are judged by
	timeout   time.Duration // an answer counts as life for so long
	peers     map[string]peerState
	lastCalls map[string]time.Time // by server id: when it asked last
	probing   map[string]bool      // by address: a question is under way
}

type peerState struct {
	hello         hello
	answered      time.Time     // of the last answer
	answeredClock time.Duration // the same, by the clock
	healthySince  time.Time     // of the first answer of an unbroken row
}

func (c *peerHealth) init(ping time.Duration) {
	c.clock = awake.New(ping / 2)
	c.timeout = 3*ping + ping/2
	c.peers, c.lastCalls, c.probing = map[string]peerState{}, map[string]time.Time{}, map[string]bool{}
}

func (c *peerHealth) beginProbe(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.probing[addr] {
		return false
	}
	c.probing[addr] = true
	return true
}

func (c *peerHealth) endProbe(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.probing, addr)
}

func (c *peerHealth) recordAnswer(h hello) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.peers[h.ServerID]
	if !ok && len(c.peers) >= disk.MaxPeers {
		return
	}
	since := old.healthySince
	if !ok || now.Sub(old.answered) > c.timeout || old.hello.Boot != h.Boot {
		since = now
	}
	h.Known = nil
	c.peers[h.ServerID] = peerState{hello: h, answered: now, answeredClock: c.clock.Now(), healthySince: since}
}

// recordCall notes that a server asks. Unlike what servers answered this is kept when
// they are removed, for they may not know that yet.
func (c *peerHealth) recordCall(serverID string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.lastCalls[serverID]; !known && len(c.lastCalls) >= disk.MaxPeers {
		oldest, at := "", now
		for id, when := range c.lastCalls {
			if !when.After(at) {
				oldest, at = id, when
			}
		}
		delete(c.lastCalls, oldest)
	}
	c.lastCalls[serverID] = now
}

// lookup is the last that was heard of a server.
func (c *peerHealth) lookup(serverID string) (peerState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.peers[serverID]
	return k, ok
}

// alive reports whether a server has answered lately, and when last.
func (c *peerHealth) alive(serverID string) (bool, time.Time) {
	k, ok := c.lookup(serverID)
	return ok && c.fresh(k), k.answered
}

// fresh reports whether an answer still counts as life. Nobody could be heard
// while this process stood still.
func (c *peerHealth) fresh(k peerState) bool { return c.clock.Now()-k.answeredClock <= c.timeout }

func (c *peerHealth) prune(keep func(serverID string) bool) {
	c.mu.Lock()
	var ids []string
	for id := range c.peers {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for _, id := range ids {
		if !keep(id) {
			c.mu.Lock()
			delete(c.peers, id)
			c.mu.Unlock()
		}
	}
}

// Alive reports whether the coordinator id has lately answered this node's
// questions, and when it was last heard: it answered, or asked itself. A
// coordinator that restarts is the same.
func (n *Node) Alive(id string) (alive bool, last time.Time) {
	if id == n.cfg.ID {
		return true, time.Now()
	}
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	for _, k := range n.peers.peers {
		if k.hello.ID == id && k.answered.After(last) {
			alive, last = n.peers.fresh(k), k.answered
		}
	}
	for serverID, at := range n.peers.lastCalls {
		if disk.CoordinatorID(serverID) == id && at.After(last) {
			last = at
		}
	}
	return alive, last
}
