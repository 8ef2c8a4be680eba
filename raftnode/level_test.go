package raftnode_test

import (
	"testing"
)

// The level that all servers know is the lowest one that any has told; a binary of
// before tells none.
func TestCommonLevel(t *testing.T) {
	for _, c := range []struct{ last, want int }{{3, 3}, {2, 2}, {0, 1}} {
		synctestNetwork(t, func(t *testing.T, w *network) {
			level := 3
			all := startThree(w, func(s *server) {
				s.cfg.Level = level
				if s.cfg.ID == "n3" {
					s.cfg.Level = c.last
				}
			})
			leader, _ := leaderOf(t, all)
			eventually(t, "everybody's level is known", func() bool {
				got, known := leader.CommonLevel()
				return known && got == c.want
			})
			stopAll(all)
		})
	}
}
