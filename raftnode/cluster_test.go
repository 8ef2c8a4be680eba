package raftnode_test

import (
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
)

// Three empty coordinators found one cluster and agree on what is written.
func TestThreeFoundACluster(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		began := time.Now()
		all := startThree(w)
		defer stopAll(all)
		t.Logf("ready after %s", time.Since(began))
		leader, others := leaderOf(t, all)
		write(t, leader, "one")
		write(t, others[0], "two")
		write(t, others[1], "three")
		if got := requireEqualState(t, all); got != "one two three" {
			t.Errorf("machines hold %q, want every write once and in order", got)
		}
		for _, s := range all {
			if s.ClusterID() == "" || s.ClusterID() != leader.ClusterID() {
				t.Errorf("%s is in cluster %q, %s in %q", s.cfg.ID, s.ClusterID(), leader.cfg.ID, leader.ClusterID())
			}
			if err := read(s, raftnode.Strict, time.Second); err != nil {
				t.Errorf("strict read at %s: %v", s.cfg.ID, err)
			}
		}
	})
}

// A coordinator that expects nobody else founds its cluster at once.
func TestOneAloneFounds(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Expect = 1 }))
		defer s.stop()
		write(t, s, "one")
		for _, c := range []raftnode.Consistency{raftnode.Stale, raftnode.Default, raftnode.Strict} {
			if err := read(s, c, time.Second); err != nil {
				t.Errorf("%s read: %v", c, err)
			}
		}
	})
}
