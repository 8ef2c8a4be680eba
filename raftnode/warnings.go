package raftnode

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
func (n *Node) warningLoop() {
	tick := time.NewTicker(warningInterval)
	defer tick.Stop()
	var throttle logThrottle
	var foreign string
	var asked time.Time
	withoutQuorum := 0 // looks in a row without a majority
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		var warnings []string
		switch self := n.identity.Record(); {
		case self.Removed:
			warnings = append(warnings, fmt.Sprintf("this server, %s, was removed from cluster %s: have it taken in again (raftctl members add %s), or start it with an empty data directory",
				n.serverID, self.Cluster, n.self.Address))
		case n.isMember():
			if time.Since(asked) >= warningLogEvery {
				foreign, asked = n.foreignClusterWarning(), time.Now()
			}
			if foreign != "" {
				warnings = append(warnings, foreign)
			}
			lost := n.quorumWarning()
			if withoutQuorum++; lost == "" {
				withoutQuorum = 0
			}
			if withoutQuorum > 1 {
				warnings = append(warnings, lost)
			}
		}
		text := strings.Join(warnings, "; ")
		n.warning.Store(&text)
		if text != "" && throttle.due(text, slog.LevelWarn, warningLogEvery) {
			n.log.Warn("an operator is needed", "server", n.serverID, "warning", text)
		}
	}
}

// foreignClusterWarning says which addresses of --join lead to another cluster. Each of them
// says so in its own log, since it refuses this server.
func (n *Node) foreignClusterWarning() string {
	ctx, cancel := context.WithTimeout(n.ctx, 3*time.Second)
	defer cancel()
	addrs := slices.DeleteFunc(n.joinAddresses(), func(a string) bool { return a == n.self.Address })
	slices.Sort(addrs)
	var others []string
	for _, addr := range slices.Compact(addrs) {
		if n.memberAt(addr) {
			continue
		}
		_, err := n.sendHello(ctx, addr, "")
		if text, ok := peer.Foreign(err); ok {
			others = append(others, fmt.Sprintf("%s (%s)", addr, text))
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("--join names a coordinator of another cluster and was not followed, since this server, %s, belongs to cluster %s: %s; "+
		"leave it out of --join, or start the one that is to move over with an empty data directory", n.serverID, n.identity.Cluster(), strings.Join(others, ", "))
}

// memberAt reports whether a member has answered at addr lately.
func (n *Node) memberAt(addr string) bool {
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if k, ok := n.peers.lookup(string(s.ID)); ok && k.hello.Address == addr && n.peers.fresh(k) {
			return true
		}
	}
	return false
}

// quorumWarning says which members do not answer, and where they were asked, when those
// that do are too few to agree on anything; else "".
func (n *Node) quorumWarning() string {
	var unanswered []string
	voters, answering := 0, 0
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		id := string(s.ID)
		alive, _ := n.peers.alive(id)
		alive = alive || id == n.serverID
		if s.Suffrage == raft.Voter {
			voters++
			if alive {
				answering++
			}
		}
		if !alive {
			addr, _ := n.addresses.lookup(id)
			unanswered = append(unanswered, fmt.Sprintf("%s at %s", disk.CoordinatorID(id), addr))
		}
	}
	if 2*answering > voters {
		return ""
	}
	return fmt.Sprintf("only %d of %d voters answer, too few for a leader; no answer from %s: start them; if they have other addresses now and do not find this one at %s, "+
		"start them, or this one, with --join and an address where another is now", answering, voters, strings.Join(unanswered, ", "), n.self.Address)
}
