package member

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// How often a server looks whether something is wrong that only an operator can
// mend, and how often it says the same again.
const (
	warningInterval = 4 * time.Second
	warningLogEvery = time.Minute
)

// warningLoop tells the operator, at the start and every minute, of what discoveryLoop
// does not see because this server has a cluster: it was removed from it, --join
// names coordinators of another one, or too many of the others are not where they
// were.
func (m *Manager) warningLoop() {
	tick := time.NewTicker(warningInterval)
	defer tick.Stop()
	var throttle logThrottle
	var foreign string
	var asked time.Time
	withoutQuorum := 0 // looks in a row without a majority
	for {
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			return
		}
		var warnings []string
		switch self := m.identity.Record(); {
		case self.Removed:
			warnings = append(warnings, fmt.Sprintf("this server, %s, was removed from cluster %s: have it taken in again (raftctl members add %s), or start it with an empty data directory",
				m.serverID, self.Cluster, m.self.Address))
		case m.IsMember():
			if time.Since(asked) >= warningLogEvery {
				foreign, asked = m.foreignClusterWarning(), time.Now()
			}
			if foreign != "" {
				warnings = append(warnings, foreign)
			}
			lost := m.quorumWarning()
			if withoutQuorum++; lost == "" {
				withoutQuorum = 0
			}
			if withoutQuorum > 1 {
				warnings = append(warnings, lost)
			}
		}
		text := strings.Join(warnings, "; ")
		m.warning.Store(&text)
		if text != "" && throttle.due(text, slog.LevelWarn, warningLogEvery) {
			m.log.Warn("an operator is needed", "server", m.serverID, "warning", text)
		}
	}
}

// foreignClusterWarning says which addresses of --join lead to another cluster. Each of them
// says so in its own log, since it refuses this server.
func (m *Manager) foreignClusterWarning() string {
	ctx, cancel := context.WithTimeout(m.ctx, 3*time.Second)
	defer cancel()
	addrs := slices.DeleteFunc(m.joinAddresses(), func(a string) bool { return a == m.self.Address })
	slices.Sort(addrs)
	var others []string
	for _, addr := range slices.Compact(addrs) {
		if m.memberAt(addr) {
			continue
		}
		_, err := m.sendHello(ctx, addr, "")
		if text, ok := peer.Foreign(err); ok {
			others = append(others, fmt.Sprintf("%s (%s)", addr, text))
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("--join names a coordinator of another cluster and was not followed, since this server, %s, belongs to cluster %s: %s; "+
		"leave it out of --join, or start the one that is to move over with an empty data directory", m.serverID, m.identity.Cluster(), strings.Join(others, ", "))
}

// memberAt reports whether a member has answered at addr lately.
func (m *Manager) memberAt(addr string) bool {
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if k, ok := m.peers.lookup(string(s.ID)); ok && k.hello.Address == addr && m.peers.fresh(k) {
			return true
		}
	}
	return false
}

// quorumWarning says which members do not answer, and where they were asked, when those
// that do are too few to agree on anything; else "".
func (m *Manager) quorumWarning() string {
	var unanswered []string
	voters, answering := 0, 0
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		id := string(s.ID)
		alive, _ := m.peers.alive(id)
		alive = alive || id == m.serverID
		if s.Suffrage == raft.Voter {
			voters++
			if alive {
				answering++
			}
		}
		if !alive {
			addr, _ := m.addresses.lookup(id)
			unanswered = append(unanswered, fmt.Sprintf("%s at %s", disk.CoordinatorID(id), addr))
		}
	}
	if 2*answering > voters {
		return ""
	}
	return fmt.Sprintf("only %d of %d voters answer, too few for a leader; no answer from %s: start them; if they have other addresses now and do not find this one at %s, "+
		"start them, or this one, with --join and an address where another is now", answering, voters, strings.Join(unanswered, ", "), m.self.Address)
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
