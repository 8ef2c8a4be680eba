package raftnode_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode"
)

// noShortcuts is plain hashicorp/raft: no fast election, no injected commits.
func noShortcuts(s *server) {
	s.cfg.DisableFastElection, s.cfg.DisableCommitInjection = true, true
}

// bothWays runs a test some times with the shortcuts, and without.
func bothWays(t *testing.T, rounds int, f func(t *testing.T, w *network, opts ...option)) {
	t.Parallel()
	for name, opts := range map[string][]option{"on": nil, "off": {noShortcuts}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range rounds {
				synctestNetwork(t, func(t *testing.T, w *network) { f(t, w, opts...) })
			}
		})
	}
}

// Without fast election a leader whose process has ended is replaced by the
// heartbeat timeout, like one that falls silent.
func TestWithoutFastElectionTheTimeoutCounts(t *testing.T) {
	t.Parallel()
	for range 5 {
		synctestNetwork(t, func(t *testing.T, w *network) {
			all := startThree(w, noShortcuts)
			defer stopAll(all)
			first, others := leaderOf(t, all)
			write(t, first, "one")
			requireEqualState(t, all)
			timeout := first.Status().HeartbeatTimeout
			first.exit(others)
			// The last heartbeat may be a fifth of the timeout old.
			if took := waitTakeOver(t, others[0], "two"); took < timeout*4/5 {
				t.Errorf("a dead leader was replaced after %s, before the timeout of %s", took, timeout)
			}
			if got := requireEqualState(t, others); got != "one two" {
				t.Errorf("machines hold %q", got)
			}
		})
	}
}

// Without injected commits a follower has its own write when it is acknowledged all
// the same, but waits for the leader's next message, and nobody announces commits.
func TestWithoutInjectedCommitsTheNextMessageCounts(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, noShortcuts, withConfig(func(c *raftnode.Config) { c.CommitTimeout = 100 * time.Millisecond }))
		defer stopAll(all)
		_, others := leaderOf(t, all)
		const writes = 20
		began := time.Now()
		for i := range writes {
			write(t, others[i%2], fmt.Sprint("w", i))
			if !others[i%2].machine.has(fmt.Sprint("w", i)) {
				t.Fatalf("the writer's own machine does not have w%d", i)
			}
		}
		if mean := time.Since(began) / writes; mean < 20*time.Millisecond {
			t.Errorf("a write took %s on average: somebody told the follower of the commit sooner", mean)
		}
		if n := w.callCount("raftnode.committed"); n > 0 {
			t.Errorf("%d commits were announced", n)
		}
	})
}

// heartbeatsOnly lets only heartbeats pass to an address while on.
type heartbeatsOnly struct {
	*raft.InmemTransport
	to string
	on *atomic.Bool
}

func (h heartbeatsOnly) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	if h.on.Load() && string(to) == h.to && a.PrevLogEntry+a.LeaderCommitIndex > 0 {
		return errors.New("only heartbeats pass")
	}
	return h.InmemTransport.AppendEntries(id, to, a, r)
}

func (h heartbeatsOnly) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// A server whose log has another entry at an index than the leader that reports it
// committed does not apply its own: neither for a report of the newer term nor for
// one of its own term that comes late.
func TestReportedCommitOfAnotherLogIsNotApplied(t *testing.T) {
	bothWays(t, 3, func(t *testing.T, w *network, opts ...option) {
		var on atomic.Bool
		wrap := func(s *server) {
			s.wrap = func(i *raft.InmemTransport) raft.Transport { return heartbeatsOnly{i, "n1:1", &on} }
		}
		all := startThree(w, append(opts, slowToStepDown(2*time.Second), wrap)...)
		defer stopAll(all)
		old, others := waitLeader(t, all)
		index := write(t, old, "one")
		requireEqualState(t, all)
		_, _, _, oldTerm := old.LeaderInfo()
		w.partition(addrs(old), addrs(others...))
		for i, line := range []string{"lost1", "lost2"} { // two entries, the most that are in flight
			go func() { _, _, _ = old.Propose(t.Context(), []byte(line)) }()
			eventually(t, "the old leader has an entry of its own", func() bool { return old.Status().LastIndex == index+uint64(i)+1 })
		}
		eventually(t, "another leads", func() bool { return others[0].IsLeader() || others[1].IsLeader() })
		next, _ := leaderOf(t, others)
		_, _, _, newTerm := next.LeaderInfo()
		if got := next.Status().CommitIndex; got < index+2 {
			t.Fatalf("the new leader has committed %d, this test needs %d", got, index+2)
		}
		on.Store(true)
		w.heal()
		eventually(t, "the old leader follows the new one, whose entries it lacks", func() bool {
			_, leader, _, term := old.LeaderInfo()
			return leader == next.ServerID() && term == newTerm
		})
		report := func(to *server, at, term uint64) {
			body, err := json.Marshal(map[string]any{"index": at, "term": term, "leader": next.ServerID()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.calls[next.addr].Call(t.Context(), to.addr, "raftnode.committed", body); err != nil {
				t.Errorf("report of %d in term %d: %v", at, term, err)
			}
		}
		for at := index + 1; at <= index+2; at++ {
			report(old, at, oldTerm)
			report(old, at, newTerm)
		}
		time.Sleep(100 * time.Millisecond)
		if old.machine.has("lost1") || old.machine.has("lost2") {
			t.Fatal("an entry that was never committed was applied")
		}
		on.Store(false)
		write(t, next, "two")
		if got := requireEqualState(t, all); got != "one two" {
			t.Errorf("machines hold %q", got)
		}
	})
}
