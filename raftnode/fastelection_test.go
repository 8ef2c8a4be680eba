package raftnode_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode"
)

// waitTakeOver waits until another of the servers takes a write, and says how long
// that took.
func waitTakeOver(t *testing.T, at *server, command string) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for { // as a client does that is told that nothing was tried
		if _, _, err := at.Propose(ctx, []byte(command)); err == nil {
			return time.Since(began)
		} else if ctx.Err() != nil {
			t.Fatalf("no leader after %s: %v", time.Since(began), err)
		}
	}
}

// slowVotes is a disk that needs a while for a vote.
type slowVotes struct{ raft.StableStore }

func (s slowVotes) Set(k, v []byte) error {
	time.Sleep(5 * time.Millisecond)
	return s.StableStore.Set(k, v)
}

// slowPreVotes is a network on which a pre-vote's question needs a while.
type slowPreVotes struct{ *raft.InmemTransport }

func (s slowPreVotes) RequestPreVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	time.Sleep(5 * time.Millisecond)
	return s.InmemTransport.RequestPreVote(id, to, a, r)
}

// A leader whose process ends, so that its machine closes its connections and
// refuses new ones, is replaced once its lease is over, not a heartbeat timeout
// later, also when it was heard a little longer. Afterwards the timeouts are
// those of the configuration again.
func TestDeadLeaderIsReplacedSoon(t *testing.T) {
	t.Parallel()
	for _, size := range []int{3, 5} {
		for i := range 10 {
			synctestNetwork(t, func(t *testing.T, w *network) {
				all := startServers(w, size)
				defer stopAll(all)
				first, others := leaderOf(t, all)
				write(t, first, "one")
				requireEqualState(t, all)
				var late time.Duration
				if i%2 == 0 {
					late = 60 * time.Millisecond
					for _, o := range others {
						w.closeStreams(first, o, true)
					}
					time.Sleep(late)
				}
				first.exit(others)
				took := waitTakeOver(t, others[0], "two")
				lease, beat := first.Status().LeaderLease, 2*first.Status().LeaderLease
				if most := lease + time.Duration(size/2)*20*time.Millisecond + beat/4; took < lease-beat/5 || took > most {
					t.Errorf("of %d, a dead leader that was heard for %s was replaced after %s, want %s to %s", size, late, took, lease, most)
				}
				eventually(t, "all follow", func() bool { _, rest := leaderOf(t, others); return len(rest) == size-2 })
				time.Sleep(time.Second)
				for _, s := range others {
					if c := raftnode.Raft(s.Node).ReloadableConfig(); c.HeartbeatTimeout != beat || c.ElectionTimeout != beat {
						t.Errorf("afterwards %s has the timeouts %s and %s, want %s", s.cfg.ID, c.HeartbeatTimeout, c.ElectionTimeout, beat)
					}
				}
			})
		}
	}
}

// startServers starts a cluster of any size, on slow disks and a slow network.
func startServers(w *network, size int) []*server {
	w.t.Helper()
	var join []string
	for i := range size {
		join = append(join, fmt.Sprintf("n%d:1", i+1))
	}
	var all []*server
	for i := range size {
		all = append(all, w.addServer(fmt.Sprintf("n%d", i+1), func(s *server) {
			s.cfg.Join, s.cfg.Expect = join, size
			s.cfg.Inject.Logs, s.cfg.Inject.Stable = s.logs, slowVotes{s.logs}
			s.wrap = func(i *raft.InmemTransport) raft.Transport { return slowPreVotes{i} }
		}))
	}
	eventually(w.t, "all are ready", func() bool {
		return !slices.ContainsFunc(all, func(s *server) bool { ok, _ := s.Health(); return !ok })
	})
	return all
}

// The follower that has less of the log goes first, so the other is elected at
// once.
func TestDeadLeaderIsReplacedByTheNewestLog(t *testing.T) {
	t.Parallel()
	for ahead := range 2 {
		for range 5 {
			synctestNetwork(t, func(t *testing.T, w *network) {
				all := startThree(w)
				defer stopAll(all)
				first, others := leaderOf(t, all)
				write(t, first, "one")
				requireEqualState(t, all)
				best, late := others[ahead], others[1-ahead]
				w.mu.Lock()
				w.setRaftLink(first.addr, late.addr, false)
				w.mu.Unlock()
				write(t, first, "two")
				first.exit(others)
				took := waitTakeOver(t, best, "three")
				if most := first.Status().LeaderLease * 8 / 5; took > most || !best.IsLeader() {
					t.Errorf("%s leads: %t, after %s; want the one with the newest log within %s", best.cfg.ID, best.IsLeader(), took, most)
				}
				if got := requireEqualState(t, others); got != "one two three" {
					t.Errorf("machines hold %q", got)
				}
			})
		}
	}
}

// A stream that ends means nothing while the leader lives: when its machine
// takes new connections, and also when one follower, or a closed listener,
// makes it look dead, but heartbeats still come.
func TestLivingLeaderIsNotReplaced(t *testing.T) {
	t.Parallel()
	for name, scene := range map[string]func(w *network, leader *server, others []*server){
		"it takes new connections": func(w *network, leader *server, others []*server) {
			for _, o := range others {
				w.closeStreams(leader, o, false)
			}
		},
		"it is refused but heard": func(w *network, leader *server, others []*server) {
			for _, o := range others {
				w.closeStreams(leader, o, true)
			}
		},
		"one alone is refused, and cut off": func(w *network, leader *server, others []*server) {
			w.partition(addrs(leader), addrs(others[0]))
			w.closeStreams(leader, others[0], true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctestNetwork(t, func(t *testing.T, w *network) {
				all := startThree(w)
				defer stopAll(all)
				leader, others := leaderOf(t, all)
				_, _, _, term := leader.LeaderInfo()
				for range 20 {
					scene(w, leader, others)
					for range 50 {
						time.Sleep(10 * time.Millisecond)
						if !leader.IsLeader() {
							t.Fatal("the leader was deposed")
						}
					}
				}
				w.heal()
				leaderOf(t, all)
				if _, _, _, now := leader.LeaderInfo(); now != term || !leader.IsLeader() {
					t.Errorf("term %d became %d, leads: %t; want no election", term, now, leader.IsLeader())
				}
			})
		})
	}
}

// A leader that falls silent for less than the timeout keeps its place, though
// a stream of it has ended: it takes new connections, so it lives.
func TestPausedLeaderIsNotReplaced(t *testing.T) {
	t.Parallel()
	for range 10 {
		synctestNetwork(t, func(t *testing.T, w *network) {
			all := startThree(w, slowToStepDown(400*time.Millisecond))
			defer stopAll(all)
			old, others := waitLeader(t, all)
			_, _, _, term := old.LeaderInfo()
			w.partition(addrs(old), addrs(others...))
			for _, o := range others {
				w.closeStreams(old, o, false)
			}
			time.Sleep(250 * time.Millisecond)
			w.heal()
			time.Sleep(2 * time.Second)
			if _, _, _, now := old.LeaderInfo(); now != term || !old.IsLeader() {
				t.Errorf("term %d became %d, leads: %t; want no election", term, now, old.IsLeader())
			}
		})
	}
}

// slowToStepDown lets n1 lead for that long without being heard.
func slowToStepDown(d time.Duration) option {
	return func(s *server) {
		if s.cfg.ID == "n1" {
			s.cfg.HeartbeatTimeout, s.cfg.LeaderLease = d, d
		}
	}
}

// waitLeader makes the first of the servers the leader.
func waitLeader(t *testing.T, all []*server) (leader *server, others []*server) {
	t.Helper()
	if leader, _ := leaderOf(t, all); leader != all[0] {
		if err := leader.transferTo(all[0].cfg.ID); err != nil {
			t.Fatal(err)
		}
	}
	return leaderOf(t, all)
}

// A machine that vanishes without a word is missed by its silence only.
func TestSilentLeaderIsReplacedByTheTimeout(t *testing.T) {
	t.Parallel()
	for range 5 {
		synctestNetwork(t, func(t *testing.T, w *network) {
			all := startThree(w)
			defer stopAll(all)
			first, others := leaderOf(t, all)
			write(t, first, "one")
			first.kill()
			// The last heartbeat may be a tenth to a fifth of the timeout old.
			if took := waitTakeOver(t, others[0], "two"); took < 280*time.Millisecond {
				t.Errorf("a silent leader was replaced after %s, before its time was over", took)
			}
		})
	}
}

// A leader that only seems dead, raft's connections being cut and refused while
// calls go through, answers no default read from memory once another writes.
// This one is slow to step down, so only the promises of the others hold it.
// Without fast election the same holds, only later.
func TestFastElectionBreaksNoPromise(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, w *network, opts ...option) {
		slow := time.Second
		if len(opts) > 0 {
			slow = 4 * time.Second
		}
		testNoPromiseIsBroken(t, w, append(opts, slowToStepDown(slow))...)
	})
}

func testNoPromiseIsBroken(t *testing.T, w *network, opts ...option) {
	all := startThree(w, opts...)
	defer stopAll(all)
	old, others := waitLeader(t, all)
	write(t, old, "one")
	requireEqualState(t, all)
	stop, done := make(chan struct{}), make(chan struct{})
	var wrote atomic.Bool
	var fresh atomic.Int32
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			late := wrote.Load()
			if read(old, raftnode.Default, time.Millisecond) != nil {
				continue
			}
			if fresh.Add(1); late && !old.machine.has("two") {
				t.Error("a default read at the old leader misses a write of the new one")
				return
			}
		}
	}()
	eventually(t, "default reads are answered", func() bool { return fresh.Load() > 10 })
	w.partitionRaft(addrs(old), addrs(others...))
	for _, o := range others {
		w.closeStreams(old, o, true)
	}
	eventually(t, "another leads", func() bool { return others[0].IsLeader() || others[1].IsLeader() })
	next, _ := leaderOf(t, others)
	write(t, next, "two")
	wrote.Store(true)
	if raftnode.Raft(old.Node).State() != raft.Leader {
		t.Error("the old leader stepped down too early for this test")
	}
	time.Sleep(time.Second)
	close(stop)
	<-done
}
