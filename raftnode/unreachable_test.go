package raftnode_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
)

// caughtUp is how long after its return a coordinator may be without the log,
// with little to catch up, however long it was away.
const caughtUp = time.Second

// A coordinator gets the log within a second of its return, however long it was
// away, from whatever leader, as entries or as a snapshot; and nobody calls it
// healthy, or counts on it, before.
func TestLogResumesSoonAfterAReturn(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) {
			c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 20, 1, time.Second
		}))
		defer stopAll(all)
		for i, away := range []time.Duration{2 * time.Second, 10 * time.Second, 13 * time.Second, 21 * time.Second, 40 * time.Second, 5 * time.Minute} {
			leader, others := leaderOf(t, all)
			gone, stays := others[i%2], others[1-i%2]
			eventually(t, "all are healthy", func() bool { return leader.Status().Tolerance == 1 && stays.Status().Tolerance == 1 })
			w.partition(addrs(gone), addrs(leader, stays))
			var missing uint64     // the first that it has not got
			writes := 1 + 40*(i%2) // as many as make a snapshot, every other time
			for k := range writes {
				if index := write(t, leader, fmt.Sprint("w", i, "-", k)); k == 0 {
					missing = index
				}
			}
			if i == 3 { // another leader, which has never reached the one that is away
				if _, err := leader.Transfer(context.Background(), stays.cfg.ID); err != nil {
					t.Fatal(err)
				}
				eventually(t, "another leads", stays.IsLeader)
			}
			time.Sleep(away)
			last := fmt.Sprint("w", i, "-", writes-1)
			w.heal()
			returned := time.Now()
			for !gone.machine.has(last) {
				for _, s := range []*server{leader, stays} {
					if raftnode.Raft(gone.Node).LastIndex() >= missing {
						break // it takes the log
					}
					if s.Status().Tolerance != 0 || healthy(t, s, gone) {
						t.Fatalf("%v after its return %s says that %s is healthy, and that %d may fail; it has not got the log", time.Since(returned), s.cfg.ID, gone.cfg.ID, s.Status().Tolerance)
					}
				}
				if time.Since(returned) > caughtUp {
					t.Fatalf("away for %v, %s still has not got the log %v after its return", away, gone.cfg.ID, caughtUp)
				}
				time.Sleep(5 * time.Millisecond)
			}
			if err := read(gone, raftnode.Default, caughtUp); err != nil {
				t.Errorf("away for %v, a default read after the return: %v", away, err)
			}
		}
	})
}

func healthy(t *testing.T, at, of *server) bool {
	t.Helper()
	members, err := at.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(members, func(m raftnode.MemberInfo) bool { return m.ServerID == of.ServerID() })
	return i >= 0 && members[i].Healthy
}

// A coordinator that answers everybody and is not reached by the log is not
// healthy, and nobody counts on it.
func TestMemberWithoutLogIsNotHealthy(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		eventually(t, "all are healthy", func() bool { return leader.Status().Tolerance == 1 })
		w.dropMessages(others[0], leader)
		defer w.heal()
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			write(t, leader, "w")
		}
		for _, s := range []*server{leader, others[1]} {
			members, _ := s.Members(t.Context())
			if healthy(t, s, others[0]) || s.Status().Tolerance != 0 {
				t.Errorf("%s says that %d may fail, of %+v; %s gets no log", s.cfg.ID, s.Status().Tolerance, members, others[0].cfg.ID)
			}
		}
	})
}

// Connections from before an outage are closed after it, and OnReachable is called
// for the coordinator: on its return, not on every sign of life.
func TestAReturnIsTold(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		gone, stays := others[0], others[1]
		told := make(chan string, 100)
		stays.OnReachable(func(id string) { told <- id })
		w.partition(addrs(gone), addrs(leader, stays))
		time.Sleep(20 * time.Second)
		if len(told) > 0 {
			t.Errorf("%s has returned while it was away", <-told)
		}
		w.heal()
		returned := time.Now()
		if id := <-told; id != gone.cfg.ID || time.Since(returned) > 2*time.Second {
			t.Errorf("%s returned after %v, want %s within two seconds", id, time.Since(returned), gone.cfg.ID)
		}
		time.Sleep(2 * time.Second) // what was asked before its return may fail after it
		for len(told) > 0 {
			<-told
		}
		time.Sleep(10 * time.Second)
		if len(told) > 0 {
			t.Errorf("%d more returns were told of", len(told))
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range []*server{leader, stays} {
			if !slices.Contains(w.cuts, [2]string{s.addr, gone.ServerID()}) {
				t.Errorf("%s goes on with its old connections to %s: %v", s.cfg.ID, gone.cfg.ID, w.cuts)
			}
		}
	})
}

// A leader ends at once though it waits for a coordinator that is away, and a
// removed one is not waited for.
func TestNobodyWaitsForWhoIsAway(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		leader, others := leaderOf(t, all)
		gone := others[0]
		w.partition(addrs(gone), addrs(leader, others[1]))
		write(t, leader, "one")
		time.Sleep(5 * time.Second)
		if err := leader.RemoveMember(context.Background(), gone.cfg.ID); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		stopAll(all)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}
