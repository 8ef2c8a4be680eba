package raftnode

import (
	"log/slog"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// inVain is how many snapshots a follower may take one after the other without
// an append between them before that is reported.
const inVain = 3

// Shipment is what a server got of snapshots from this one, since the start.
type Shipment struct {
	Sent   uint64 // snapshots that it has taken
	InVain int    // of them since it last took entries of the log; it needs one to catch up
}

// shipments watches for followers that take snapshot after snapshot and then
// refuse every append, so that they never catch up and their logs grow
// (hashicorp/raft issue 697). What is counted is what this server sent.
type shipments struct {
	log *slog.Logger

	mu sync.Mutex
	by map[string]Shipment // by server id
}

// snapshot notes that a server has taken one.
func (s *shipments) snapshot(id raft.ServerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]Shipment{}
	}
	of := s.by[string(id)]
	of.Sent++
	of.InVain++
	s.by[string(id)] = of
	// Once at the bound, then ever more rarely.
	if n := of.InVain; n >= inVain && n%inVain == 0 && n/inVain&(n/inVain-1) == 0 {
		s.log.Warn("a coordinator takes snapshot after snapshot and never catches up: if this goes on, remove it, empty its data directory and let it join anew",
			"server", id, "snapshots", n)
	}
}

// append notes that a server has answered an append, or a probe for the place
// where its log ends. Heartbeats name no place and say nothing of its log.
func (s *shipments) append(id raft.ServerID, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) {
	if !r.Success || a.PrevLogEntry == 0 && len(a.Entries) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.by[string(id)]; of.InVain > 0 {
		of.InVain = 0
		s.by[string(id)] = of
	}
}

// read tells what was sent to whom. In vain is only what goes on: nothing to
// servers that are not led by this one any more.
func (s *shipments) read(led map[string]bool) map[string]Shipment {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.by)
	for id, of := range all {
		if !led[id] {
			of.InVain = 0
			all[id] = of
		}
	}
	return all
}
