package raftnode_test

import (
	"context"
	"testing"
	"time"
)

// Raft's loop answers at the leader, at a follower, at one without a quorum and at one
// that knows no cluster; a machine that hangs is busy and moves no more, and the
// loop goes on.
func TestPulseOfEveryState(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		beats := func(what string, s *server) {
			t.Helper()
			ctx, cancel := context.WithTimeout(background, time.Second)
			defer cancel()
			term, state := s.Status().Term, s.Status().State
			if err := s.Beat(ctx); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if now := s.Status(); now.Term != term || now.State != state {
				t.Errorf("%s: term %d and %s became %d and %s", what, term, state, now.Term, now.State)
			}
		}
		alone := w.addServer("n9")
		beats("without a cluster", alone)
		all := startThree(w)
		defer stopAll(append(all, alone))
		leader, others := leaderOf(t, all)
		beats("the leader", leader)
		beats("a follower", others[0])
		before, _ := leader.Progress()
		write(t, leader, "one")
		if count, busy := leader.Progress(); count == before || busy {
			t.Errorf("after a write: %d, busy %t; before: %d", count, busy, before)
		}
		stopAll(others)
		eventually(t, "it leads no more", func() bool { return leader.Status().State != "leader" })
		for range 20 {
			beats("without a quorum", leader)
			time.Sleep(100 * time.Millisecond)
		}
		for _, s := range others {
			s.machine = &recordingMachine{gate: make(chan struct{})}
			s.start()
		}
		hung := others[0]
		eventually(t, "its machine hangs", func() bool { _, busy := hung.Progress(); return busy })
		at, _ := hung.Progress()
		time.Sleep(time.Minute)
		if count, busy := hung.Progress(); count != at || !busy {
			t.Errorf("a minute later: %d, busy %t; it was %d", count, busy, at)
		}
		beats("beside a machine that hangs", hung)
		for _, s := range others {
			close(s.machine.gate)
		}
		eventually(t, "it goes on", func() bool { _, busy := hung.Progress(); return !busy })
	})
}
