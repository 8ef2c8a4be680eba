package router

import (
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

const (
	maxTransits = 4096 // routes a link keeps parsed
)

type transitKey struct {
	hops byte
	code string
}

// transit returns the route of a relay that came by this link. It is called by
// the reader only.
func (in *inLink) transit(sr *link.SourceRoute) (*route.Transit, error) {
	if tr, ok := in.transits[transitKey{sr.Hops, string(sr.Code)}]; ok {
		return tr, nil
	}
	tr, err := route.ParseTransit(sr.Code, sr.Hops, in.from, in.r.self)
	if err != nil {
		return nil, link.ProtocolError(err.Error())
	}
	if in.transits == nil || len(in.transits) >= maxTransits {
		in.transits = make(map[transitKey]*route.Transit)
	}
	in.transits[transitKey{sr.Hops, string(tr.Code)}] = tr
	return tr, nil
}

// checkRoute judges the route of a relay: Accepted, or why not. Unless the evidence is
// final it gives no answer (false) on what a fresh directory could change. The inbox's
// Mu is held.
func (in *inLink) checkRoute(tr *route.Transit, m *wire.Message, ev *evidence) (link.Verdict, bool) {
	r := in.r
	if tr.Forged != "" {
		r.rejectRoute(in, tr, m, tr.Forged)
		return link.Forged, true
	}
	g := r.routes.Graph()
	switch {
	case tr.Linked(g):
		return link.Accepted, true
	case !ev.final:
		return 0, false
	case ev.fault != nil:
		return link.Unchecked, true
	case !g.Has(tr.Origin):
		r.rejectRoute(in, tr, m, "its origin is not a coordinator of this cluster")
		return link.Forged, true
	}
	r.stats.inc(cNoRoute) // the origin may not know yet who is there
	return link.NoRoute, true
}

func (r *Router) rejectRoute(in *inLink, tr *route.Transit, m *wire.Message, reason string) {
	r.stats.inc(cForgedRoute)
	if r.forgeryLog.Allow() {
		r.log.Warn("message dropped: its route cannot be true", "reason", reason, "route", tr.IDs, "from", m.From, "to", m.To, "link", in.from)
	}
}

// forwardedFrom is where a message that is only passed on came from.
type forwardedFrom struct {
	in      *inLink
	id      uint32 // on that link
	session string
	epoch   uint64
	route   link.SourceRoute
}

// forward hands a message to the next coordinator on its route, or says at once
// why not. The message is ours. No lock is held.
func (in *inLink) forward(msg *incoming) {
	r := in.r
	key := streamKey{msg.m.From, msg.m.To}
	deadline := msg.deadline
	r.linksMu.RLock()
	l := r.links[msg.transit.Next]
	r.linksMu.RUnlock()
	// Its own stream: those of another route neither wait for it nor it for them.
	ownKey := streamKey{string(msg.transit.Code) + "\x00" + key.from, key.to}
	sh := r.shardOf(ownKey)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case in.fenced(key):
		in.noteVerdict(msg.id, key, link.NoRoute)
		return
	case l == nil:
		r.stats.inc(cNoRoute)
		in.noteVerdict(msg.id, key, link.NoRoute)
		return
	}
	st := sh.streams[ownKey]
	if st != nil && st.draining {
		r.stats.inc(cNoRoute)
		in.noteVerdict(msg.id, key, link.NoRoute)
		return
	}
	size := cost(&msg.m)
	if !l.quota.Acquire(size) {
		in.noteVerdict(msg.id, key, link.RouteBusy)
		return
	}
	if st == nil {
		st = &stream{key: ownKey, shard: sh, forwardTo: l}
		sh.streams[ownKey] = st
	}
	e := entries.Get().(*entry)
	e.m, e.deadline, e.size, e.quota, e.stream = msg.m, deadline, size, &l.quota, st
	e.forwarded = &forwardedFrom{
		in: in, id: msg.id, session: msg.session, epoch: msg.epoch,
		route: link.SourceRoute{Hops: msg.transit.Hops + 1, Epoch: msg.routeEpoch, Code: msg.transit.Code},
	}
	st.parked.push(e)
	r.pumpForwarded(st)
}

// pumpForwarded is pump for messages that are only passed on. They never wait for a
// link: whoever sent them knows other routes, perhaps. The shard's mu is held.
func (r *Router) pumpForwarded(st *stream) {
	if st.inFlight == 0 {
		st.draining = false
	}
	now := time.Now()
	for e := st.parked.head; e != nil && !st.largeInFlight; e = st.parked.head {
		switch {
		case r.closed.Load():
			r.returnParked(st)
			continue
		case !now.Before(e.deadline):
			r.returnVerdict(st.parked.pop(), link.Expired)
			continue
		}
		st.parked.pop()
		s := st.forwardTo.send(e, st, location{session: e.forwarded.session, epoch: e.forwarded.epoch}, nil, now, WriteLater)
		if s != appended {
			st.parked.prepend(&list{e, e})
			if s == mustGoAlone {
				break
			}
			r.returnParked(st)
			continue
		}
		st.inFlight++
		r.stats.inc(cRelayed)
	}
	r.removeIfIdle(st)
}

// returnParked sends all messages that wait in a stream back to their origin. The
// shard's mu is held.
func (r *Router) returnParked(st *stream) {
	for st.parked.head != nil {
		r.stats.inc(cNoRoute)
		r.returnVerdict(st.parked.pop(), link.NoRoute)
	}
}

// returnVerdict passes a verdict on to where a message came from, and forgets it.
// It may be called with a shard's mu held, never with a link's.
func (r *Router) returnVerdict(e *entry, v link.Verdict) {
	e.forwarded.in.noteVerdict(e.forwarded.id, streamKey{e.m.From, e.m.To}, v)
	freeEntry(e)
}

// handleForwardVerdict handles a verdict on a message that was passed on. If it comes back
// then those behind it do too, before anything else of its stream leaves: those
// that wait here, and those that come until all in flight have their outcomes.
// The fence alone would not do, since the link the message came by may have
// ended while those behind it came by the next.
func (l *outLink) handleForwardVerdict(e *entry, v link.Verdict) {
	st := e.stream
	st.shard.mu.Lock()
	defer st.shard.mu.Unlock()
	st.clearLarge(e.large)
	l.r.returnVerdict(e, v)
	if v.ComesBack() {
		l.seen.Add(1)
		st.draining = true
		l.r.returnParked(st)
	}
	l.r.finishInFlight(st, 1)
}

// fenced tells whether a stream's messages must come back. It is called with a
// shard's mu held.
func (in *inLink) fenced(key streamKey) bool {
	in.inbox.Mu.Lock()
	defer in.inbox.Mu.Unlock()
	_, ok := in.byKey[key]
	return ok
}

// noteVerdict has the writer tell an outcome, unless the link has ended.
func (in *inLink) noteVerdict(id uint32, key streamKey, v link.Verdict) {
	in.inbox.Mu.Lock()
	defer in.inbox.Mu.Unlock()
	if in.closed {
		return
	}
	in.appendVerdict(id, key, v)
	in.inbox.Wake()
}

// handleRelay handles one message with a route that came in one frame.
func (in *inLink) handleRelay(body []byte) error {
	sr, body, err := link.ParseSourceRoute(body)
	if err != nil {
		return err
	}
	tr, err := in.transit(&sr)
	if err != nil {
		return err
	}
	d, err := link.ParseData(body)
	if err != nil {
		return err
	}
	return in.handleMessage(&arrival{data: d, transit: tr, routeEpoch: sr.Epoch})
}
