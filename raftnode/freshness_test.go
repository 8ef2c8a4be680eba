package raftnode_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
)

// The age that a stale read tells is true: the machine has every write that had
// been acknowledged so long ago. That holds for a leader that is superseded and
// does not know, for a coordinator that is cut off, and for one that has just
// started, which may say that it does not know. And it is of use: whoever is in
// touch is never older than a few seconds.
func TestStaleReadsTellATrueAge(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, slowToStepDown(20*time.Second))
		defer stopAll(all)
		type ack struct {
			line string
			at   time.Time
		}
		var acked []ack
		put := func(s *server) {
			line := fmt.Sprint("w", len(acked))
			write(t, s, line)
			acked = append(acked, ack{line, time.Now()})
		}
		// look reads at a coordinator. most bounds the age; negative says that it
		// need not be known.
		look := func(what string, s *server, most time.Duration) int64 {
			t.Helper()
			f, err := s.Ready(context.Background(), raftnode.Stale, 0)
			if err != nil {
				t.Fatalf("%s: stale read at %s: %v", what, s.cfg.ID, err)
			}
			if f.StaleMs < 0 {
				if most >= 0 {
					t.Errorf("%s: %s does not know its age, want at most %v", what, s.cfg.ID, most)
				}
				return f.StaleMs
			}
			asOf := time.Now().Add(-time.Duration(f.StaleMs) * time.Millisecond)
			for _, a := range acked {
				if !a.at.After(asOf) && !s.machine.has(a.line) {
					t.Errorf("%s: %s says that it is %d ms old, and lacks %s, acknowledged %v ago", what, s.cfg.ID, f.StaleMs, a.line, time.Since(a.at))
				}
			}
			if age := time.Since(asOf); most > 0 && age > most {
				t.Errorf("%s: %s says that it is %v old, want at most %v", what, s.cfg.ID, age, most)
			}
			return f.StaleMs
		}
		old, others := waitLeader(t, all)
		put(old)
		time.Sleep(5 * time.Second)
		for range 300 {
			for _, s := range all {
				look("all is well, nothing is written", s, 3*time.Second)
			}
			time.Sleep(10 * time.Millisecond)
		}
		for i := range 300 {
			put(all[i%3])
			for _, s := range all {
				look("all is well", s, 3*time.Second)
			}
			time.Sleep(7 * time.Millisecond)
		}

		// A leader that nobody follows any more, and that has not noticed.
		w.partition(addrs(old), addrs(others...))
		for _, o := range others {
			w.closeStreams(old, o, true)
		}
		now, _ := leaderOf(t, others)
		for range 300 {
			put(now)
			for _, s := range all {
				look("a leader is superseded", s, -1)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !old.IsLeader() {
			t.Fatal("the superseded leader stepped down too early for this test")
		}
		if ms := look("superseded for three seconds", old, -1); ms < 3000 {
			t.Errorf("a leader superseded for three seconds says that it is %d ms old", ms)
		}
		w.heal()
		eventually(t, "the old leader has caught up", func() bool { return old.machine.has(acked[len(acked)-1].line) })

		// One that starts anew hears of its leader before it has the log.
		gone := others[0]
		if gone == now {
			gone = others[1]
		}
		gone.stop()
		for range 20 {
			put(now)
		}
		w.partition(addrs(gone), addrs(now, old))
		gone.machine = &recordingMachine{}
		gone.start()
		for range 100 {
			if ms := look("started anew, and cut off", gone, -1); ms >= 0 {
				t.Fatalf("a coordinator that has reached nobody says that it is %d ms old", ms)
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.heal()
		for range 500 {
			look("started anew", gone, -1)
			time.Sleep(10 * time.Millisecond)
		}
		look("back for five seconds", gone, 3*time.Second)
	})
}

// A read at an index tells the age of what it waited for.
func TestAgeIsTakenAfterTheWait(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		index := write(t, leader, "one")
		requireEqualState(t, all)
		time.Sleep(5 * time.Second)
		w.partition(addrs(others[0]), addrs(leader, others[1]))
		answer := make(chan raftnode.Freshness)
		go func() {
			f, err := others[0].Ready(context.Background(), raftnode.Stale, index+1)
			if err != nil {
				t.Errorf("stale read at an index to come: %v", err)
			}
			answer <- f
		}()
		time.Sleep(10 * time.Second)
		write(t, leader, "two")
		// Raft's messages go through again, its questions do not.
		w.mu.Lock()
		w.setRaftLink(leader.addr, others[0].addr, true)
		w.setRaftLink(others[0].addr, leader.addr, true)
		w.mu.Unlock()
		if f := <-answer; f.StaleMs < 10_000 {
			t.Errorf("age %d ms: it has heard nothing for ten seconds when the wait is over", f.StaleMs)
		}
	})
}
