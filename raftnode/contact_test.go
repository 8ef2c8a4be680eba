package raftnode_test

import (
	"context"
	"testing"
	"time"
)

// A coordinator that is cut off, leader or not, is out of touch before any leader
// may count it as lost, and says so instead of promising; one that is back is in
// touch again. At every moment of it the promise holds: who is in touch was heard
// by whoever leads within the time that everybody waits for.
func TestIsolatedServerIsOutOfTouchInTime(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		window := all[0].ContactWindow()
		leading := map[*server]time.Time{} // since when who leads has led without a break
		// look checks the promise for every pair of a coordinator and a leader.
		look := func() {
			for _, s := range all {
				if !s.IsLeader() {
					delete(leading, s)
				} else if leading[s].IsZero() {
					leading[s] = time.Now()
				}
			}
			for leader, since := range leading {
				for _, s := range all {
					_, heard := leader.Alive(s.cfg.ID)
					if s != leader && heard.Before(since) {
						heard = since
					}
					if silent := time.Since(heard); s.InTouch() && silent > window+10*time.Millisecond {
						t.Fatalf("%s is in touch though the leader %s has not heard of it for %v; %v is what it waits", s.cfg.ID, leader.cfg.ID, silent, window)
					}
				}
			}
		}
		pass := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				look()
			}
		}
		leader, others := leaderOf(t, all)
		eventually(t, "all are in touch", func() bool { return all[0].InTouch() && all[1].InTouch() && all[2].InTouch() })
		for _, cut := range []struct {
			what string
			away *server
			from []*server
		}{
			{"a follower is cut off from all", others[0], []*server{leader, others[1]}},
			{"the leader is cut off from all", leader, others},
		} {
			w.partition(addrs(cut.away), addrs(cut.from...))
			w.partitionRaft(addrs(cut.away), addrs(cut.from...))
			pass(window + 100*time.Millisecond)
			if cut.away.InTouch() {
				t.Errorf("%s: it is in touch after %v", cut.what, window)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := cut.away.WaitInTouch(ctx); err == nil {
				t.Errorf("%s: waiting to be in touch ended without an error", cut.what)
			}
			cancel()
			for _, s := range cut.from {
				if !s.InTouch() {
					t.Errorf("%s: %s, which is not, is out of touch", cut.what, s.cfg.ID)
				}
			}
			w.heal()
			pass(2 * time.Second)
			if err := cut.away.WaitInTouch(t.Context()); err != nil {
				t.Errorf("%s, and healed: %v", cut.what, err)
			}
		}
	})
}

// A coordinator that asks the leader and is not reached by it is heard.
func TestCallersCountAsAlive(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		deaf := others[0]
		w.setLink(leader.addr, deaf.addr, false)
		eventually(t, "the leader gets no answers", func() bool { alive, _ := leader.Alive(deaf.cfg.ID); return !alive })
		time.Sleep(3 * leader.ContactWindow())
		_, heard := leader.Alive(deaf.cfg.ID)
		if silent := time.Since(heard); deaf.InTouch() && silent > leader.ContactWindow() {
			t.Errorf("it is in touch, but heard last %v ago", silent)
		}
	})
}
