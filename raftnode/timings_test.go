package raftnode_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire/histogram"
)

// slowDisk is a log that takes its time.
type slowDisk struct {
	*raft.InmemStore
	delay *atomic.Int64
}

func (d slowDisk) StoreLogs(logs []*raft.Log) error {
	time.Sleep(time.Duration(d.delay.Load()))
	return d.InmemStore.StoreLogs(logs)
}

// above is how many took longer than a bound in seconds.
func above(h *histogram.Histogram, bound float64) uint64 {
	s := h.Snapshot()
	return s.Count - s.Buckets[bound]
}

// How long a disk takes is told by each server, and how long a write takes by the leader.
func TestTimings(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var delay atomic.Int64
		all := startThree(w, func(s *server) {
			disk := slowDisk{raft.NewInmemStore(), &delay}
			s.cfg.Inject.Logs, s.cfg.Inject.Stable = disk, disk
		})
		defer stopAll(all)
		leader, others := leaderOf(t, all)
		write(t, leader, "quick")
		for _, s := range all {
			if n := above(s.Stored(), 0.025); n != 0 {
				t.Errorf("%s: %d entries took long to store, on a quick disk", s.cfg.ID, n)
			}
		}
		before, applied := leader.Timings().Commit.Snapshot(), others[0].Timings().Apply.Snapshot()
		delay.Store(int64(30 * time.Millisecond))
		write(t, leader, "slow")
		requireEqualState(t, all)
		if n := above(&leader.Timings().Commit, 0.025); n != 1 {
			t.Errorf("%d writes took long to commit, want 1", n)
		}
		if now := leader.Timings().Commit.Snapshot(); now.Count != before.Count+1 {
			t.Errorf("%d writes are counted, want one more than %d", now.Count, before.Count)
		}
		if now := others[0].Timings().Apply.Snapshot(); now.Count <= applied.Count {
			t.Errorf("a follower has applied %d entries, and before %d", now.Count, applied.Count)
		}
		for _, s := range all {
			if above(s.Stored(), 0.025) == 0 {
				t.Errorf("%s: no entry took long to store, on a slow disk", s.cfg.ID)
			}
		}
	})
}

// The size of the log's files is told, what of it is free once entries were removed, and when the snapshot was begun
// that took their place.
func TestLogSize(t *testing.T) {
	t.Parallel()
	for _, store := range []string{raftnode.LogStoreBolt, raftnode.LogStoreWAL} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			synctestNetwork(t, func(t *testing.T, w *network) {
				s := w.addServer("n1", onFiles, withConfig(func(c *raftnode.Config) {
					c.Expect, c.LogStore, c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 1, store, 20, 2, 100*time.Millisecond
				}))
				defer func() { s.stop() }()
				began := time.Now()
				if made := s.Status().LastSnapshotMade; !made.IsZero() {
					t.Errorf("a snapshot was begun at %v before there was any", made)
				}
				for i := range 40 {
					write(t, s, fmt.Sprint(strings.Repeat("x", 10_000), i))
				}
				eventually(t, "a snapshot takes the place of entries", func() bool { return s.Status().LastSnapshot > 20 })
				eventually(t, "their space is free", func() bool {
					size, free := s.LogSize()
					return size >= 100_000 && free <= size && (store == raftnode.LogStoreWAL || free > 100_000)
				})
				time.Sleep(5 * time.Second) // until no more are due
				made := s.Status().LastSnapshotMade
				if made.Before(began) || made.After(time.Now()) {
					t.Errorf("the newest snapshot was begun at %v, want between %v and %v", made, began, time.Now())
				}
				s.stop()
				s.restart()
				if got := s.Status().LastSnapshotMade; !got.Equal(made) {
					t.Errorf("after a restart the newest snapshot was begun at %v, before at %v", got, made)
				}
			})
		})
	}
}
