package raftnode

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// timing is what raft's timeouts depend on. Only retime gives them to raft.
type timing struct {
	mu       sync.Mutex
	silenced bool   // removed from the cluster: ask nobody for votes
	hurried  bool   // the leader is gone: raft waits no longer than the leader's lease
	suspect  string // server id of the leader that seems gone; it gets no promises
}

// never is a timeout that does not come: a removed server must not disturb the
// others by asking for votes.
const never = 1000 * time.Hour

// retime changes what the timeouts depend on, and gives raft those that fit.
func (n *Node) retime(change func(*timing)) {
	n.timing.mu.Lock()
	defer n.timing.mu.Unlock()
	change(&n.timing)
	now := n.raft.ReloadableConfig()
	fit := now
	fit.HeartbeatTimeout, fit.ElectionTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout
	switch {
	case n.timing.silenced:
		fit.HeartbeatTimeout, fit.ElectionTimeout = never, never
	case n.timing.hurried:
		// The library takes no heartbeat timeout below the leader's lease.
		fit.HeartbeatTimeout = n.cfg.LeaderLease
	}
	if fit == now {
		return
	}
	if err := n.raft.ReloadConfig(fit); err != nil {
		n.log.Error("raft's timeouts could not be changed", "error", err)
	}
}

// promise is how long from now on this server will not vote for another leader
// of its own accord. It is never more than LeaderLease, and nothing once the
// leader is suspected: so LeaderLease after a suspicion began, all promises
// made before are over.
func (n *Node) promise() time.Duration {
	n.timing.mu.Lock()
	defer n.timing.mu.Unlock()
	if n.timing.suspect != "" {
		return 0
	}
	return min(n.cfg.LeaderLease, n.cfg.HeartbeatTimeout-time.Since(n.raft.LastContact()))
}

func (n *Node) suspects(serverID string) bool {
	n.timing.mu.Lock()
	defer n.timing.mu.Unlock()
	return n.timing.suspect == serverID
}

// watchStreams replaces a leader whose process has ended sooner than its
// silence would.
func (n *Node) watchStreams() {
	streams := n.cfg.Inject.Streams
	if streams == nil || n.cfg.LeaderLease >= n.cfg.HeartbeatTimeout {
		return
	}
	streams.OnEnd(func(id string) {
		if _, leader := n.raft.LeaderWithID(); string(leader) == id {
			poke(n.bereft)
		}
	})
	defer streams.OnEnd(nil)
	for {
		select {
		case <-n.bereft:
			n.replaceLeader(streams)
		case <-n.ctx.Done():
			return
		}
	}
}

// greetStreams hears the servers that open streams to this one.
func (n *Node) greetStreams() {
	streams := n.cfg.Inject.Streams
	if streams == nil {
		return
	}
	streams.OnBegin(n.absent.heard)
	defer streams.OnBegin(nil)
	<-n.ctx.Done()
}

// replaceLeader is called when a stream of the leader has ended. If its machine
// refuses a new connection as well, the process is gone, and nobody need wait
// until its silence has lasted long enough. This server then lets raft's
// heartbeat timer run out, as if the timeout were LeaderLease. All that follows
// is raft's: with pre-votes a wrong guess changes nothing while the others
// still hear the leader.
//
// Two that campaign at once would each vote for themselves. So the followers go
// one after the other, the one with the newest log last: whoever goes first is
// refused by those who have not gone yet, and the first to find a majority that
// has gone wins at once.
func (n *Node) replaceLeader(streams Streams) {
	_, leader := n.raft.LeaderWithID()
	id := string(leader)
	self, member := n.server(n.serverID)
	addr, known := n.book.address(id)
	if id == "" || id == n.serverID || !known || !member || self.Suffrage != raft.Voter {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, 4*n.cfg.HeartbeatTimeout)
	defer cancel()
	// A process that ends may close its streams before it stops to listen.
	if !streams.Refuses(ctx, addr) && (!n.pause(n.cfg.LeaderLease/8) || !streams.Refuses(ctx, addr)) {
		return
	}
	n.retime(func(t *timing) { t.suspect = id })
	defer n.retime(func(t *timing) { t.suspect, t.hurried = "", false })
	began := time.Now()
	n.log.Warn("the leader's process has ended", "leader", id, "address", addr)

	// What the leader sent last may still be on its way to the log.
	if !n.pause(n.cfg.LeaderLease / 2) {
		return
	}
	first := n.behind(ctx, id)
	for {
		heard := n.raft.LastContact()
		if heard.Before(began) {
			heard = began
		}
		wait := time.Until(heard.Add(n.cfg.LeaderLease))
		if wait <= 0 {
			break
		}
		// A leader that is still heard is well, whatever its machine says.
		if time.Since(began) > 2*n.cfg.HeartbeatTimeout || !n.pause(wait) || n.follows(id) {
			return
		}
	}
	if !n.letGo(ctx, first, id) || n.follows(id) {
		return
	}
	n.retime(func(t *timing) { t.hurried = true })
	for time.Since(began) < 4*n.cfg.HeartbeatTimeout && !n.follows(id) && n.pause(5*time.Millisecond) {
	}
}

// letGo waits until those who go first have given the leader up, and have been
// refused by this server; or until each has had a quarter of a heartbeat
// timeout. False says that the node is closing.
func (n *Node) letGo(ctx context.Context, first []raft.Server, leader string) bool {
	moment := n.cfg.HeartbeatTimeout / 32
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(first))*n.cfg.HeartbeatTimeout/4)
	defer cancel()
	for len(first) > 0 && ctx.Err() == nil {
		said := n.askAll(ctx, first)
		first = slices.DeleteFunc(first, func(s raft.Server) bool {
			h, ok := said[string(s.ID)]
			return ok && h.Leader != leader
		})
		if !n.pause(moment) {
			return false
		}
	}
	return true
}

// follows tells whether there is a leader again, other than the one that went.
func (n *Node) follows(gone string) bool {
	_, id := n.raft.LeaderWithID()
	return id != "" && string(id) != gone
}

// pause waits; false says that the node is closing.
func (n *Node) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// behind are the other voters, but for the leader, that have less of the log
// than this server: equal ones in the order of their ids. Who does not answer
// while half a lease lasts is not among them.
func (n *Node) behind(ctx context.Context, leader string) []raft.Server {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.LeaderLease/2)
	defer cancel()
	last := n.raft.LastIndex()
	others := slices.DeleteFunc(slices.Clone(n.raft.GetConfiguration().Configuration().Servers), func(s raft.Server) bool {
		return s.Suffrage != raft.Voter || string(s.ID) == n.serverID || string(s.ID) == leader
	})
	said := n.askAll(ctx, others)
	return slices.DeleteFunc(others, func(s raft.Server) bool {
		h, ok := said[string(s.ID)]
		return !ok || h.Last > last || h.Last == last && h.ServerID > n.serverID
	})
}

// askAll says hello to some servers and returns what they answer, by server id.
func (n *Node) askAll(ctx context.Context, servers []raft.Server) map[string]hello {
	said := map[string]hello{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range servers {
		id := string(s.ID)
		addr, ok := n.book.address(id)
		if !ok {
			continue
		}
		wg.Go(func() {
			h, err := n.ask(ctx, addr, id)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && h.ServerID == id {
				said[id] = h
			}
		})
	}
	wg.Wait()
	return said
}
