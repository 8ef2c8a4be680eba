package raftnode_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// delayingTransport is a transport that can keep one heartbeat's answer on the way, and
// that goes deaf right after it has asked another server to take over.
type delayingTransport struct {
	*raft.InmemTransport
	mu      sync.Mutex
	from    raft.ServerAddress // whose answers are held
	held    chan struct{}      // closed once one is
	release chan struct{}
	before  func() // runs before TimeoutNow
	after   func() // and after it
}

func (h *delayingTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	err := h.InmemTransport.AppendEntries(id, to, a, r)
	h.mu.Lock()
	held, release, mine := h.held, h.release, to == h.from && len(a.Entries) == 0 && a.PrevLogEntry == 0
	if mine {
		h.from = ""
	}
	h.mu.Unlock()
	if mine {
		close(held)
		<-release
	}
	return err
}

func (h *delayingTransport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, a *raft.TimeoutNowRequest, r *raft.TimeoutNowResponse) error {
	h.mu.Lock()
	before, after := h.before, h.after
	h.mu.Unlock()
	if before != nil {
		before()
		defer after()
	}
	return h.InmemTransport.TimeoutNow(id, to, a, r)
}

// A leader that has handed over, was then cut off from raft's traffic, and gets
// an old heartbeat's answer late, is still leader by the library's own check,
// though another has written meanwhile. Our reads refuse.
func TestStrictReadIsNotFooledByALateHeartbeat(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		hold := map[*raft.InmemTransport]*delayingTransport{}
		all := startThree(w, func(s *server) {
			s.cfg.HeartbeatTimeout, s.cfg.LeaderLease = time.Second, time.Second
			s.wrap = func(i *raft.InmemTransport) raft.Transport {
				h := &delayingTransport{InmemTransport: i, held: make(chan struct{}), release: make(chan struct{})}
				hold[i] = h
				return h
			}
		})
		defer stopAll(all)
		old, others := leaderOf(t, all)
		b, c := others[0], others[1]
		write(t, old, "old")
		requireEqualState(t, all)
		for _, s := range []raftnode.Consistency{raftnode.Strict, raftnode.Default} {
			if err := read(old, s, time.Second); err != nil {
				t.Fatalf("%s read while all is well: %v", s, err)
			}
		}

		h := hold[w.transports[old.addr]]
		h.mu.Lock()
		h.from = raft.ServerAddress(b.addr)
		h.before = func() { w.partitionRaft(addrs(old), addrs(b)); w.dropMessages(old, c) }
		h.after = func() { w.partitionRaft(addrs(old), addrs(c)) }
		h.mu.Unlock()
		<-h.held
		transfer := make(chan error, 1)
		go func() { transfer <- old.transferTo(c.cfg.ID) }()
		eventually(t, "the third leads", c.IsLeader)
		write(t, c, "new")

		v := raftnode.Raft(old.Node).VerifyLeader()
		lie := make(chan error, 1)
		go func() { lie <- v.Error() }()
		early := make(chan error, 1) // a read that begins before the old answer comes
		go func() { early <- read(old, raftnode.Strict, 100*time.Millisecond) }()
		synctest.Wait()
		close(h.release)
		if err := <-lie; err != nil || old.machine.has("new") {
			t.Fatalf("VerifyLeader of the deposed leader: %v; the scene is not set: it should be fooled", err)
		}
		if raftnode.Raft(old.Node).State() != raft.Leader {
			t.Fatal("the deposed leader stepped down too early for this test")
		}
		if err := <-early; err == nil {
			t.Error("a strict read that the old answer came to was allowed")
		}
		for _, s := range []raftnode.Consistency{raftnode.Strict, raftnode.Default} {
			err := read(old, s, 100*time.Millisecond)
			if err == nil {
				t.Errorf("%s read at the deposed leader was allowed; its machine holds %q, the new leader's %q", s, old.machine.text(), c.machine.text())
			}
		}
		w.heal()
		<-transfer
		if err := read(old, raftnode.Strict, 10*time.Second); err != nil || !old.machine.has("new") {
			t.Errorf("strict read after healing: %v, machine holds %q", err, old.machine.text())
		}
	})
}

// A server that took over the address of a voter, with an empty disk, confirms
// nobody: it knows nothing of the terms that the voter has seen.
func TestNewDiskAtAnOldAddressConfirmsNobody(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		// Long enough for an election that two servers begin at once, and for a round that fails.
		all := startThree(w, slowToStepDown(5*time.Second))
		defer stopAll(all)
		old, others := waitLeader(t, all)
		write(t, old, "old")
		requireEqualState(t, all)
		w.partition(addrs(old), addrs(others...))
		for _, o := range others {
			w.closeStreams(old, o, true)
		}
		leaderOf(t, others)
		write(t, others[0], "new")

		lost := others[1]
		lost.stop()
		w.partition(addrs(lost), addrs(others[0]))
		lost.cfg.Dir, lost.cfg.Join, lost.cfg.Expect = t.TempDir(), nil, 0
		lost.logs, lost.snaps, lost.machine = raft.NewInmemStore(), raft.NewInmemSnapshotStore(), &recordingMachine{}
		lost.start()
		w.mu.Lock() // calls go through, raft's own messages do not
		w.cut[[2]string{old.addr, lost.addr}], w.cut[[2]string{lost.addr, old.addr}] = false, false
		w.mu.Unlock()
		before := w.callCount("raftnode.term")
		// A read waits while an older round is under way: then it has asked nobody yet.
		for range 40 {
			if err := read(old, raftnode.Strict, 50*time.Millisecond); err == nil {
				t.Errorf("a strict read at the deposed leader was allowed; its machine holds %q", old.machine.text())
			}
			if w.callCount("raftnode.term") > before {
				break
			}
		}
		if asked := w.callCount("raftnode.term") - before; asked == 0 {
			t.Error("the deposed leader asked nobody")
		}
		if state := raftnode.Raft(old.Node).State(); state != raft.Leader {
			t.Errorf("the deposed leader stepped down too early for this test: it is %s", state)
		}
	})
}

// Reads that wait share a round: a hundred do not ask a hundred times.
func TestStrictReadsShareRounds(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		for _, at := range []*server{leader, others[0]} {
			before := w.callCount("raftnode.term")
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if err := read(at, raftnode.Strict, time.Second); err != nil {
						t.Errorf("strict read at %s: %v", at.cfg.ID, err)
					}
				})
			}
			wg.Wait()
			// One round may have begun before the others came.
			if asked := w.callCount("raftnode.term") - before; asked == 0 || asked > 3*2 {
				t.Errorf("100 reads at %s put %d questions, want 2 to 6", at.cfg.ID, asked)
			}
		}
	})
}

// Whoever reads strictly sees every write that was acknowledged before, on any
// coordinator, at once.
func TestStrictReadSeesWritesMadeElsewhere(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) { c.CommitTimeout = 100 * time.Millisecond }))
		defer stopAll(all)
		for i := range 30 {
			line := fmt.Sprint("w", i)
			write(t, all[i%3], line)
			at := all[(i+1)%3]
			began := time.Now()
			if err := read(at, raftnode.Strict, time.Second); err != nil {
				t.Fatalf("strict read at %s: %v", at.cfg.ID, err)
			}
			if !at.machine.has(line) {
				t.Fatalf("strict read at %s does not see %q", at.cfg.ID, line)
			}
			if took := time.Since(began); took > 20*time.Millisecond {
				t.Errorf("strict read at %s took %s: it waited for the leader's next commit message", at.cfg.ID, took)
			}
		}
	})
}

// A leader cut off from the others refuses strict reads from the start and
// default reads once its lease is over; stale reads go on and tell their age.
func TestCutOffLeaderStopsReading(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		old, others := leaderOf(t, all)
		write(t, old, "one")
		w.partition(addrs(old), addrs(others...))
		if err := read(old, raftnode.Strict, 50*time.Millisecond); wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("strict read at the cut off leader: %v, want unavailable", err)
		}
		leaderOf(t, others)
		write(t, others[0], "two")
		if err := read(old, raftnode.Default, 100*time.Millisecond); wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("default read at the cut off leader: %v, want unavailable", err)
		}
		ctx := context.Background()
		f, err := old.Ready(ctx, raftnode.Stale, 0)
		if err != nil || f.StaleMs <= 0 {
			t.Errorf("stale read at the cut off leader: %+v, %v; want it to tell its age", f, err)
		}
		w.heal()
		if err := read(old, raftnode.Strict, 20*time.Second); err != nil || !old.machine.has("two") {
			t.Errorf("strict read after healing: %v, machine holds %q", err, old.machine.text())
		}
	})
}

// A process that was stopped for longer than its lease does not read from
// memory when it goes on, though raft has not yet noticed anything.
func TestLeaseEndsWithTheClock(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		// The rounds that are made every second beside the reads renew the lease as well.
		all := startThree(w, withConfig(func(c *raftnode.Config) { c.Ping = time.Minute }))
		defer stopAll(all)
		leader, _ := leaderOf(t, all)
		before := w.callCount("raftnode.term")
		for range 10 {
			if err := read(leader, raftnode.Default, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if asked := w.callCount("raftnode.term") - before; asked > 2 {
			t.Errorf("10 default reads within a lease put %d questions, want at most 2", asked)
		}
		time.Sleep(leader.Status().LeaderLease + time.Millisecond)
		before = w.callCount("raftnode.term")
		if err := read(leader, raftnode.Default, time.Second); err != nil {
			t.Fatal(err)
		}
		if asked := w.callCount("raftnode.term") - before; asked == 0 {
			t.Error("a default read after the lease had ended asked nobody")
		}
	})
}

// Reads wait for an index, and never for ever.
func TestReadAtAnIndex(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		index := write(t, leader, "one")
		for _, c := range []raftnode.Consistency{raftnode.Stale, raftnode.Default, raftnode.Strict} {
			if _, err := others[0].Ready(context.Background(), c, index); err != nil || !others[0].machine.has("one") {
				t.Errorf("%s read at index %d: %v, machine holds %q", c, index, err, others[0].machine.text())
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := others[0].Ready(ctx, c, index+1000); wire.CodeOf(err) != wire.CodeUnavailable {
				t.Errorf("%s read at an index that never comes: %v, want unavailable", c, err)
			}
			cancel()
		}
	})
}

// The library says that an entry is applied when it has only been handed on;
// ours waits for the machine.
func TestAppliedIndexIsTheMachines(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		gate := make(chan struct{}, 1000)
		s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }), func(s *server) { s.machine.gate = gate })
		defer s.stop()
		gate <- struct{}{}
		write(t, s, "one")
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_, _, err := s.Propose(ctx, []byte("slow"))
		if wire.CodeOf(err) != wire.CodeUnknown {
			t.Errorf("a write that the machine has not done: %v, want unknown", err)
		}
		if lib, own := raftnode.Raft(s.Node).AppliedIndex(), s.AppliedIndex(); lib <= own {
			t.Fatalf("library applied %d, ours %d: the scene is not set", lib, own)
		}
		if err := read(s, raftnode.Strict, 200*time.Millisecond); wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("strict read while the machine is behind: %v, want unavailable", err)
		}
		gate <- struct{}{}
		if err := read(s, raftnode.Strict, time.Second); err != nil || !s.machine.has("slow") {
			t.Errorf("strict read after the machine went on: %v, it holds %q", err, s.machine.text())
		}
	})
}

// slowTransport is a transport whose messages with entries take a while.
type slowTransport struct{ *raft.InmemTransport }

func (d slowTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	if len(a.Entries) > 0 || a.PrevLogEntry > 0 {
		time.Sleep(20 * time.Millisecond)
	}
	return d.InmemTransport.AppendEntries(id, to, a, r)
}

// A new leader has the last one's writes in its log but may not know that they
// were committed: it does not answer reads before it does.
func TestNewLeaderKnowsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) { c.CommitTimeout = time.Second }),
			func(s *server) { s.wrap = func(i *raft.InmemTransport) raft.Transport { return slowTransport{i} } })
		defer stopAll(all)
		first, others := leaderOf(t, all)
		time.Sleep(5 * time.Second)
		write(t, first, "one")
		first.kill()
		for _, s := range others {
			if s.machine.has("one") {
				t.Fatal("a follower knows of the commit already: the scene is not set")
			}
		}
		answered := 0
		for end := time.Now().Add(5 * time.Second); answered < 10; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no strict read succeeded within 5 s")
			}
			for _, s := range others {
				if s.Status().State != "leader" || read(s, raftnode.Strict, 5*time.Millisecond) != nil {
					continue
				}
				answered++
				if !s.machine.has("one") {
					t.Fatal("a strict read at the new leader misses an acknowledged write")
				}
			}
		}
	})
}
