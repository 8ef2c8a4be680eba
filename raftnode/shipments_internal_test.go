package raftnode

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// A follower that takes one snapshot after the other and no append is
// reported; one that appends in between is not, whatever its heartbeats say.
func TestSnapshotsInVainAreReported(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	s := &shipments{log: slog.New(slog.NewTextHandler(&said, nil))}
	heartbeat := &raft.AppendEntriesRequest{Term: 2}
	behind := &raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 40, PrevLogTerm: 2, Entries: []*raft.Log{{Index: 41}}}
	yes, no := &raft.AppendEntriesResponse{Success: true}, &raft.AppendEntriesResponse{}
	for range 20 {
		s.snapshot("slow/1")
		s.append("slow/1", heartbeat, yes)
		s.append("slow/1", behind, yes)
	}
	if said.Len() > 0 {
		t.Errorf("a follower that appends after each snapshot was reported: %s", &said)
	}
	for i := range 13 {
		s.snapshot("stuck/1")
		s.append("stuck/1", heartbeat, yes)
		s.append("stuck/1", behind, no)
		if reported := strings.Count(said.String(), "stuck/1"); reported != map[int]int{0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 3, 12: 3}[i] {
			t.Errorf("after %d snapshots in vain there were %d warnings:\n%s", i+1, reported, &said)
		}
	}
	led := map[string]bool{"slow/1": true, "stuck/1": true}
	if got := s.read(led); got["slow/1"] != (Shipment{Sent: 20}) || got["stuck/1"] != (Shipment{Sent: 13, InVain: 13}) {
		t.Errorf("counted %+v", got)
	}
	if got := s.read(nil)["stuck/1"]; got != (Shipment{Sent: 13}) {
		t.Errorf("once it is no follower of this server any more: %+v", got)
	}
	s.append("stuck/1", behind, yes)
	if got := s.read(led)["stuck/1"]; got != (Shipment{Sent: 13}) {
		t.Errorf("once it has appended: %+v", got)
	}
}
