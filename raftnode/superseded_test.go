package raftnode_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode"
)

// copyServer makes a server over a copy of the disk of s, at another address. It is
// not started.
func copyServer(t *testing.T, s *server, addr string) *server {
	t.Helper()
	c := &server{w: s.w, cfg: s.cfg, machine: &recordingMachine{}, logs: raft.NewInmemStore(), snaps: s.snaps, addr: addr, fatal: make(chan error, 16)}
	c.cfg.Dir = t.TempDir()
	c.cfg.Fatal = func(err error) { c.fatal <- err }
	must(t, os.Chmod(c.cfg.Dir, 0o700)) // as every data directory that holds something
	must(t, os.CopyFS(c.cfg.Dir, os.DirFS(s.cfg.Dir)))
	last, err := s.logs.LastIndex()
	must(t, err)
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		must(t, s.logs.GetLog(i, &l))
		must(t, c.logs.StoreLog(&l))
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		if v, err := s.logs.Get([]byte(key)); err == nil && len(v) > 0 {
			must(t, c.logs.Set([]byte(key), bytes.Clone(v)))
		}
	}
	return c
}

// requireSupersededBy waits until s is told that another process is the server, and checks
// that both are named.
func requireSupersededBy(t *testing.T, s, by *server) {
	t.Helper()
	select {
	case err := <-s.fatal:
		var e *raftnode.SupersededError
		if !errors.As(err, &e) || e.Own.Address != s.addr || e.Newer.Address != by.addr {
			t.Errorf("the one at %s ended by %v, want it superseded by the one at %s", s.addr, err, by.addr)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("the one at %s still runs after 5 s, though the one at %s is the newer", s.addr, by.addr)
	}
}

// waitAddress waits until all have it in their configuration that s is where it is. The
// library reads a member's address without a lock when a stream to it breaks, so
// nothing is stopped while that address changes.
func waitAddress(t *testing.T, s *server, all ...*server) {
	t.Helper()
	eventually(t, "the new address is in the configuration", func() bool {
		for _, o := range all {
			if m, ok := member(t, o, s.cfg.ID); !ok || m.Address != s.addr || !isConfigured(o, s) {
				return false
			}
		}
		return true
	})
	time.Sleep(time.Second)
}

func isConfigured(at, s *server) bool {
	for _, r := range raftnode.Raft(at.Node).GetConfiguration().Configuration().Servers {
		if string(r.ID) == s.ServerID() {
			return string(r.Address) == s.addr
		}
	}
	return false
}

// requireWrites checks that s is not told to end.
func requireWrites(t *testing.T, s *server) {
	t.Helper()
	select {
	case err := <-s.fatal:
		t.Errorf("the one at %s ended: %v", s.addr, err)
	case <-time.After(20 * time.Second):
	}
}

// A data directory that was copied and started elsewhere while its owner runs:
// the older process ends and says where both are, and does not come back while the
// other is there.
func TestTheOlderOfTwoProcessesOfOneServerEnds(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		requireEqualState(t, all)
		leader, others := leaderOf(t, all)
		all = []*server{leader, others[0], others[1]}
		old := others[0]
		twin := copyServer(t, old, "elsewhere:1")
		twin.start()
		requireSupersededBy(t, old, twin)
		if ok, reason := old.Health(); ok || !contains(reason, "two processes", old.addr, twin.addr) {
			t.Errorf("the older says of itself: %v, %q", ok, reason)
		}
		waitAddress(t, twin, leader, others[1])
		old.stop()
		requireWrites(t, twin)
		all[1] = twin
		eventually(t, "the three are ready", func() bool { return ready(all[0]) && ready(all[1]) && ready(all[2]) })
		write(t, twin, "two")

		for range 3 { // a supervisor tries again and again
			old.machine = &recordingMachine{}
			var e *raftnode.SupersededError
			if err := old.tryStart(); !errors.As(err, &e) || e.Newer.Address != twin.addr {
				t.Fatalf("the older was started again: %v, want it refused while the newer runs", err)
			}
			w.mu.Lock()
			delete(w.transports, old.addr)
			delete(w.calls, old.addr)
			w.mu.Unlock()
		}
		requireWrites(t, twin)
		twin.stop()
		old.start()
		all[1] = old
		eventually(t, "the older is back, now that it is the only one", func() bool { return ready(old) })
		requireWrites(t, old)
		if got := requireEqualState(t, all); got != "one two" {
			t.Errorf("machines hold %q", got)
		}
	})
}

// Two copies of one stopped directory count the same start; still exactly one of
// them goes on.
func TestOfTwoCopiesStartedOneGoesOn(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		requireEqualState(t, all)
		leader, others := leaderOf(t, all)
		all = []*server{leader, others[0], others[1]}
		old := others[1]
		old.stop()
		twin := copyServer(t, old, "elsewhere:1")
		old.machine = &recordingMachine{}
		old.start()
		time.Sleep(time.Second)
		twin.start()
		requireSupersededBy(t, old, twin) // it was started first
		waitAddress(t, twin, leader, others[0])
		old.stop()
		requireWrites(t, twin)
		all[2] = twin
		write(t, twin, "two")
		requireEqualState(t, all)
	})
}

// A copy that is older than what runs, such as a backup, is the one that ends.
func TestAnOlderCopyEndsItself(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		requireEqualState(t, all)
		backup := copyServer(t, all[1], "elsewhere:1")
		for range 3 {
			all[1].stop()
			all[1].machine = &recordingMachine{}
			all[1].start()
		}
		eventually(t, "n2 is back", func() bool { return ready(all[1]) })
		time.Sleep(10 * time.Second)
		backup.start()
		requireSupersededBy(t, backup, all[1])
		backup.stop()
		requireWrites(t, all[1])
	})
}
