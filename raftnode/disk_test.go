package raftnode_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// volumes are the states of the servers' volumes, by id.
type volumes struct{ byID sync.Map }

func (v *volumes) set(id, state string) {
	v.byID.Store(id, &wire.DiskSpace{Free: 7, Size: 100, Low: state != wire.DiskOK, State: state})
}

// of tells them to each server.
func (v *volumes) of(s *server) {
	id := s.cfg.ID
	s.cfg.Disk = func() *wire.DiskSpace {
		state, _ := v.byID.Load(id)
		space, _ := state.(*wire.DiskSpace)
		return space
	}
}

// A full leader hands over once, to the one that has room, which everybody knows of; while all are full nobody hands over,
// and every server knows the leader's volume.
func TestHandOverForRoom(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var v volumes
		all := startThree(w, v.of)
		defer stopAll(all)
		first, others := leaderOf(t, all)
		full, roomy := others[0], others[1]
		known := func(want map[string]string) {
			t.Helper()
			eventually(t, "all know the volumes", func() bool {
				for _, s := range all {
					members, err := s.Members(context.Background())
					if err != nil {
						return false
					}
					for _, m := range members {
						if m.Disk == nil || m.Disk.State != want[m.ID] {
							return false
						}
					}
				}
				return true
			})
		}
		v.set(first.cfg.ID, wire.DiskFull)
		v.set(full.cfg.ID, wire.DiskCritical)
		v.set(roomy.cfg.ID, wire.DiskLow)
		known(map[string]string{first.cfg.ID: wire.DiskFull, full.cfg.ID: wire.DiskCritical, roomy.cfg.ID: wire.DiskLow})
		if done, err := full.HandOverForRoom(t.Context()); done || err != nil {
			t.Errorf("a follower hands over: %v, %v", done, err)
		}
		if done, err := first.HandOverForRoom(t.Context()); !done || err != nil {
			t.Fatalf("a full leader: %v, %v", done, err)
		}
		if leader, _ := leaderOf(t, all); leader != roomy {
			t.Fatalf("%s leads, want %s, which has room", leader.cfg.ID, roomy.cfg.ID)
		}
		v.set(roomy.cfg.ID, wire.DiskFull)
		known(map[string]string{first.cfg.ID: wire.DiskFull, full.cfg.ID: wire.DiskCritical, roomy.cfg.ID: wire.DiskFull})
		changes := roomy.Status().LeaderChanges
		if done, err := roomy.HandOverForRoom(t.Context()); done || err != nil || roomy.Status().LeaderChanges != changes || !roomy.IsLeader() {
			t.Errorf("where all are full: %v, %v", done, err)
		}
		for _, s := range all {
			if id, space := s.LeaderDisk(); id != roomy.cfg.ID || !space.IsFull() {
				t.Errorf("%s knows of the leader %s %+v", s.cfg.ID, id, space)
			}
		}
	})
}

// A leader that stops gives leadership to one with room before any other, and to a full one rather than to nobody.
func TestCloseHandsOverToRoom(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var v volumes
		all := startThree(w, v.of)
		defer stopAll(all)
		first, others := leaderOf(t, all)
		for _, roomy := range others {
			v.set(first.cfg.ID, wire.DiskOK)
			v.set(others[0].cfg.ID, wire.DiskFull)
			v.set(others[1].cfg.ID, wire.DiskFull)
			v.set(roomy.cfg.ID, wire.DiskOK)
			time.Sleep(5 * time.Second) // by the fake clock: all have said so
			if err := first.HandOver(t.Context()); err != nil {
				t.Fatal(err)
			}
			if leader, _ := leaderOf(t, all); leader != roomy {
				t.Errorf("%s leads, want %s, which has room", leader.cfg.ID, roomy.cfg.ID)
			}
			if err := roomy.transferTo(first.cfg.ID); err != nil {
				t.Fatal(err)
			}
			leaderOf(t, all)
		}
	})
}
