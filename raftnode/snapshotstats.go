package raftnode

import (
	"log/slog"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// snapshotLoop is how many snapshots a follower may take one after the other without
// an append between them before that is reported.
const snapshotLoop = 3

// SnapshotStats is what a server got of snapshots from this one, since the start.
type SnapshotStats struct {
	Sent        uint64 // snapshots that it has taken
	SinceAppend int    // of them since it last took entries of the log; it needs one to catch up
}

// snapshotsSent watches for followers that take snapshot after snapshot and then
// refuse every append, so that they never catch up and their logs grow
// (hashicorp/raft issue 697). What is counted is what this server sent.
type snapshotsSent struct {
	log *slog.Logger

	mu    sync.Mutex
	stats map[string]SnapshotStats // by server id
}

// recordSnapshot notes that a server has taken one.
func (s *snapshotsSent) recordSnapshot(id raft.ServerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats == nil {
		s.stats = map[string]SnapshotStats{}
	}
	of := s.stats[string(id)]
	of.Sent++
	of.SinceAppend++
	s.stats[string(id)] = of
	// Once at the bound, then ever more rarely.
	if n := of.SinceAppend; n >= snapshotLoop && n%snapshotLoop == 0 && n/snapshotLoop&(n/snapshotLoop-1) == 0 {
		s.log.Warn("a coordinator takes snapshot after snapshot and never catches up: if this goes on, remove it, empty its data directory and let it join anew",
			"server", id, "snapshots", n)
	}
}

// recordAppend notes that a server has answered an append, or a probe for the place
// where its log ends. Heartbeats name no place and say nothing of its log.
func (s *snapshotsSent) recordAppend(id raft.ServerID, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) {
	if !r.Success || a.PrevLogEntry == 0 && len(a.Entries) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.stats[string(id)]; of.SinceAppend > 0 {
		of.SinceAppend = 0
		s.stats[string(id)] = of
	}
}

// snapshot returns what was sent to which server. SinceAppend is 0 for
// servers that are not led by this one any more.
func (s *snapshotsSent) snapshot(led map[string]bool) map[string]SnapshotStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.stats)
	for id, of := range all {
		if !led[id] {
			of.SinceAppend = 0
			all[id] = of
		}
	}
	return all
}
