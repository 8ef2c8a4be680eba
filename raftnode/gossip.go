package raftnode

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

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

func (n *Node) handle() {
	for method, h := range map[string]func(context.Context, peer.Hello, []byte) ([]byte, error){
		methodHello:     n.onHello,
		methodTerm:      n.onTerm,
		methodRead:      n.onRead,
		methodPropose:   n.onPropose,
		methodOrder:     n.onOrder,
		methodVote:      n.onVote,
		methodCommitted: n.onCommitted,
	} {
		n.calls.Handle(method, func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error) {
			if n.ctx.Err() != nil {
				return nil, errClosed
			}
			n.absent.heard(from.ServerID)
			return h(ctx, from, body)
		})
	}
}

// hello is what coordinators tell each other every second: asked and answered
// alike.
type hello struct {
	Peer
	Cluster  string `json:"cluster,omitempty"`
	Empty    bool   `json:"empty,omitempty"`    // has no log and has never voted
	Expect   int    `json:"expect,omitempty"`   // how many are to found the cluster
	Founding string `json:"founding,omitempty"` // the founders as the speaker sees them
	State    string `json:"state"`
	Leader   string `json:"leader,omitempty"` // server id
	Term     uint64 `json:"term"`
	Last     uint64 `json:"last"`
	Commit   uint64 `json:"commit"`
	Applied  uint64 `json:"applied"`
	Observer bool   `json:"observer,omitempty"` // is to stay without a vote
	Known    []Peer `json:"known,omitempty"`
	// Stranger is said by the leader to a server that is not in its
	// configuration, Ours to one that is.
	Stranger bool `json:"stranger,omitempty"`
	Ours     bool `json:"ours,omitempty"`
	// Newer, in an answer, is a newer process of the server that asked: it has
	// asked as well, a moment ago.
	Newer *Peer `json:"newer,omitempty"`
	// Unreached is said by the leader: the server ids of members that get
	// nothing of the log, since it does not reach them.
	Unreached []string `json:"unreached,omitempty"`
}

// say is this node's hello, to the server to ("" if that is not known).
func (n *Node) say(to string) hello {
	_, leader := n.raft.LeaderWithID()
	h := hello{
		Peer:     n.self,
		Cluster:  n.local.Cluster(),
		Empty:    n.empty(),
		Expect:   n.cfg.Expect,
		State:    n.state(),
		Leader:   string(leader),
		Term:     n.raft.CurrentTerm(),
		Last:     n.raft.LastIndex(),
		Commit:   n.raft.CommitIndex(),
		Applied:  n.AppliedIndex(),
		Observer: n.observer(),
		Known:    n.local.known(),
	}
	if f := n.founding.Load(); f != nil {
		h.Founding = *f
	}
	if _, ok := n.leading(); ok {
		h.Unreached = n.absent.holding()
		if to != "" {
			_, h.Ours = n.server(to)
			h.Stranger = !h.Ours
		}
	}
	return h
}

func (n *Node) empty() bool {
	return n.raft.LastIndex() == 0 && n.raft.CurrentTerm() == 0
}

func (n *Node) state() string {
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

// onHello answers a hello with the own one.
func (n *Node) onHello(_ context.Context, _ peer.Hello, body []byte) ([]byte, error) {
	var h hello
	if err := json.Unmarshal(body, &h); err != nil {
		return nil, wire.Invalid("hello", "%v", err)
	}
	n.hear(h)
	if h.Empty && n.callers.news(h) && h.ServerID != n.serverID {
		poke(n.seekNow) // perhaps the founder that was missing
	}
	answer := n.say(h.ServerID)
	if h.ServerID != n.serverID {
		answer.Newer = n.runs.asked(h.Peer, n.contacts.clock.Now(), n.contacts.patience)
	}
	return json.Marshal(answer)
}

// ask says hello to addr and takes in the answer.
func (n *Node) ask(ctx context.Context, addr, to string) (h hello, err error) {
	body, err := json.Marshal(n.say(to))
	if err != nil {
		return h, err
	}
	if body, err = n.calls.Call(ctx, addr, methodHello, body); err != nil {
		if to != "" {
			n.absent.missed(to)
		}
		return h, err
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, err
	}
	n.hear(h)
	if h.Newer != nil {
		n.meet(*h.Newer)
	}
	if h.ServerID != n.serverID {
		n.absent.heard(h.ServerID)
		n.contacts.answered(h)
		n.standing(h)
	}
	return h, nil
}

// hear takes in what another coordinator said of itself and others. Newer
// addresses are dialed from now on, and told on at once.
func (n *Node) hear(h hello) {
	if h.ServerID == n.serverID {
		n.meet(h.Peer)
		return
	}
	if own := n.local.Cluster(); own != "" && h.Cluster != "" && own != h.Cluster {
		return
	}
	news, err := n.local.learn(append(h.Known, h.Peer))
	if err != nil {
		n.localFailed(err)
		return
	}
	for _, p := range news {
		n.log.Info("learnt where a coordinator is", "server", p.ServerID, "address", p.Address, "boot", p.Boot)
	}
	if len(news) > 0 {
		poke(n.pingNow)
	}
	if h.Cluster != "" && n.local.Cluster() == "" && n.member() {
		n.setCluster(h.Cluster)
	}
}

// standing draws the consequences of what the leader says about this server.
func (n *Node) standing(h hello) {
	self := n.local.read()
	if h.Cluster == "" || h.Cluster != self.Cluster || h.Ours == h.Stranger {
		return
	}
	removed := h.Stranger && self.Member
	if removed == self.Removed {
		return
	}
	if err := n.local.change(func(l *localSelf) { l.Removed = removed }); err != nil {
		n.localFailed(err)
		return
	}
	if removed {
		n.log.Error("this server was removed from the cluster: it stays away until it is added again, or starts anew with an empty data directory", "server", n.serverID)
	} else {
		n.log.Info("this server is a member again", "server", n.serverID)
	}
	n.retime(func(t *timing) { t.silenced = removed })
}

// ping says hello to every member, every second and whenever there is news.
// While members are missing it also tries the addresses given at the start, and
// those that were announced: they may have moved, and somebody there may know
// whereto.
func (n *Node) ping() {
	tick := time.NewTicker(n.cfg.Ping)
	defer tick.Stop()
	for {
		for addr, to := range n.targets() {
			if n.contacts.begin(addr) {
				if !n.spawn(func() {
					defer n.contacts.end(addr)
					ctx, cancel := context.WithTimeout(n.ctx, max(n.cfg.Ping, time.Second))
					defer cancel()
					_, _ = n.ask(ctx, addr, to)
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
			select { // many pieces of news come together
			case <-time.After(20 * time.Millisecond):
			case <-n.ctx.Done():
				return
			}
		}
	}
}

// targets are the addresses to say hello to, with the server expected there.
func (n *Node) targets() map[string]string {
	to := map[string]string{}
	lost := false
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == n.serverID {
			continue
		}
		addr, _ := n.book.address(string(s.ID))
		to[addr] = string(s.ID)
		if alive, _ := n.contacts.alive(string(s.ID)); !alive {
			lost = true
			if string(s.Address) != addr {
				to[string(s.Address)] = ""
			}
		}
	}
	if lost || n.local.read().Removed {
		for _, addr := range append(n.joinAddresses(), n.announced()...) {
			if _, ok := to[addr]; !ok && addr != n.self.Address {
				to[addr] = ""
			}
		}
	}
	if n.local.read().Removed {
		for _, p := range n.local.known() {
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

// contacts is what this node knows of the others by its own questions, and when
// they asked.
type contacts struct {
	mu       sync.Mutex
	clock    *awake.Clock  // what others are judged by
	patience time.Duration // an answer counts as life for so long
	by       map[string]contact
	callers  map[string]time.Time // by server id: when it asked last
	asking   map[string]bool      // by address: a question is under way
}

type contact struct {
	hello hello
	at    time.Time     // of the last answer
	heard time.Duration // the same, by the clock
	since time.Time     // of the first answer of an unbroken row
}

func (c *contacts) init(ping time.Duration) {
	c.clock = awake.New(ping / 2)
	c.patience = 3*ping + ping/2
	c.by, c.callers, c.asking = map[string]contact{}, map[string]time.Time{}, map[string]bool{}
}

func (c *contacts) begin(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking[addr] {
		return false
	}
	c.asking[addr] = true
	return true
}

func (c *contacts) end(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, addr)
}

func (c *contacts) answered(h hello) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.by[h.ServerID]
	if !ok && len(c.by) >= maxPeers {
		return
	}
	since := old.since
	if !ok || now.Sub(old.at) > c.patience || old.hello.Boot != h.Boot {
		since = now
	}
	h.Known = nil
	c.by[h.ServerID] = contact{hello: h, at: now, heard: c.clock.Now(), since: since}
}

// called notes that a server asks. Unlike what servers answered this is kept when
// they are removed, for they may not know that yet.
func (c *contacts) called(serverID string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.callers[serverID]; !known && len(c.callers) >= maxPeers {
		oldest, at := "", now
		for id, when := range c.callers {
			if !when.After(at) {
				oldest, at = id, when
			}
		}
		delete(c.callers, oldest)
	}
	c.callers[serverID] = now
}

// of is the last that was heard of a server.
func (c *contacts) of(serverID string) (contact, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.by[serverID]
	return k, ok
}

// alive tells whether a server has answered lately, and when last.
func (c *contacts) alive(serverID string) (bool, time.Time) {
	k, ok := c.of(serverID)
	return ok && c.recent(k), k.at
}

// recent tells whether an answer still counts as life. Nobody could be heard
// while this process stood still.
func (c *contacts) recent(k contact) bool { return c.clock.Now()-k.heard <= c.patience }

func (c *contacts) forget(keep func(serverID string) bool) {
	c.mu.Lock()
	var gone []string
	for id := range c.by {
		gone = append(gone, id)
	}
	c.mu.Unlock()
	for _, id := range gone {
		if !keep(id) {
			c.mu.Lock()
			delete(c.by, id)
			c.mu.Unlock()
		}
	}
}

// Alive tells whether the coordinator id has lately answered this node's
// questions, and when it was last heard: it answered, or asked itself. A
// coordinator that restarts is the same.
func (n *Node) Alive(id string) (alive bool, last time.Time) {
	if id == n.cfg.ID {
		return true, time.Now()
	}
	n.contacts.mu.Lock()
	defer n.contacts.mu.Unlock()
	for _, k := range n.contacts.by {
		if k.hello.ID == id && k.at.After(last) {
			alive, last = n.contacts.recent(k), k.at
		}
	}
	for serverID, at := range n.contacts.callers {
		if nameOf(serverID) == id && at.After(last) {
			last = at
		}
	}
	return alive, last
}
