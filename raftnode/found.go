package raftnode

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire"
)

// The pauses between looks for a cluster.
const (
	seekFirst = 250 * time.Millisecond
	seekLast  = 2 * time.Second
	// seekPatience is how long it is nothing to warn of that the others are not there.
	seekPatience = 5 * time.Second
	seekSlow     = 30 * time.Second // after a refusal that only an operator can heal
	// seekSay is when it is said again that nothing has changed.
	seekSay = 10 * time.Second
)

// callers remembers what empty servers said when they called, so that only news
// hurries the search: they call as often as they are called.
type callers struct {
	mu   sync.Mutex
	said map[string]string // by server id
}

func (c *callers) news(h hello) bool {
	says := fmt.Sprintf("%d %s %s", h.Boot, h.Address, h.Founding)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil || len(c.said) >= maxPeers {
		c.said = map[string]string{}
	}
	was := c.said[h.ServerID]
	c.said[h.ServerID] = says
	return was != says
}

// seek looks for a cluster, or for the other founders, until this server is a
// member. It never gives up: the others may be started in any order, and names
// may not yet resolve.
func (n *Node) seek() {
	pause, began := seekFirst, time.Now()
	var said struct {
		text string
		at   time.Time
	}
	for {
		if n.member() {
			n.settle()
			return
		}
		if n.local.read().Member { // removed: only an operator brings it back
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, 3*time.Second)
		answers, silent := n.lookAround(ctx)
		cancel()
		var err error
		switch {
		case slices.ContainsFunc(answers, func(h hello) bool { return h.Cluster != "" && h.Founding != n.set(answers) }):
			err = n.askToJoin(answers)
		case n.cfg.Expect > 0 && n.empty():
			err = n.found(answers, silent)
		}
		wait := pause/2 + rand.N(pause)
		pause = min(2*pause, seekLast)
		if hopeless(err) {
			n.log.Error("this server cannot join, and will try again slowly", "server", n.serverID, "error", err)
			wait = seekSlow
		} else if err != nil && (said.text != err.Error() || time.Since(said.at) >= seekSay) {
			said.text, said.at = err.Error(), time.Now()
			level := slog.LevelInfo
			if time.Since(began) > seekPatience {
				level = slog.LevelWarn
			}
			n.log.Log(n.ctx, level, "not in a cluster yet", "server", n.serverID, "error", err)
		}
		select {
		case <-time.After(wait):
		case <-n.seekNow:
			select { // a little rest, for pokes may come often
			case <-time.After(50 * time.Millisecond):
			case <-n.ctx.Done():
				return
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// hopeless tells refusals that repeating alone does not heal.
func hopeless(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeConflict, wire.CodeForbidden, wire.CodeInvalid, wire.CodeUnauthorized:
		return true
	}
	return false
}

// settle notes that this server has become a member.
func (n *Node) settle() {
	err := n.local.change(func(l *localSelf) { l.Member = true })
	if err != nil {
		n.localFailed(err)
	}
	poke(n.pingNow)
}

// localFailed is the end, like any failure of the storage, unless the node is
// closing its files itself.
func (n *Node) localFailed(err error) {
	if n.ctx.Err() == nil {
		n.stores.stop.fail(err)
	}
}

func (n *Node) setCluster(id string) {
	err := n.local.change(func(l *localSelf) {
		if l.Cluster == "" {
			l.Cluster = id
		}
	})
	if err != nil {
		n.localFailed(err)
		return
	}
	n.log.Info("cluster known", "cluster", id)
}

// lookAround says hello to everybody who may know something. Every server
// answers once, however many addresses it has; silent are the addresses
// without an answer.
func (n *Node) lookAround(ctx context.Context) (answers []hello, silent []string) {
	addrs := n.joinAddresses()
	for _, p := range n.local.known() {
		addrs = append(addrs, p.Address)
	}
	slices.Sort(addrs)
	var mu sync.Mutex
	var wg sync.WaitGroup
	by := map[string]hello{}
	for _, addr := range slices.Compact(addrs) {
		wg.Go(func() {
			h, err := n.ask(ctx, addr, "")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, addr)
				if hopeless(err) {
					n.log.Error("refused by a coordinator", "address", addr, "error", err)
				}
			} else if h.ServerID != n.serverID {
				by[h.ServerID] = h
			}
		})
	}
	wg.Wait()
	for _, h := range by {
		answers = append(answers, h)
	}
	slices.SortFunc(answers, func(a, b hello) int { return cmp.Compare(a.ServerID, b.ServerID) })
	return answers, silent
}

// founders are this server and all others that are empty and expect as many.
func (n *Node) founders(answers []hello) []raft.Server {
	servers := []raft.Server{{ID: raft.ServerID(n.serverID), Address: raft.ServerAddress(n.self.Address)}}
	for _, h := range answers {
		if h.Expect == n.cfg.Expect && (h.Empty || h.Cluster != "") {
			servers = append(servers, raft.Server{ID: raft.ServerID(h.ServerID), Address: raft.ServerAddress(h.Address)})
		}
	}
	slices.SortFunc(servers, func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) })
	return servers
}

// set names the founders as seen from here: two servers with the same set
// would write the same configuration.
func (n *Node) set(answers []hello) string {
	if n.cfg.Expect == 0 || !n.empty() {
		return ""
	}
	return setOf(n.founders(answers))
}

func setOf(servers []raft.Server) string {
	var text strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&text, "%s %s\n", s.ID, s.Address)
	}
	return digest(text.String())
}

// clusterID is the same on all founders.
func clusterID(servers []raft.Server) string {
	ids := make([]string, len(servers))
	for i, s := range servers {
		ids[i] = string(s.ID)
	}
	slices.Sort(ids)
	return digest(strings.Join(ids, "\n"))
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// found makes the cluster once exactly the expected number of empty servers
// have found each other and each has said that it sees the very same set. All
// of them then write the same first entry, so it does not matter who does
// first, or who falls out meanwhile.
func (n *Node) found(answers []hello, silent []string) error {
	servers := n.founders(answers)
	set := setOf(servers)
	n.founding.Store(&set)
	switch names := namesOf(servers); {
	case len(names) < len(servers):
		return wire.Refuse(wire.CodeConflict, "two of the coordinators that are to found the cluster have the same id: %v", names)
	case len(servers) > n.cfg.Expect:
		return wire.Refuse(wire.CodeConflict, "%d coordinators are to found the cluster, but %d want to: %v", n.cfg.Expect, len(servers), names)
	case len(servers) < n.cfg.Expect:
		return fmt.Errorf("%d of %d founders are here: %v", len(servers), n.cfg.Expect, names)
	case n.cfg.Expect == 1 && len(silent) > 0:
		// One alone founds only when it is sure that nobody has a cluster.
		return fmt.Errorf("no answer from %v, who may have a cluster", silent)
	}
	for _, h := range answers {
		if slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == h.ServerID }) && h.Founding != set {
			poke(n.seekNow) // it will have heard of all of us in a moment
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	err := await(ctx, n.raft.BootstrapCluster(raft.Configuration{Servers: servers}))
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("found the cluster: %w", err)
	}
	if err == nil {
		n.log.Info("cluster founded", "cluster", clusterID(servers), "servers", len(servers))
		n.setCluster(clusterID(servers))
	}
	poke(n.seekNow)
	return nil
}

func namesOf(servers []raft.Server) []string {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = nameOf(string(s.ID))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// recallCluster works out a cluster id that a crash kept from local.db: the
// founders are in the first entry of the log.
func (n *Node) recallCluster() error {
	if n.local.Cluster() != "" {
		return nil
	}
	first, err := n.stores.log.FirstIndex()
	if err != nil || first != 1 {
		return err
	}
	var l raft.Log
	if err := n.stores.log.GetLog(1, &l); err != nil || l.Type != raft.LogConfiguration {
		return err
	}
	servers := raft.DecodeConfiguration(l.Data).Servers
	return n.local.change(func(s *localSelf) { s.Cluster = clusterID(servers) })
}

// askToJoin asks the members among the answers, one after the other, to take
// this server in.
func (n *Node) askToJoin(answers []hello) error {
	err := errors.New("nobody with a cluster answered")
	for _, h := range answers {
		if h.Cluster == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		var done ordered
		done, err = n.send(ctx, h.Address, order{Op: opJoin, Peer: n.self, NonVoter: n.observer()})
		cancel()
		if err == nil {
			if n.local.Cluster() == "" {
				n.setCluster(done.Cluster)
			}
			poke(n.seekNow) // the configuration comes with the log
			return nil
		}
		if hopeless(err) {
			return err
		}
	}
	return fmt.Errorf("join: %w", err)
}
