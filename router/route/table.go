package route

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/lockorder"
)

// Table is what a coordinator knows of the routes to the others. In a mesh only
// the graph is in use. Its methods are safe for concurrent use; none blocks.
type Table struct {
	self   string
	policy Policy
	graph  atomic.Pointer[Graph]          // over the coordinators in the directory
	hops   atomic.Pointer[map[string]Hop] // from here, by the coordinator they lead to
	wake   chan struct{}                  // capacity 1: something has changed

	mu           lockorder.Mutex[lockorder.Table]
	reports      map[string]Report       // of every coordinator, the own one too
	destinations map[string]*Destination // every coordinator there was a route to
	origins      map[string]*origin      // every coordinator a relay came from
}

// Hop is where a message for a coordinator goes first. Route is nil on a link
// whose other end does not know relays: it is the message's home then.
type Hop struct {
	Next  string
	Route *Route
}

// Route leads from here to a coordinator. Two are the same exactly if the
// pointers are, as long as one of them is in the table. It never changes.
type Route struct {
	ids  []string
	Code []byte // the ids, as in a relay
	To   *Destination
}

// NewTable returns the table of a coordinator that knows no other one yet.
func NewTable(self string, p Policy) *Table {
	t := &Table{
		self: self, policy: p, wake: make(chan struct{}, 1),
		reports: make(map[string]Report), destinations: make(map[string]*Destination), origins: make(map[string]*origin),
	}
	t.hops.Store(&map[string]Hop{})
	t.graph.Store(p.Over(nil))
	return t
}

// Changed receives when routes are to be computed anew.
func (t *Table) Changed() <-chan struct{} { return t.wake }

// Recompute has Changed receive, soon.
func (t *Table) Recompute() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// SetMembers takes over the ids of all coordinators. list is called with the
// table's lock held, so that an older list never follows a newer one.
func (t *Table) SetMembers(list func() []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := slices.Clone(list())
	if !slices.Contains(ids, t.self) {
		ids = append(ids, t.self)
	}
	slices.Sort(ids)
	if slices.Equal(ids, t.graph.Load().IDs()) {
		return
	}
	g := t.policy.Over(ids)
	t.graph.Store(g)
	gone := func(id string) bool { return !g.Has(id) }
	maps.DeleteFunc(t.reports, func(id string, _ Report) bool { return gone(id) })
	maps.DeleteFunc(t.origins, func(id string, _ *origin) bool { return gone(id) })
	t.Recompute()
}

// Graph is the one over the coordinators in the directory.
func (t *Table) Graph() *Graph { return t.graph.Load() }

// Neighbours are the coordinators to keep links to.
func (t *Table) Neighbours() []string { return t.graph.Load().Neighbours(t.self) }

// Next returns the hop toward a coordinator; false: no route is left.
func (t *Table) Next(to string) (Hop, bool) {
	h, ok := (*t.hops.Load())[to]
	return h, ok
}

// Compute finds the routes over the links that are not reported down. direct are
// neighbours whose link is up and that take no relays: they are reached in one
// hop, and nobody by them.
func (t *Table) Compute(direct []string) {
	g := t.graph.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	before := *t.hops.Load()
	now := make(map[string]Hop)
	routes := g.Routes(t.self, func(from, to string) bool { return !t.reports[from].isDown(to) })
	for id, ids := range routes {
		if id == t.self || len(ids) > MaxLen {
			continue
		}
		if h, ok := before[id]; ok && h.Route != nil && slices.Equal(h.Route.ids, ids) {
			now[id] = h
			continue
		}
		now[id] = Hop{Next: ids[1], Route: &Route{ids: ids, Code: encode(ids), To: t.destination(id)}}
	}
	for _, id := range direct {
		now[id] = Hop{Next: id}
	}
	t.hops.Store(&now)
}

// destination returns what is known of a coordinator; mu is held.
func (t *Table) destination(id string) *Destination {
	d := t.destinations[id]
	if d == nil {
		d = newDestination()
		t.destinations[id] = d
	}
	return d
}

// SetOwnDown takes over which of the own links are down; true means that the own
// report is another one now, which the others are to be sent.
func (t *Table) SetOwnDown(down []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, ok := t.reports[t.self]
	down = down[:min(len(down), maxDown)]
	if ok && slices.Equal(own.Down, down) {
		return false
	}
	if own.Number == 0 {
		own.Number = uint64(time.Now().UnixMilli())
	}
	t.reports[t.self] = Report{own.Number + 1, down}
	return true
}

// Merge takes what a coordinator says of its own links or of another's. True
// means that the report on that coordinator is another one now, which the others
// are to be sent.
func (t *Table) Merge(about string, r Report) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := about == t.self
	known, ok := t.reports[about]
	switch {
	case !t.graph.Load().Has(about):
		return false
	case own && (r.Number > known.Number || r.Number == known.Number && !slices.Equal(r.Down, known.Down)):
		// Of the process before this one, whose clock was ahead.
		known.Number = r.Number + 1
		t.reports[about] = known
	case own || ok && r.Number <= known.Number:
		return false
	default:
		t.reports[about] = r
	}
	return true
}

// Report returns the newest report on a coordinator.
func (t *Table) Report(about string) (Report, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.reports[about]
	return r, ok
}

// Reported are the coordinators there is a report on.
func (t *Table) Reported() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.reports))
}
