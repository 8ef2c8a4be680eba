package raftnode_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// What cannot be written is refused at once, and the machine's own refusal
// comes back from any coordinator with its code.
func TestRefusals(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		for _, at := range []*server{leader, others[0]} {
			for _, c := range []struct {
				command string
				want    wire.Code
			}{
				{"", wire.CodeInvalid},
				{"two\nlines", wire.CodeInvalid},
				{"bad", wire.CodeInvalid},
				{"refuse this", wire.CodeConflict},
				{strings.Repeat("x", wire.MaxCommand+1), wire.CodeTooLarge},
			} {
				_, _, err := at.Propose(context.Background(), []byte(c.command))
				if wire.CodeOf(err) != c.want {
					t.Errorf("%.20q at %s: %v, want %s", c.command, at.cfg.ID, err, c.want)
				}
			}
			write(t, at, strings.Repeat("y", wire.MaxCommand))
		}
	})
}

// Writes that come while entries are under way go together in one.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		gate := make(chan struct{}, 1000)
		s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }), func(s *server) { s.machine.gate = gate })
		defer s.stop()
		eventually(t, "it leads", s.IsLeader)
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				if _, v, err := s.Propose(context.Background(), fmt.Append(nil, "w", i)); err != nil || v != fmt.Sprint("did w", i) {
					t.Errorf("w%d: %v, %v", i, v, err)
				}
			})
		}
		synctest.Wait() // two entries are under way, the rest waits
		for range 100 {
			gate <- struct{}{}
		}
		wg.Wait()
		s.machine.mu.Lock()
		defer s.machine.mu.Unlock()
		if n := len(s.machine.sizes); n > 4 || len(s.machine.lines) != 500 {
			t.Errorf("%d writes took %d entries %v, want 500 in at most 4", len(s.machine.lines), n, s.machine.sizes)
		}
	})
}

// A second entry goes beside the first once it carries as many commands.
func TestSecondEntryCarriesAsMuch(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		gate := make(chan struct{})
		s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }), func(s *server) { s.machine.gate = gate })
		defer s.stop()
		eventually(t, "it leads", s.IsLeader)
		var wg sync.WaitGroup
		propose := func(n, waiting int) {
			t.Helper()
			for range n {
				wg.Go(func() {
					if _, _, err := s.Propose(context.Background(), []byte("w")); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			if got := s.Status().Waiting; got != waiting {
				t.Errorf("%d writes wait, want %d", got, waiting)
			}
		}
		finish := func(waiting int) {
			t.Helper()
			gate <- struct{}{}
			synctest.Wait()
			if got := s.Status().Waiting; got != waiting {
				t.Errorf("%d writes wait after an entry, want %d", got, waiting)
			}
		}
		propose(1, 0) // the first, alone
		propose(1, 0) // the second beside it
		propose(10, 10)
		finish(0)     // beside the second go all ten
		finish(0)     // the ten alone are under way
		propose(9, 9) // fewer than ten wait
		propose(1, 0) // as many as ten go
		propose(3, 3)
		finish(3) // ten are still under way
		finish(0) // none is: the three go at once
		finish(0)
		wg.Wait()
		s.machine.mu.Lock()
		defer s.machine.mu.Unlock()
		if want := []int{1, 1, 10, 10, 3}; !slices.Equal(s.machine.sizes, want) {
			t.Errorf("entries of %v commands, want %v", s.machine.sizes, want)
		}
	})
}

// A full queue says busy, and is bounded by bytes too. A waiting write that is
// given up was certainly not tried.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*raftnode.Config){
		"count": func(c *raftnode.Config) { c.QueueCount = 10 },
		"bytes": func(c *raftnode.Config) { c.QueueBytes = 10 * (1000 + 128) },
	} {
		t.Run(name, func(t *testing.T) {
			synctestNetwork(t, func(t *testing.T, w *network) {
				gate := make(chan struct{})
				s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }), withConfig(limit), func(s *server) { s.machine.gate = gate })
				defer s.stop()
				eventually(t, "it leads", s.IsLeader)
				ctx, giveUp := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				var mu sync.Mutex
				codes := map[wire.Code]int{}
				propose := func() {
					wg.Go(func() {
						_, _, err := s.Propose(ctx, bytes.Repeat([]byte("x"), 1000))
						mu.Lock()
						codes[wire.CodeOf(err)]++
						mu.Unlock()
					})
					synctest.Wait()
				}
				for range 2 + 10 + 5 { // under way, waiting, too many
					propose()
				}
				if codes[wire.CodeBusy] != 5 || s.Status().Waiting != 10 {
					t.Errorf("%v after 17 writes with %d waiting, want 5 busy and 10 waiting", codes, s.Status().Waiting)
				}
				giveUp()
				synctest.Wait()
				if codes[wire.CodeUnavailable] != 10 || codes[wire.CodeUnknown] != 2 {
					t.Errorf("%v after giving up, want 10 that were not tried and 2 unknown", codes)
				}
				close(gate)
				wg.Wait()
				if err := read(s, raftnode.Strict, time.Second); err != nil {
					t.Fatal(err)
				}
				s.machine.mu.Lock()
				defer s.machine.mu.Unlock()
				if len(s.machine.lines) != 2 {
					t.Errorf("%d writes happened, want the 2 unknown ones", len(s.machine.lines))
				}
			})
		})
	}
}

// A write at a leader that has just lost its majority is unknown; without any
// leader it was certainly not tried. Unknown ones may have happened, no other.
func TestOutcomesAroundAPartition(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		old, others := leaderOf(t, all)
		write(t, old, "one")
		w.partition(addrs(old), addrs(others...))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, _, err := old.Propose(ctx, []byte("lost")); wire.CodeOf(err) != wire.CodeUnknown {
			t.Errorf("write at the cut off leader: %v, want unknown", err)
		}
		began := time.Now()
		if _, _, err := old.Propose(ctx, []byte("never")); wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("write without a leader: %v, want unavailable", err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("it took %s to say that nothing was tried, want about the patience of 3 s", took)
		}
		leaderOf(t, others)
		write(t, others[0], "two")
		w.heal()
		leaderOf(t, all)
		if got := requireEqualState(t, all); got != "one two" {
			t.Errorf("machines hold %q, want %q", got, "one two")
		}
	})
}

// A write that reached a leader which is deposed before its answer comes is
// unknown soon after, however long the writer would wait.
func TestOutcomeAtADeposedLeader(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		old, others := leaderOf(t, all)
		w.partitionRaft(addrs(old), addrs(others...))
		for _, o := range others { // questions still reach it, answers do not
			w.mu.Lock()
			w.cut[[2]string{old.addr, o.addr}] = true
			w.mu.Unlock()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		began := time.Now()
		_, _, err := others[0].Propose(ctx, []byte("lost"))
		if took := time.Since(began); wire.CodeOf(err) != wire.CodeUnknown || took > 3*time.Second {
			t.Errorf("a write at a deposed leader: %v after %s, want unknown within 3 s", err, took)
		}
		w.heal()
		leaderOf(t, all)
	})
}

// Writers go on through the loss of a leader; nothing that was acknowledged is
// lost, nothing that was not tried happens, and all machines end alike.
func TestStormPartitions(t *testing.T) {
	storm.Only(t)
	bothWays(t, 1, func(t *testing.T, w *network, opts ...option) {
		all := startThree(w, append(opts, withConfig(func(c *raftnode.Config) {
			c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 50, 10, time.Second
		}))...)
		defer stopAll(all)
		ctx, end := context.WithCancel(context.Background())
		var mu sync.Mutex
		done, never := map[string]bool{}, map[string]bool{}
		var wg sync.WaitGroup
		for i := range 6 {
			at := all[i%3]
			wg.Go(func() {
				for k := 0; ctx.Err() == nil; k++ {
					line := fmt.Sprintf("w%d.%d", i, k)
					one, cancel := context.WithTimeout(context.Background(), time.Second)
					_, _, err := at.Propose(one, []byte(line))
					cancel()
					mu.Lock()
					switch wire.CodeOf(err) {
					case "":
						done[line] = true
					case wire.CodeUnavailable:
						never[line] = true
					case wire.CodeUnknown:
					default:
						t.Errorf("%s: %v", line, err)
					}
					mu.Unlock()
					time.Sleep(40 * time.Millisecond)
				}
			})
		}
		for round := range 9 {
			time.Sleep(3 * time.Second)
			s := all[round%3]
			if l, _ := leaderOf(t, all); round%2 == 0 {
				s = l
			}
			for _, o := range all {
				if o != s {
					w.partition(addrs(s), addrs(o))
				}
			}
			time.Sleep(time.Duration(1+round%3) * time.Second)
			w.heal()
		}
		end()
		wg.Wait()
		leaderOf(t, all)
		write(t, all[0], "last")
		requireEqualState(t, all)
		lines := map[string]int{}
		for _, l := range strings.Fields(all[0].machine.text()) {
			lines[l]++
		}
		for l := range done {
			if lines[l] != 1 {
				t.Errorf("%s was acknowledged and is there %d times", l, lines[l])
			}
		}
		for l := range never {
			if lines[l] != 0 {
				t.Errorf("%s was not tried and is there", l)
			}
		}
		if len(done) < 500 {
			t.Errorf("only %d writes were acknowledged (%d not tried)", len(done), len(never))
		}
		t.Logf("%d done, %d not tried, %d on the machines", len(done), len(never), len(lines))
	})
}

// A follower that makes a write has it on its own machine when it is told so,
// without waiting for the leader's next message.
func TestWriterReadsItsWrite(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) { c.CommitTimeout = 100 * time.Millisecond }))
		defer stopAll(all)
		_, others := leaderOf(t, all)
		for i := range 20 {
			began := time.Now()
			write(t, others[i%2], fmt.Sprint("w", i))
			if !others[i%2].machine.has(fmt.Sprint("w", i)) {
				t.Fatalf("the writer's own machine does not have w%d", i)
			}
			if took := time.Since(began); took > 20*time.Millisecond {
				t.Errorf("w%d took %s, longer than the way there and back", i, took)
			}
		}
	})
}

// Whoever only looks on learns of a write soon after it, long before the leader
// tells of its commits in any case.
func TestIdleFollowersLearnOfAWriteSoon(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) { c.CommitTimeout = 10 * time.Second }))
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		time.Sleep(20 * time.Second) // the cluster's own entries are known
		for i := range 5 {
			line := fmt.Sprint("w", i)
			write(t, leader, line)
			began := time.Now()
			for _, o := range others {
				eventually(t, "an onlooker has the write", func() bool { return o.machine.has(line) })
			}
			if took := time.Since(began); took > 50*time.Millisecond {
				t.Errorf("the onlookers had %s after %s", line, took)
			}
			time.Sleep(time.Second)
		}
	})
}
