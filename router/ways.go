package router

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/topology"
)

// atlas is what a coordinator knows of the ways to the others. In a mesh only
// the graph is in use.
type atlas struct {
	policy topology.Policy
	graph  atomic.Pointer[topology.Graph] // over the coordinators in the directory
	table  atomic.Pointer[table]          // the ways from here
	wake   chan struct{}                  // capacity 1: something has changed

	mu      sync.Mutex
	reports map[string]report  // of every coordinator, the own one too
	targets map[string]*target // every coordinator there was a way to
	origins map[string]*origin // every coordinator a relay came from

	restMu sync.Mutex
	rest   []*pair // to be pumped at the next tick
}

// table are the ways from here as they are now.
type table struct{ to map[string]hop }

// hop is where a message for a coordinator goes first. way is nil on a link
// whose other end does not know relays: it is the message's home then.
type hop struct {
	next string
	way  *way
}

// way leads from here to a coordinator. Two are the same exactly if the
// pointers are, as long as one of them is in the table.
type way struct {
	ids  []string
	code []byte // as in a relay
	to   *target
}

// target is a coordinator that messages are sent to by ways.
type target struct {
	// turn is in every relay to it. It is raised when a message to it is lost
	// on the way, before its pair goes on: what comes late of it is stale then.
	// It begins at a time, so that it goes on where the process before ended.
	turn atomic.Uint64
	// step doubles at every answer that the turn is stale, so that also a
	// clock that was set back is made up for soon.
	step atomic.Uint64
}

// origin is a coordinator that relays come from. mu is held while one is
// delivered, so that none of an earlier turn follows one of a later.
type origin struct {
	mu   sync.Mutex
	turn uint64 // the latest
}

func (a *atlas) init(p topology.Policy) {
	a.policy = p
	a.wake = make(chan struct{}, 1)
	a.reports = make(map[string]report)
	a.targets = make(map[string]*target)
	a.origins = make(map[string]*origin)
	a.table.Store(&table{})
	a.graph.Store(p.Over(nil))
}

// survey takes over the directory's coordinators.
func (r *Router) survey() {
	r.atlas.mu.Lock()
	defer r.atlas.mu.Unlock()
	ids := slices.Clone(r.dir.Coordinators()) // under mu, so that an older list never follows a newer
	if !slices.Contains(ids, r.self) {
		ids = append(ids, r.self)
	}
	slices.Sort(ids)
	if slices.Equal(ids, r.atlas.graph.Load().IDs()) {
		return
	}
	g := r.atlas.policy.Over(ids)
	r.atlas.graph.Store(g)
	gone := func(id string) bool { return !g.Has(id) }
	maps.DeleteFunc(r.atlas.reports, func(id string, _ report) bool { return gone(id) })
	maps.DeleteFunc(r.atlas.origins, func(id string, _ *origin) bool { return gone(id) })
	rouse(r.atlas.wake)
}

// neighbours are the coordinators to keep links to.
func (r *Router) neighbours() []string { return r.atlas.graph.Load().Neighbours(r.self) }

// toward returns the link that a message to a coordinator takes, and its way
// if it is sent as a relay. In a mesh that is the link to its home; without a
// way left it is nil.
func (r *Router) toward(home string) (*outLink, *way) {
	if r.mesh {
		return r.linkTo(home), nil
	}
	h, ok := r.atlas.table.Load().to[home]
	if !ok {
		return nil, nil
	}
	return r.linkTo(h.next), h.way
}

// chart finds the ways over the links as they are now, and reports the own
// ones if they have changed.
func (r *Router) chart() {
	if r.mesh || r.dialer == nil {
		return
	}
	a := &r.atlas
	g := a.graph.Load()
	speaks := make(map[string]byte) // version at the other end of each own link
	var down []string
	for _, id := range g.Neighbours(r.self) {
		if v := r.linkTo(id).speaks(); v > 0 {
			speaks[id] = v
		}
		if speaks[id] < relayVersion {
			down = append(down, id)
		}
	}
	r.reportOwn(down)

	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.table.Load().to
	now := make(map[string]hop)
	ways := g.Ways(r.self, func(from, to string) bool { return !a.reports[from].isDown(to) })
	for id, ids := range ways {
		if id == r.self || len(ids) > maxWay {
			continue
		}
		if h, ok := before[id]; ok && h.way != nil && slices.Equal(h.way.ids, ids) {
			now[id] = h
			continue
		}
		now[id] = hop{next: ids[1], way: &way{ids: ids, code: appendWay(nil, ids), to: a.target(id)}}
	}
	for id, v := range speaks {
		if v < relayVersion {
			now[id] = hop{next: id}
		}
	}
	a.table.Store(&table{now})
}

// target returns what is known of a coordinator; mu is held.
func (a *atlas) target(id string) *target {
	t := a.targets[id]
	if t == nil {
		t = new(target)
		t.turn.Store(uint64(time.Now().UnixMilli()))
		a.targets[id] = t
	}
	return t
}

// raise begins a new turn if that of a lost message is the latest. It is
// called before anything else of the message's pair leaves.
func (t *target) raise(turn uint64) { t.turn.CompareAndSwap(turn, turn+1) }

// correct begins a much later turn if one the other side calls stale is the
// latest.
func (t *target) correct(turn uint64) {
	step := t.step.Load()
	if t.turn.CompareAndSwap(turn, turn+1<<step) && step < 48 {
		t.step.Store(step + 1)
	}
}

// calm ends a row of corrections.
func (t *target) calm() {
	if t.step.Load() > 0 {
		t.step.Store(0)
	}
}

// inTurn calls deliver unless its origin has sent messages in a later turn.
func (r *Router) inTurn(from string, turn uint64, deliver func() verdict) verdict {
	r.atlas.mu.Lock()
	o := r.atlas.origins[from]
	if o == nil {
		o = new(origin)
		r.atlas.origins[from] = o
	}
	r.atlas.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if turn < o.turn {
		r.stats.add(cStale)
		return stale
	}
	o.turn = turn
	return deliver()
}

// pause has a pair wait for the next tick; the shard's mu is held.
func (r *Router) pause(p *pair) {
	if p.resting {
		return
	}
	p.resting = true
	r.atlas.restMu.Lock()
	r.atlas.rest = append(r.atlas.rest, p)
	r.atlas.restMu.Unlock()
}

// resume pumps the pairs that wait for the tick.
func (r *Router) resume() {
	r.atlas.restMu.Lock()
	pairs := r.atlas.rest
	r.atlas.rest = nil
	r.atlas.restMu.Unlock()
	for _, p := range pairs {
		p.shard.mu.Lock()
		p.resting = false
		r.pump(p, nil)
		p.shard.mu.Unlock()
	}
}
