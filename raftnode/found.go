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
	var say said
	defer n.seeking.Store(nil)
	for {
		if n.member() {
			n.settle()
			return
		}
		if n.local.read().Member { // removed: only an operator brings it back
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, 3*time.Second)
		seen := n.lookAround(ctx)
		cancel()
		var err error
		switch {
		case slices.ContainsFunc(seen.answers, func(h hello) bool { return h.Cluster != "" && h.Founding != n.set(seen.answers) }):
			err = n.askToJoin(seen.answers)
		case n.cfg.Expect > 0 && n.empty():
			err = n.found(seen)
		default:
			err = n.nobody(seen)
		}
		wait := pause/2 + rand.N(pause)
		pause = min(2*pause, seekLast)
		if err != nil {
			text := err.Error()
			n.seeking.Store(&text)
			level := slog.LevelInfo
			switch {
			case hopeless(err):
				level, wait = slog.LevelError, seekSlow
			case time.Since(began) > seekPatience:
				level = slog.LevelWarn
			}
			if say.again(text, level, seekSay) {
				n.log.Log(n.ctx, level, "not in a cluster yet", "server", n.serverID, "error", err, "failed_calls", seen.failed)
			}
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

// said is what was last logged of something that lasts.
type said struct {
	text  string
	level slog.Level
	at    time.Time
}

// again tells whether to log text now: it is news, it has become more serious, or
// it was last logged as long ago as every.
func (s *said) again(text string, level slog.Level, every time.Duration) bool {
	now := time.Now()
	if text == s.text && level <= s.level && now.Sub(s.at) < every {
		return false
	}
	*s = said{text, level, now}
	return true
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

// around is what a look around has shown: every server's answer once, however
// many addresses it has, and the addresses without an answer.
type around struct {
	answers []hello
	silent  []string
	failed  []string // why, in the words of the calls
}

// lookAround says hello to everybody who may know something.
func (n *Node) lookAround(ctx context.Context) (seen around) {
	addrs := append(n.joinAddresses(), n.announced()...)
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
				seen.silent = append(seen.silent, addr)
				seen.failed = append(seen.failed, fmt.Sprintf("%s: %v", addr, err))
			} else if h.ServerID != n.serverID {
				by[h.ServerID] = h
			}
		})
	}
	wg.Wait()
	for _, h := range by {
		seen.answers = append(seen.answers, h)
	}
	slices.SortFunc(seen.answers, func(a, b hello) int { return cmp.Compare(a.ServerID, b.ServerID) })
	slices.Sort(seen.silent)
	slices.Sort(seen.failed)
	return seen
}

// missing names the addresses without an answer, in words that end a message.
func (a around) missing() string {
	if len(a.silent) == 0 {
		return ""
	}
	return fmt.Sprintf("; no answer from %s: is a coordinator running there, and is that its peer address?", strings.Join(a.silent, ", "))
}

// expecting says with how many founders a coordinator was started.
func expecting(expect int) string {
	if expect == 0 {
		return "without --bootstrap-expect"
	}
	return fmt.Sprintf("with --bootstrap-expect %d", expect)
}

// nobody says why a server that does not found waits: nobody it asked has a
// cluster.
func (n *Node) nobody(seen around) error {
	if len(seen.answers) == 0 && len(seen.silent) == 0 {
		return fmt.Errorf("no address to ask is given: start this coordinator with --join, or have a cluster take it in: raftctl members add %s", n.self.Address)
	}
	var names, founders []string
	for _, h := range seen.answers {
		if names = append(names, h.ID); h.Expect > 0 {
			founders = append(founders, fmt.Sprintf("%s was started %s", h.ID, expecting(h.Expect)))
		}
	}
	switch {
	case len(names) == 0:
		return fmt.Errorf("no coordinator has answered%s", seen.missing())
	case !n.empty():
		return fmt.Errorf("this coordinator has a log and waits for its cluster, and none of %s belongs to one%s", strings.Join(names, ", "), seen.missing())
	case len(founders) == 0:
		return fmt.Errorf("none of %s belongs to a cluster, and neither they nor this one, %s, were started with --bootstrap-expect, so nobody founds one: "+
			"start those that are to found it with the same --bootstrap-expect, which is their number%s", strings.Join(names, ", "), n.cfg.ID, seen.missing())
	}
	return fmt.Errorf("nobody has founded the cluster yet: %s; this one, %s, was started without it and waits to join: if it is to be a founder, start it with the same --bootstrap-expect%s",
		strings.Join(founders, ", "), n.cfg.ID, seen.missing())
}

// others says why coordinators that answer and have no cluster are not counted as
// founders.
func (n *Node) others(seen around) string {
	var said []string
	for _, h := range seen.answers {
		switch {
		case h.Cluster != "":
		case h.Expect != n.cfg.Expect:
			said = append(said, fmt.Sprintf("%s was started %s, this one, %s, with %d", h.ID, expecting(h.Expect), n.cfg.ID, n.cfg.Expect))
		case !h.Empty:
			said = append(said, fmt.Sprintf("the data directory of %s is not empty", h.ID))
		}
	}
	if len(said) == 0 {
		return ""
	}
	return "; " + strings.Join(said, "; ") + ": all founders need the same --bootstrap-expect, which is their number, and an empty data directory"
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
func (n *Node) found(seen around) error {
	servers := n.founders(seen.answers)
	set := setOf(servers)
	n.founding.Store(&set)
	switch names := namesOf(servers); {
	case len(names) < len(servers):
		return wire.Refuse(wire.CodeConflict, "two of the coordinators that are to found the cluster have the same id: %v: start one of them with another --id and an empty data directory", names)
	case len(servers) > n.cfg.Expect:
		return wire.Refuse(wire.CodeConflict, "%d coordinators are to found the cluster, but %d want to: %v: start them all with --bootstrap-expect %d, or those that are to join later without it",
			n.cfg.Expect, len(servers), names, len(servers))
	case len(servers) < n.cfg.Expect:
		return fmt.Errorf("%d of %d founders are here: %v%s%s", len(servers), n.cfg.Expect, names, n.others(seen), seen.missing())
	case n.cfg.Expect == 1 && len(seen.silent) > 0:
		// One alone founds only when it is sure that nobody has a cluster.
		return fmt.Errorf("those who do not answer may have a cluster, so this one founds none: start them, or leave them out of --join%s", seen.missing())
	}
	for _, h := range seen.answers {
		if slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == h.ServerID }) && h.Founding != set {
			poke(n.seekNow) // it will have heard of all of us in a moment
			return fmt.Errorf("%s does not see the same founders as this one, which sees %v: can every founder reach every other, and are all in each --join?", h.ID, namesOf(servers))
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
	if err := n.oneCluster(answers); err != nil {
		return err
	}
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
			return fmt.Errorf("%s has taken this one in, but its log has not come yet: can all members reach this one at %s (--advertise)?", h.ID, n.self.Address)
		}
		if hopeless(err) {
			return err
		}
	}
	return fmt.Errorf("join: %w", err)
}

// oneCluster refuses to choose when those who answer belong to several clusters.
func (n *Node) oneCluster(answers []hello) error {
	var of []string
	clusters := map[string]bool{}
	for _, h := range answers {
		if h.Cluster != "" {
			clusters[h.Cluster] = true
			of = append(of, fmt.Sprintf("%s to cluster %s", h.ID, h.Cluster))
		}
	}
	if len(clusters) < 2 {
		return nil
	}
	return wire.Refuse(wire.CodeConflict, "--join leads to %d different clusters: %s: name coordinators of one cluster only, or give those of the other an empty data directory",
		len(clusters), strings.Join(of, ", "))
}
