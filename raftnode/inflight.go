package raftnode

import "sync"

// inFlight counts the requests under way of one kind, by server id. The zero
// inFlight has none. Its methods may be called from any goroutine.
type inFlight struct {
	mu    sync.Mutex
	count map[string]int // never 0
}

// begin counts one request to a server, until end is called, once.
func (f *inFlight) begin(serverID string) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil {
		f.count = map[string]int{}
	}
	f.count[serverID]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count[serverID]--; f.count[serverID] == 0 {
			delete(f.count, serverID)
		}
	}
}

// to reports whether a request to a server is under way.
func (f *inFlight) to(serverID string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[serverID] > 0
}

// servers are those to which requests are under way, in any order.
func (f *inFlight) servers() (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.count {
		ids = append(ids, id)
	}
	return ids
}
