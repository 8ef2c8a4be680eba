package member

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
)

// founderCalls remembers what empty servers said when they called, so that only a change
// speeds up discovery: they call as often as they are called.
type founderCalls struct {
	mu   sync.Mutex
	last map[string]string // by server id
}

func (c *founderCalls) changed(h Hello) bool {
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

// founderMismatch says why coordinators that answer and have no cluster are not counted as
// founders.
func (m *Manager) founderMismatch(found discovered) string {
	var reasons []string
	for _, h := range found.answers {
		switch {
		case h.Cluster != "":
		case h.Expect != m.cfg.Expect:
			reasons = append(reasons, fmt.Sprintf("%s was started %s, this one, %s, with %d", h.ID, expectText(h.Expect), m.self.ID, m.cfg.Expect))
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
func (m *Manager) founderServers(answers []Hello) []raft.Server {
	servers := []raft.Server{{ID: raft.ServerID(m.serverID), Address: raft.ServerAddress(m.self.Address)}}
	for _, h := range answers {
		if h.Expect == m.cfg.Expect && (h.Empty || h.Cluster != "") {
			servers = append(servers, raft.Server{ID: raft.ServerID(h.ServerID), Address: raft.ServerAddress(h.Address)})
		}
	}
	slices.SortFunc(servers, func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) })
	return servers
}

// founderSet names the founders as seen from here: two servers with the same set
// would write the same configuration.
func (m *Manager) founderSet(answers []Hello) string {
	if m.cfg.Expect == 0 || !m.hasNoState() {
		return ""
	}
	return hashServers(m.founderServers(answers))
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
func (m *Manager) bootstrap(found discovered) error {
	servers := m.founderServers(found.answers)
	set := hashServers(servers)
	m.founderSetSeen.Store(&set)
	switch names := namesOf(servers); {
	case len(names) < len(servers):
		return wire.Refuse(wire.CodeConflict, "two of the coordinators that are to found the cluster have the same id: %v: start one of them with another --id and an empty data directory", names)
	case len(servers) > m.cfg.Expect:
		return wire.Refuse(wire.CodeConflict, "%d coordinators are to found the cluster, but %d want to: %v: start them all with --bootstrap-expect %d, or those that are to join later without it",
			m.cfg.Expect, len(servers), names, len(servers))
	case len(servers) < m.cfg.Expect:
		return fmt.Errorf("%d of %d founders are here: %v%s%s", len(servers), m.cfg.Expect, names, m.founderMismatch(found), found.noAnswerText())
	case m.cfg.Expect == 1 && len(found.noAnswer) > 0:
		// One alone founds only when it is sure that nobody has a cluster.
		return fmt.Errorf("those who do not answer may have a cluster, so this one founds none: start them, or leave them out of --join%s", found.noAnswerText())
	}
	for _, h := range found.answers {
		if slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == h.ServerID }) && h.FounderSet != set {
			wake(m.discoverNow) // it will have heard of all of us in a moment
			return fmt.Errorf("%s does not see the same founders as this one, which sees %v: can every founder reach every other, and are all in each --join?", h.ID, namesOf(servers))
		}
	}
	ctx, cancel := context.WithTimeout(m.ctx, 5*time.Second)
	defer cancel()
	err := m.futures.Await(ctx, m.raft.BootstrapCluster(raft.Configuration{Servers: servers}))
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("found the cluster: %w", err)
	}
	if err == nil {
		m.log.Info("cluster founded", "cluster", clusterID(servers), "servers", len(servers))
		m.setClusterID(clusterID(servers))
	}
	wake(m.discoverNow)
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

// RecoverClusterID works out a cluster id that a crash kept from local.db: the
// founders are in the first entry of the log.
func RecoverClusterID(identity *disk.Identity, log raft.LogStore) error {
	if identity.Cluster() != "" {
		return nil
	}
	first, err := log.FirstIndex()
	if err != nil || first != 1 {
		return err
	}
	var l raft.Log
	if err := log.GetLog(1, &l); err != nil || l.Type != raft.LogConfiguration {
		return err
	}
	servers := raft.DecodeConfiguration(l.Data).Servers
	return identity.Update(func(s *disk.SelfRecord) { s.Cluster = clusterID(servers) })
}
