package router

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/topology"
)

// routing table is what a coordinator knows of the routes to the others. In a mesh only
// the graph is in use.
type routingTable struct {
	policy topology.Policy
	graph  atomic.Pointer[topology.Graph] // over the coordinators in the directory
	table  atomic.Pointer[nextHops]       // the routes from here
	wake   chan struct{}                  // capacity 1: something has changed

	mu      sync.Mutex
	reports map[string]report       // of every coordinator, the own one too
	targets map[string]*destination // every coordinator there was a route to
	origins map[string]*origin      // every coordinator a relay came from

	parkedMu sync.Mutex
	parked   []*stream // to be pumped at the next tick
}

// nextHops are the routes from here as they are now.
type nextHops struct{ to map[string]nextHop }

// nextHop is where a message for a coordinator goes first. way is nil on a link
// whose other end does not know relays: it is the message's home then.
type nextHop struct {
	next  string
	route *route
}

// route leads from here to a coordinator. Two are the same exactly if the
// pointers are, as long as one of them is in the table.
type route struct {
	ids         []string
	code        []byte // as in a relay
	destination *destination
}

// destination is a coordinator that messages are sent to by routes.
type destination struct {
	// epoch is in every relay to it. It is raised when a message to it is lost
	// on the route, before its stream goes on: what comes late of it is stale then.
	// It begins at a time, so that it goes on where the process before ended.
	epoch atomic.Uint64
	// step doubles at every answer that the turn is stale, so that also a
	// clock that was set back is made up for soon.
	step atomic.Uint64
}

// origin is a coordinator that relays come from. mu is held while one is
// delivered, so that none of an earlier turn follows one of a later.
type origin struct {
	mu    sync.Mutex
	epoch uint64 // the latest
}

func (a *routingTable) init(p topology.Policy) {
	a.policy = p
	a.wake = make(chan struct{}, 1)
	a.reports = make(map[string]report)
	a.targets = make(map[string]*destination)
	a.origins = make(map[string]*origin)
	a.table.Store(&nextHops{})
	a.graph.Store(p.Over(nil))
}

// refreshGraph takes over the directory's coordinators.
func (r *Router) refreshGraph() {
	r.routing.mu.Lock()
	defer r.routing.mu.Unlock()
	ids := slices.Clone(r.dir.Coordinators()) // under mu, so that an older list never follows a newer
	if !slices.Contains(ids, r.self) {
		ids = append(ids, r.self)
	}
	slices.Sort(ids)
	if slices.Equal(ids, r.routing.graph.Load().IDs()) {
		return
	}
	g := r.routing.policy.Over(ids)
	r.routing.graph.Store(g)
	gone := func(id string) bool { return !g.Has(id) }
	maps.DeleteFunc(r.routing.reports, func(id string, _ report) bool { return gone(id) })
	maps.DeleteFunc(r.routing.origins, func(id string, _ *origin) bool { return gone(id) })
	wake(r.routing.wake)
}

// neighbours are the coordinators to keep links to.
func (r *Router) neighbours() []string { return r.routing.graph.Load().Neighbours(r.self) }

// nextLink returns the link that a message to a coordinator takes, and its route
// if it is sent as a relay. In a mesh that is the link to its home; without a
// way left it is nil.
func (r *Router) nextLink(home string) (*outLink, *route) {
	if r.mesh {
		return r.linkTo(home), nil
	}
	h, ok := r.routing.table.Load().to[home]
	if !ok {
		return nil, nil
	}
	return r.linkTo(h.next), h.route
}

// computeRoutes finds the routes over the links as they are now, and reports the own
// ones if they have changed.
func (r *Router) computeRoutes() {
	if r.mesh || r.dialer == nil {
		return
	}
	a := &r.routing
	g := a.graph.Load()
	speaks := make(map[string]byte) // version at the other end of each own link
	var down []string
	for _, id := range g.Neighbours(r.self) {
		if v := r.linkTo(id).peerVersion(); v > 0 {
			speaks[id] = v
		}
		if speaks[id] < relayVersion {
			down = append(down, id)
		}
	}
	r.reportOwnLinks(down)

	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.table.Load().to
	now := make(map[string]nextHop)
	ways := g.Ways(r.self, func(from, to string) bool { return !a.reports[from].isDown(to) })
	for id, ids := range ways {
		if id == r.self || len(ids) > maxRouteLen {
			continue
		}
		if h, ok := before[id]; ok && h.route != nil && slices.Equal(h.route.ids, ids) {
			now[id] = h
			continue
		}
		now[id] = nextHop{next: ids[1], route: &route{ids: ids, code: appendRouteIDs(nil, ids), destination: a.destination(id)}}
	}
	for id, v := range speaks {
		if v < relayVersion {
			now[id] = nextHop{next: id}
		}
	}
	a.table.Store(&nextHops{now})
}

// destination returns what is known of a coordinator; mu is held.
func (a *routingTable) destination(id string) *destination {
	t := a.targets[id]
	if t == nil {
		t = new(destination)
		t.epoch.Store(uint64(time.Now().UnixMilli()))
		a.targets[id] = t
	}
	return t
}

// advance begins a new turn if that of a lost message is the latest. It is
// called before anything else of the message's stream leaves.
func (t *destination) advance(epoch uint64) { t.epoch.CompareAndSwap(epoch, epoch+1) }

// jump begins a much later turn if one the other side calls stale is the
// latest.
func (t *destination) jump(epoch uint64) {
	step := t.step.Load()
	if t.epoch.CompareAndSwap(epoch, epoch+1<<step) && step < 48 {
		t.step.Store(step + 1)
	}
}

// resetStep ends a row of corrections.
func (t *destination) resetStep() {
	if t.step.Load() > 0 {
		t.step.Store(0)
	}
}

// deliverInEpoch calls deliver unless its origin has sent messages in a later turn.
func (r *Router) deliverInEpoch(from string, epoch uint64, deliver func() verdict) verdict {
	r.routing.mu.Lock()
	o := r.routing.origins[from]
	if o == nil {
		o = new(origin)
		r.routing.origins[from] = o
	}
	r.routing.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if epoch < o.epoch {
		r.stats.inc(cOutOfEpoch)
		return oldEpoch
	}
	o.epoch = epoch
	return deliver()
}

// parkUntilTick has a stream wait for the next tick; the shard's mu is held.
func (r *Router) parkUntilTick(st *stream) {
	if st.waitingForTick {
		return
	}
	st.waitingForTick = true
	r.routing.parkedMu.Lock()
	r.routing.parked = append(r.routing.parked, st)
	r.routing.parkedMu.Unlock()
}

// resumeParked pumps the streams that wait for the tick.
func (r *Router) resumeParked() {
	r.routing.parkedMu.Lock()
	pairs := r.routing.parked
	r.routing.parked = nil
	r.routing.parkedMu.Unlock()
	for _, st := range pairs {
		st.shard.mu.Lock()
		st.waitingForTick = false
		r.pump(st, nil)
		st.shard.mu.Unlock()
	}
}
