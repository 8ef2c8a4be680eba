package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

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

// discoveryLoop looks for a cluster, or for the other founders, until this server is a
// member. It never gives up: the others may be started in any order, and names
// may not yet resolve.
func (m *Manager) discoveryLoop() {
	pause, began := discoveryMinPause, time.Now()
	var throttle logThrottle
	defer m.discovering.Store(nil)
	for {
		if m.IsMember() {
			m.recordMember()
			return
		}
		if m.identity.Record().Member { // removed: only an operator brings it back
			return
		}
		ctx, cancel := context.WithTimeout(m.ctx, 3*time.Second)
		found := m.helloEverybody(ctx)
		cancel()
		var err error
		switch {
		case m.mayJoin(found.answers):
			err = m.requestJoin(found.answers)
		case m.cfg.Expect > 0 && m.hasNoState():
			err = m.bootstrap(found)
		default:
			err = m.waitReason(found)
		}
		wait := pause/2 + rand.N(pause)
		pause = min(2*pause, discoveryMaxPause)
		if err != nil {
			text := err.Error()
			m.discovering.Store(&text)
			level := slog.LevelInfo
			switch {
			case permanent(err):
				level, wait = slog.LevelError, discoveryRefusedPause
			case time.Since(began) > discoveryWarnAfter:
				level = slog.LevelWarn
			}
			if throttle.due(text, level, discoveryLogEvery) {
				m.log.Log(m.ctx, level, "not in a cluster yet", "server", m.serverID, "error", err, "failed_calls", found.errors)
			}
		}
		select {
		case <-time.After(wait):
		case <-m.discoverNow:
			select { // at most one round per 50 ms, however often it is woken
			case <-time.After(50 * time.Millisecond):
			case <-m.ctx.Done():
				return
			}
		case <-m.ctx.Done():
			return
		}
	}
}

// mayJoin reports whether one of those who answer has a cluster that this server is no
// founder of. Its founders, of which this one may be, tell of the same set until
// they are started again.
func (m *Manager) mayJoin(answers []Hello) bool {
	set := m.founderSet(answers)
	return slices.ContainsFunc(answers, func(h Hello) bool { return h.Cluster != "" && (set == "" || h.FounderSet != set) })
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
func (m *Manager) recordMember() {
	err := m.identity.Update(func(l *disk.SelfRecord) { l.Member = true })
	if err != nil {
		m.failStorage(err)
	}
	wake(m.pingNow)
}

// setClusterID writes down which cluster this server belongs to, once.
func (m *Manager) setClusterID(id string) {
	err := m.identity.Update(func(l *disk.SelfRecord) {
		if l.Cluster == "" {
			l.Cluster = id
		}
	})
	if err != nil {
		m.failStorage(err)
		return
	}
	m.log.Info("cluster known", "cluster", id)
}

// discovered is what a look around has shown: every server's answer once, however
// many addresses it has, and the addresses without an answer.
type discovered struct {
	answers  []Hello
	noAnswer []string
	errors   []string // why, in the words of the calls
}

// helloEverybody says hello to everybody who may know something.
func (m *Manager) helloEverybody(ctx context.Context) (found discovered) {
	addrs := append(m.joinAddresses(), m.announced()...)
	for _, p := range m.identity.Peers() {
		addrs = append(addrs, p.Address)
	}
	slices.Sort(addrs)
	var mu sync.Mutex
	var wg sync.WaitGroup
	by := map[string]Hello{}
	for _, addr := range slices.Compact(addrs) {
		wg.Go(func() {
			h, err := m.sendHello(ctx, addr, "")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				found.noAnswer = append(found.noAnswer, addr)
				found.errors = append(found.errors, fmt.Sprintf("%s: %v", addr, err))
			} else if h.ServerID != m.serverID {
				by[h.ServerID] = h
			}
		})
	}
	wg.Wait()
	for _, h := range by {
		found.answers = append(found.answers, h)
	}
	slices.SortFunc(found.answers, func(a, b Hello) int { return cmp.Compare(a.ServerID, b.ServerID) })
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
func (m *Manager) waitReason(found discovered) error {
	if len(found.answers) == 0 && len(found.noAnswer) == 0 {
		return fmt.Errorf("no address to ask is given: start this coordinator with --join, or have a cluster take it in: raftctl members add %s", m.self.Address)
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
	case !m.hasNoState():
		return fmt.Errorf("this coordinator has a log and waits for its cluster, and none of %s belongs to one%s", strings.Join(names, ", "), found.noAnswerText())
	case len(founders) == 0:
		return fmt.Errorf("none of %s belongs to a cluster, and neither they nor this one, %s, were started with --bootstrap-expect, so nobody founds one: "+
			"start those that are to found it with the same --bootstrap-expect, which is their number%s", strings.Join(names, ", "), m.self.ID, found.noAnswerText())
	}
	return fmt.Errorf("nobody has founded the cluster yet: %s; this one, %s, was started without it and waits to join: if it is to be a founder, start it with the same --bootstrap-expect%s",
		strings.Join(founders, ", "), m.self.ID, found.noAnswerText())
}

// requestJoin asks the members among the answers, one after the other, to take
// this server in.
func (m *Manager) requestJoin(answers []Hello) error {
	if err := m.requireOneCluster(answers); err != nil {
		return err
	}
	err := errors.New("nobody with a cluster answered")
	for _, h := range answers {
		if h.Cluster == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
		var done membershipResponse
		done, err = m.forwardChange(ctx, h.Address, membershipRequest{Op: opJoin, Peer: m.self, NonVoter: m.staysNonVoter()})
		cancel()
		if err == nil {
			if m.identity.Cluster() == "" {
				m.setClusterID(done.Cluster)
			}
			wake(m.discoverNow) // the configuration comes with the log
			return fmt.Errorf("%s has taken this one in, but its log has not come yet: can all members reach this one at %s (--advertise)?", h.ID, m.self.Address)
		}
		if permanent(err) {
			return err
		}
	}
	return fmt.Errorf("join: %w", err)
}

// requireOneCluster refuses to choose when those who answer belong to several clusters.
func (m *Manager) requireOneCluster(answers []Hello) error {
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
