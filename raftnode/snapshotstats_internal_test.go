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
func TestSnapshotLoopIsReported(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	s := &snapshotsSent{log: slog.New(slog.NewTextHandler(&said, nil))}
	heartbeat := &raft.AppendEntriesRequest{Term: 2}
	behind := &raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 40, PrevLogTerm: 2, Entries: []*raft.Log{{Index: 41}}}
	yes, no := &raft.AppendEntriesResponse{Success: true}, &raft.AppendEntriesResponse{}
	for range 20 {
		s.recordSnapshot("slow/1")
		s.recordAppend("slow/1", heartbeat, yes)
		s.recordAppend("slow/1", behind, yes)
	}
	if said.Len() > 0 {
		t.Errorf("a follower that appends after each snapshot was reported: %s", &said)
	}
	for i := range 13 {
		s.recordSnapshot("stuck/1")
		s.recordAppend("stuck/1", heartbeat, yes)
		s.recordAppend("stuck/1", behind, no)
		if reported := strings.Count(said.String(), "stuck/1"); reported != map[int]int{0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 3, 12: 3}[i] {
			t.Errorf("after %d snapshots in vain there were %d warnings:\n%s", i+1, reported, &said)
		}
	}
	led := map[string]bool{"slow/1": true, "stuck/1": true}
	if got := s.snapshot(led); got["slow/1"] != (SnapshotStats{Sent: 20}) || got["stuck/1"] != (SnapshotStats{Sent: 13, SinceAppend: 13}) {
		t.Errorf("counted %+v", got)
	}
	if got := s.snapshot(nil)["stuck/1"]; got != (SnapshotStats{Sent: 13}) {
		t.Errorf("once it is no follower of this server any more: %+v", got)
	}
	s.recordAppend("stuck/1", behind, yes)
	if got := s.snapshot(led)["stuck/1"]; got != (SnapshotStats{Sent: 13}) {
		t.Errorf("once it has appended: %+v", got)
	}
}
