package raftnode_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// A task of the leader begins when the machine has all that was committed
// before, and ends with the leadership, before the next one's writes count.
func TestTasksFollowTheLeader(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		type start struct {
			of    string
			leads bool // false is right for a leader that is deposed meanwhile, as when all stop
			sees  string
		}
		var running atomic.Int32
		var mu sync.Mutex
		var began []start
		for _, s := range all {
			s.WhileLeading("watch", func(ctx context.Context) error {
				running.Add(1)
				defer running.Add(-1)
				mu.Lock()
				began = append(began, start{s.cfg.ID, s.IsLeader(), s.machine.text()})
				mu.Unlock()
				<-ctx.Done()
				return ctx.Err()
			})
		}
		runs := func(of string) func() bool {
			return func() bool {
				mu.Lock()
				defer mu.Unlock()
				return running.Load() == 1 && began[len(began)-1].of == of
			}
		}
		latest := func() start {
			mu.Lock()
			defer mu.Unlock()
			return began[len(began)-1]
		}
		first, others := leaderOf(t, all)
		eventually(t, "the first leader's task runs", runs(first.cfg.ID))
		if got, want := latest(), (start{first.cfg.ID, true, ""}); got != want {
			t.Errorf("first task: %+v, want %+v", got, want)
		}
		write(t, first, "one")
		if err := first.transferTo(others[0].cfg.ID); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the second leader's task runs", runs(others[0].cfg.ID))
		if got, want := latest(), (start{others[0].cfg.ID, true, "one"}); got != want {
			t.Errorf("second task: %+v, want %+v", got, want)
		}
	})
}

// A leader whose task fails gives another server the chance.
func TestFailingTaskHandsOver(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		first, _ := leaderOf(t, all)
		first.WhileLeading("broken", func(context.Context) error { return errors.New("no room") })
		eventually(t, "another leads", func() bool {
			l, _ := leaderOf(t, all)
			return l != first
		})
		write(t, first, "one")
	})
}

// Alone, a failing task is tried again.
func TestFailingTaskAloneIsRepeated(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }))
		defer s.stop()
		var tries atomic.Int32
		s.WhileLeading("broken", func(context.Context) error { tries.Add(1); return errors.New("no room") })
		eventually(t, "three tries", func() bool { return tries.Load() >= 3 })
	})
}

// A coordinator that stops hands over first and stays a member: no write waits
// for an election, and it is back by itself.
func TestCloseHandsOver(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		first, others := leaderOf(t, all)
		write(t, first, "one")
		stopped := make(chan struct{})
		began := time.Now()
		go func() { first.stop(); close(stopped) }()
		eventually(t, "another leads", func() bool { return others[0].IsLeader() || others[1].IsLeader() })
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the hand-over took %s, as long as an election", took)
		}
		began = time.Now()
		write(t, others[0], "two")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the first write after the hand-over took %s", took)
		}
		<-stopped
		if s := others[0].Status(); s.Voters != 3 || s.Tolerance < 0 {
			t.Errorf("after a stop: %+v, want three voters still", s)
		}
		first.machine = &recordingMachine{}
		first.start()
		eventually(t, "it is back", func() bool { ok, _ := first.Health(); return ok })
		if got := requireEqualState(t, all); got != "one two" {
			t.Errorf("machines hold %q", got)
		}
	})
}

// How long a cluster is without a leader when that vanishes, with the default
// timeouts: the median must stay clear of 0.8 s.
func TestFailOverTime(t *testing.T) {
	t.Parallel()
	var total time.Duration
	const rounds = 20
	for range rounds {
		synctestNetwork(t, func(t *testing.T, w *network) {
			all := startThree(w)
			defer stopAll(all)
			first, others := leaderOf(t, all)
			write(t, first, "one")
			first.kill()
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			for { // as a client does that is told that nothing was tried
				if _, _, err := others[0].Propose(ctx, []byte("two")); err == nil {
					break
				}
			}
			total += time.Since(began)
		})
	}
	if mean := total / rounds; mean > 1400*time.Millisecond {
		t.Errorf("fail-over took %s on average, want below 1.4 s", mean)
	} else {
		t.Logf("fail-over took %s on average", mean)
	}
}

// The three of a cluster need no addresses to find each other again.
func TestRestartOfAll(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		requireEqualState(t, all)
		cluster := all[0].ClusterID()
		stopAll(all)
		for _, s := range all {
			s.cfg.Join, s.cfg.Expect, s.machine = nil, 0, &recordingMachine{}
			s.start()
		}
		leaderOf(t, all)
		write(t, all[1], "two")
		if got := requireEqualState(t, all); got != "one two" || all[2].ClusterID() != cluster {
			t.Errorf("after the restart machines hold %q in cluster %s, want %q in %s", got, all[2].ClusterID(), "one two", cluster)
		}
	})
}

// blockedMachine starts a coordinator whose machine does nothing before the gate opens,
// and two writes, each an entry of its own.
func blockedMachine(t *testing.T, w *network) (s *server, gate chan struct{}, codes chan wire.Code) {
	gate, codes = make(chan struct{}), make(chan wire.Code, 2)
	s = w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }), func(s *server) { s.machine.gate = gate })
	eventually(t, "it leads", s.IsLeader)
	for _, line := range []string{"one", "two"} {
		go func() {
			_, _, err := s.Propose(context.Background(), []byte(line))
			codes <- wire.CodeOf(err)
		}()
		synctest.Wait()
	}
	return s, gate, codes
}

// The library never answers for entries that its machine's queue still holds
// when it stops. So Close lets the machine come to its end first, and every
// writer hears what became of its write.
func TestCloseAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	for range 10 { // it is left to chance whether the library looks at its queue once more
		synctestNetwork(t, func(t *testing.T, w *network) {
			s, gate, codes := blockedMachine(t, w)
			closed := make(chan struct{})
			go func() { s.stop(); close(closed) }()
			for range 2 {
				time.Sleep(6 * time.Second)
				gate <- struct{}{}
			}
			<-closed
			for range 2 {
				if code := <-codes; code != "" {
					t.Errorf("a write that was under way at Close: %s, want done", code)
				}
			}
		})
	}
}

// Close waits for a machine that stands still no longer than it may.
func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		s, gate, codes := blockedMachine(t, w)
		s.closed = true
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 7*time.Second {
			t.Errorf("Close: %v after %s, want it to give up after 7 s", err, time.Since(began))
		}
		close(gate)
		<-codes
		<-codes
		if err := raftnode.Raft(s.Node).Shutdown().Error(); err != nil {
			t.Error(err)
		}
	})
}
