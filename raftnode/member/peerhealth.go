package member

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire/awake"
)

// peerHealth is what this node knows of the others by its own questions, and when
// they asked.
type peerHealth struct {
	mu        sync.Mutex
	clock     *awake.Clock  // what others are judged by
	timeout   time.Duration // an answer counts as life for so long
	peers     map[string]peerState
	lastCalls map[string]time.Time // by server id: when it asked last
	probing   map[string]bool      // by address: a question is under way
	// memberSince is, by server id, when by the clock this process first saw that the server is a member.
	memberSince map[string]time.Duration
}

type peerState struct {
	hello         Hello
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

func (c *peerHealth) recordAnswer(h Hello) {
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

// recordMembers notes who is a member now, and forgets who is none any more.
func (c *peerHealth) recordMembers(servers []raft.Server) {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.memberSince
	c.memberSince = make(map[string]time.Duration, len(servers))
	for _, s := range servers {
		since, ok := before[string(s.ID)]
		if !ok {
			since = now
		}
		c.memberSince[string(s.ID)] = since
	}
}

// silence is for how long a member has not answered, of the time in which this process
// could have heard it as one: a newcomer is not silent since the process began.
func (c *peerHealth) silence(serverID string) time.Duration {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	since, ok := c.memberSince[serverID]
	if !ok {
		return 0 // it has become one this moment
	}
	return now - max(since, c.peers[serverID].answeredClock)
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
func (m *Manager) Alive(id string) (alive bool, last time.Time) {
	if id == m.self.ID {
		return true, time.Now()
	}
	m.peers.mu.Lock()
	defer m.peers.mu.Unlock()
	for _, k := range m.peers.peers {
		if k.hello.ID == id && k.answered.After(last) {
			alive, last = m.peers.fresh(k), k.answered
		}
	}
	for serverID, at := range m.peers.lastCalls {
		if disk.CoordinatorID(serverID) == id && at.After(last) {
			last = at
		}
	}
	return alive, last
}

// AnswerTimeout is how long an answer of another server counts as life.
func (m *Manager) AnswerTimeout() time.Duration { return m.peers.timeout }

// Answers reports whether another server has lately answered this one's questions.
func (m *Manager) Answers(serverID string) bool {
	alive, _ := m.peers.alive(serverID)
	return alive
}

// LastHello is the newest hello that another server has answered, however long ago.
func (m *Manager) LastHello(serverID string) (h Hello, ok bool) {
	k, ok := m.peers.lookup(serverID)
	return k.hello, ok
}

// CommonLevel is the highest level of commands that the binaries of all servers of
// the group know, as each said in its last hello; known is false while one has
// said none.
func (m *Manager) CommonLevel() (level int, known bool) {
	level = max(m.cfg.Level, 1)
	for _, s := range m.List() {
		if s.ServerID == m.serverID {
			continue
		}
		h, ok := m.LastHello(s.ServerID)
		if !ok || h.ServerID != s.ServerID {
			return 0, false
		}
		level = min(level, max(h.Level, 1))
	}
	return level, true
}

// RecordCall notes that a server asks, which counts as heard: see Alive.
func (m *Manager) RecordCall(serverID string) { m.peers.recordCall(serverID) }
