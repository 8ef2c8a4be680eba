package router

import (
	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/route"
)

// refreshGraph takes over the directory's coordinators.
func (r *Router) refreshGraph() { r.routes.SetMembers(r.dir.Coordinators) }

// nextLink returns the link that a message to a coordinator takes, and its route
// if it is sent as a relay. In a mesh that is the link to its home; without a
// route left it is nil.
func (r *Router) nextLink(home string) (*outLink, *route.Route) {
	if r.mesh {
		return r.linkTo(home), nil
	}
	h, ok := r.routes.Next(home)
	if !ok {
		return nil, nil
	}
	return r.linkTo(h.Next), h.Route
}

// computeRoutes finds the routes over the links as they are now, and reports the own
// ones if they have changed.
func (r *Router) computeRoutes() {
	if r.mesh || r.dialer == nil {
		return
	}
	var down, direct []string
	for _, id := range r.routes.Neighbours() {
		v := r.linkTo(id).peerVersion()
		if v < link.RelayVersion {
			down = append(down, id)
		}
		if v > 0 && v < link.RelayVersion {
			direct = append(direct, id)
		}
	}
	if r.routes.SetOwnDown(down) {
		r.broadcastReport(r.self, "")
	}
	r.routes.Compute(direct)
}

// broadcastReport has a coordinator's report go over all links but that to the
// coordinator it came from.
func (r *Router) broadcastReport(about, from string) {
	for _, l := range r.allLinks() {
		if l.id == from {
			continue
		}
		l.outbox.Mu.Lock()
		l.queueReport(about)
		l.outbox.Mu.Unlock()
	}
}

// handleReport takes what a coordinator says of its own links or of another's.
func (in *inLink) handleReport(body []byte) error {
	about, rep, err := route.ParseReport(body)
	if err != nil {
		return link.ProtocolError(err.Error())
	}
	r := in.r
	if r.mesh || !r.routes.Merge(about, rep) {
		return nil
	}
	from := in.from
	if about == r.self {
		from = ""
	}
	r.broadcastReport(about, from)
	r.routes.Recompute()
	return nil
}

// parkUntilTick has a stream wait for the next tick; the shard's mu is held.
func (r *Router) parkUntilTick(st *stream) {
	if st.waitingForTick {
		return
	}
	st.waitingForTick = true
	r.parkedMu.Lock()
	r.parked = append(r.parked, st)
	r.parkedMu.Unlock()
}

// resumeParked pumps the streams that wait for the tick.
func (r *Router) resumeParked() {
	r.parkedMu.Lock()
	streams := r.parked
	r.parked = nil
	r.parkedMu.Unlock()
	for _, st := range streams {
		st.shard.mu.Lock()
		st.waitingForTick = false
		r.pump(st, nil)
		st.shard.mu.Unlock()
	}
}
