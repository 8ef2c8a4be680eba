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

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
)

// The pauses between looks for a cluster.
const (
	discoveryMinPause = 250 * time.Millisecond
	discoveryMaxPause = 2 * time.Second
	// discoveryWarnAfter is how long it is nothing to warn of that the others are not there.
	discoveryWarnAfter    = 5 * time.Second
	discoveryRefusedPause = 30 * time.Second // after a refusal that only an operator can heal
	// discoveryLogEvery is how often an unchanged state is logged again.
	discoveryLogEvery = 10 * time.Second
)

// founderCalls remembers what empty servers said when they called, so that only a change
// speeds up discovery: they call as often as they are called.
type founderCalls struct {
	mu   sync.Mutex
	last map[string]string // by server id
}

func (c *founderCalls) changed(h hello) bool {
	says := fmt.Sprintf("%d %s %s", h.Boot, h.Address, h.FounderSet)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || len(c.last) >= disk.MaxPeers {
		c.last = map[string]string{}
	}
	was := c.last[h.ServerID]
	c.last[h.ServerID] = says
	return was != says
}

// discoveryLoop looks for a cluster, or for the other founders, until this server is a
// member. It never gives up: the others may be started in any order, and names
// may not yet resolve.
func (n *Node) discoveryLoop() {
	pause, began := discoveryMinPause, time.Now()
	var throttle logThrottle
	defer n.discovering.Store(nil)
	for {
		if n.isMember() {
			n.recordMember()
			return
		}
		if n.identity.Record().Member { // removed: only an operator brings it back
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, 3*time.Second)
		found := n.helloEverybody(ctx)
		cancel()
		var err error
		switch {
		case slices.ContainsFunc(found.answers, func(h hello) bool { return h.Cluster != "" && h.FounderSet != n.founderSet(found.answers) }):
			err = n.requestJoin(found.answers)
		case n.cfg.Expect > 0 && n.hasNoState():
			err = n.bootstrap(found)
		default:
			err = n.waitReason(found)
		}
		wait := pause/2 + rand.N(pause)
		pause = min(2*pause, discoveryMaxPause)
		if err != nil {
			text := err.Error()
			n.discovering.Store(&text)
			level := slog.LevelInfo
			switch {
			case permanent(err):
				level, wait = slog.LevelError, discoveryRefusedPause
			case time.Since(began) > discoveryWarnAfter:
				level = slog.LevelWarn
			}
			if throttle.due(text, level, discoveryLogEvery) {
				n.log.Log(n.ctx, level, "not in a cluster yet", "server", n.serverID, "error", err, "failed_calls", found.errors)
			}
		}
		select {
		case <-time.After(wait):
		case <-n.discoverNow:
			select { // at most one round per 50 ms, however often it is woken
			case <-time.After(50 * time.Millisecond):
			case <-n.ctx.Done():
				return
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// logThrottle is what was last logged of something that lasts.
type logThrottle struct {
	text  string
	level slog.Level
	at    time.Time
}

// due reports whether to log text now: it has changed, it has become more serious, or
// it was last logged as long ago as every.
func (s *logThrottle) due(text string, level slog.Level, every time.Duration) bool {
	now := time.Now()
	if text == s.text && level <= s.level && now.Sub(s.at) < every {
		return false
	}
	*s = logThrottle{text, level, now}
	return true
}

// permanent reports refusals that a retry alone does not cure.
func permanent(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeConflict, wire.CodeForbidden, wire.CodeInvalid, wire.CodeUnauthorized:
		return true
	}
	return false
}

// recordMember notes that this server has become a member.
func (n *Node) recordMember() {
	err := n.identity.Update(func(l *disk.SelfRecord) { l.Member = true })
	if err != nil {
		n.failStorage(err)
	}
	wake(n.pingNow)
}

// failStorage is the end, like any failure of the storage, unless the node is
// closing its files itself.
func (n *Node) failStorage(err error) {
	if n.ctx.Err() == nil {
		n.failStop.Fail(err)
	}
}

func (n *Node) setClusterID(id string) {
	err := n.identity.Update(func(l *disk.SelfRecord) {
		if l.Cluster == "" {
			l.Cluster = id
		}
	})
	if err != nil {
		n.failStorage(err)
		return
	}
	n.log.Info("cluster known", "cluster", id)
}

// discovered is what a look around has shown: every server's answer once, however
// many addresses it has, and the addresses without an answer.
type discovered struct {
	answers  []hello
	noAnswer []string
	errors   []string // why, in the words of the calls
}

// helloEverybody says hello to everybody who may know something.
func (n *Node) helloEverybody(ctx context.Context) (found discovered) {
	addrs := append(n.joinAddresses(), n.announced()...)
	for _, p := range n.identity.Peers() {
		addrs = append(addrs, p.Address)
	}
	slices.Sort(addrs)
	var mu sync.Mutex
	var wg sync.WaitGroup
	by := map[string]hello{}
	for _, addr := range slices.Compact(addrs) {
		wg.Go(func() {
			h, err := n.sendHello(ctx, addr, "")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				found.noAnswer = append(found.noAnswer, addr)
				found.errors = append(found.errors, fmt.Sprintf("%s: %v", addr, err))
			} else if h.ServerID != n.serverID {
				by[h.ServerID] = h
			}
		})
	}
	wg.Wait()
	for _, h := range by {
		found.answers = append(found.answers, h)
	}
	slices.SortFunc(found.answers, func(a, b hello) int { return cmp.Compare(a.ServerID, b.ServerID) })
	slices.Sort(found.noAnswer)
	slices.Sort(found.errors)
	return found
}

// noAnswerText names the addresses without an answer, in words that end a message.
func (d discovered) noAnswerText() string {
	if len(d.noAnswer) == 0 {
		return ""
	}
	return fmt.Sprintf("; no answer from %s: is a coordinator running there, and is that its peer address?", strings.Join(d.noAnswer, ", "))
}

// expectText says with how many founders a coordinator was started.
func expectText(expect int) string {
	if expect == 0 {
		return "without --bootstrap-expect"
	}
	return fmt.Sprintf("with --bootstrap-expect %d", expect)
}

// waitReason says why a server that does not found waits: nobody it asked has a
// cluster.
func (n *Node) waitReason(found discovered) error {
	if len(found.answers) == 0 && len(found.noAnswer) == 0 {
		return fmt.Errorf("no address to ask is given: start this coordinator with --join, or have a cluster take it in: raftctl members add %s", n.self.Address)
	}
	var names, founders []string
	for _, h := range found.answers {
		if names = append(names, h.ID); h.Expect > 0 {
			founders = append(founders, fmt.Sprintf("%s was started %s", h.ID, expectText(h.Expect)))
		}
	}
	switch {
	case len(names) == 0:
		return fmt.Errorf("no coordinator has answered%s", found.noAnswerText())
	case !n.hasNoState():
		return fmt.Errorf("this coordinator has a log and waits for its cluster, and none of %s belongs to one%s", strings.Join(names, ", "), found.noAnswerText())
	case len(founders) == 0:
		return fmt.Errorf("none of %s belongs to a cluster, and neither they nor this one, %s, were started with --bootstrap-expect, so nobody founds one: "+
			"start those that are to found it with the same --bootstrap-expect, which is their number%s", strings.Join(names, ", "), n.cfg.ID, found.noAnswerText())
	}
	return fmt.Errorf("nobody has founded the cluster yet: %s; this one, %s, was started without it and waits to join: if it is to be a founder, start it with the same --bootstrap-expect%s",
		strings.Join(founders, ", "), n.cfg.ID, found.noAnswerText())
}

// founderMismatch says why coordinators that answer and have no cluster are not counted as
// founders.
func (n *Node) founderMismatch(found discovered) string {
	var reasons []string
	for _, h := range found.answers {
		switch {
		case h.Cluster != "":
		case h.Expect != n.cfg.Expect:
			reasons = append(reasons, fmt.Sprintf("%s was started %s, this one, %s, with %d", h.ID, expectText(h.Expect), n.cfg.ID, n.cfg.Expect))
		case !h.Empty:
			reasons = append(reasons, fmt.Sprintf("the data directory of %s is not empty", h.ID))
		}
	}
	if len(reasons) == 0 {
		return ""
	}
	return "; " + strings.Join(reasons, "; ") + ": all founders need the same --bootstrap-expect, which is their number, and an empty data directory"
}

// founderServers are this server and all others that are empty and expect as many.
func (n *Node) founderServers(answers []hello) []raft.Server {
	servers := []raft.Server{{ID: raft.ServerID(n.serverID), Address: raft.ServerAddress(n.self.Address)}}
	for _, h := range answers {
		if h.Expect == n.cfg.Expect && (h.Empty || h.Cluster != "") {
			servers = append(servers, raft.Server{ID: raft.ServerID(h.ServerID), Address: raft.ServerAddress(h.Address)})
		}
	}
	slices.SortFunc(servers, func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) })
	return servers
}

// founderSet names the founders as seen from here: two servers with the same set
// would write the same configuration.
func (n *Node) founderSet(answers []hello) string {
	if n.cfg.Expect == 0 || !n.hasNoState() {
		return ""
	}
	return hashServers(n.founderServers(answers))
}

func hashServers(servers []raft.Server) string {
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

// bootstrap makes the cluster once exactly the expected number of empty servers
// have found each other and each has said that it sees the very same set. All
// of them then write the same first entry, so it does not matter who does
// first, or who falls out meanwhile.
func (n *Node) bootstrap(found discovered) error {
	servers := n.founderServers(found.answers)
	set := hashServers(servers)
	n.founderSetSeen.Store(&set)
	switch names := namesOf(servers); {
	case len(names) < len(servers):
		return wire.Refuse(wire.CodeConflict, "two of the coordinators that are to found the cluster have the same id: %v: start one of them with another --id and an empty data directory", names)
	case len(servers) > n.cfg.Expect:
		return wire.Refuse(wire.CodeConflict, "%d coordinators are to found the cluster, but %d want to: %v: start them all with --bootstrap-expect %d, or those that are to join later without it",
			n.cfg.Expect, len(servers), names, len(servers))
	case len(servers) < n.cfg.Expect:
		return fmt.Errorf("%d of %d founders are here: %v%s%s", len(servers), n.cfg.Expect, names, n.founderMismatch(found), found.noAnswerText())
	case n.cfg.Expect == 1 && len(found.noAnswer) > 0:
		// One alone founds only when it is sure that nobody has a cluster.
		return fmt.Errorf("those who do not answer may have a cluster, so this one founds none: start them, or leave them out of --join%s", found.noAnswerText())
	}
	for _, h := range found.answers {
		if slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == h.ServerID }) && h.FounderSet != set {
			wake(n.discoverNow) // it will have heard of all of us in a moment
			return fmt.Errorf("%s does not see the same founders as this one, which sees %v: can every founder reach every other, and are all in each --join?", h.ID, namesOf(servers))
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	err := n.futures.Await(ctx, n.raft.BootstrapCluster(raft.Configuration{Servers: servers}))
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("found the cluster: %w", err)
	}
	if err == nil {
		n.log.Info("cluster founded", "cluster", clusterID(servers), "servers", len(servers))
		n.setClusterID(clusterID(servers))
	}
	wake(n.discoverNow)
	return nil
}

func namesOf(servers []raft.Server) []string {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = disk.CoordinatorID(string(s.ID))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// recoverClusterID works out a cluster id that a crash kept from local.db: the
// founders are in the first entry of the log.
func (n *Node) recoverClusterID() error {
	if n.identity.Cluster() != "" {
		return nil
	}
	first, err := n.stores.Log.FirstIndex()
	if err != nil || first != 1 {
		return err
	}
	var l raft.Log
	if err := n.stores.Log.GetLog(1, &l); err != nil || l.Type != raft.LogConfiguration {
		return err
	}
	servers := raft.DecodeConfiguration(l.Data).Servers
	return n.identity.Update(func(s *disk.SelfRecord) { s.Cluster = clusterID(servers) })
}

// requestJoin asks the members among the answers, one after the other, to take
// this server in.
func (n *Node) requestJoin(answers []hello) error {
	if err := n.requireOneCluster(answers); err != nil {
		return err
	}
	err := errors.New("nobody with a cluster answered")
	for _, h := range answers {
		if h.Cluster == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		var done membershipResponse
		done, err = n.forwardChange(ctx, h.Address, membershipRequest{Op: opJoin, Peer: n.self, NonVoter: n.staysNonVoter()})
		cancel()
		if err == nil {
			if n.identity.Cluster() == "" {
				n.setClusterID(done.Cluster)
			}
			wake(n.discoverNow) // the configuration comes with the log
			return fmt.Errorf("%s has taken this one in, but its log has not come yet: can all members reach this one at %s (--advertise)?", h.ID, n.self.Address)
		}
		if permanent(err) {
			return err
		}
	}
	return fmt.Errorf("join: %w", err)
}

// requireOneCluster refuses to choose when those who answer belong to several clusters.
func (n *Node) requireOneCluster(answers []hello) error {
	var belongs []string
	clusters := map[string]bool{}
	for _, h := range answers {
		if h.Cluster != "" {
			clusters[h.Cluster] = true
			belongs = append(belongs, fmt.Sprintf("%s to cluster %s", h.ID, h.Cluster))
		}
	}
	if len(clusters) < 2 {
		return nil
	}
	return wire.Refuse(wire.CodeConflict, "--join leads to %d different clusters: %s: name coordinators of one cluster only, or give those of the other an empty data directory",
		len(clusters), strings.Join(belongs, ", "))
}
