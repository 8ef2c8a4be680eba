package router

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/router/topology"
	"github.com/folkmoot/folkmoot/wire"
)

const (
	relayVersion = 2       // of links that take relays and reports
	maxRouteLen  = 256     // coordinators on a route
	maxRouteCode = 1 << 14 // bytes of it in a frame
	relayHead    = 1 + 8 + 2
	maxTransits  = 4096 // routes a link keeps parsed
)

// appendRouteIDs appends the ids of a route as a relay holds them.
func appendRouteIDs(dst []byte, ids []string) []byte {
	for _, id := range ids {
		dst = appendID(dst, id)
	}
	return dst
}

// sourceRoute is what a relay says before its data body.
type sourceRoute struct {
	hops  byte
	epoch uint64
	code  []byte // the route
}

func (route *sourceRoute) size() int {
	if route == nil {
		return 0
	}
	return relayHead + len(route.code)
}

func appendSourceRoute(dst []byte, route *sourceRoute) []byte {
	dst = append(dst, route.hops)
	dst = binary.BigEndian.AppendUint64(dst, route.epoch)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(route.code)))
	return append(dst, route.code...)
}

// parseSourceRoute reads it and returns the data body. code aliases b.
func parseSourceRoute(b []byte) (route sourceRoute, body []byte, err error) {
	if len(b) < relayHead {
		return route, nil, protocolErrorf("relay of %d bytes, the head alone has %d", len(b), relayHead)
	}
	route.hops, route.epoch = b[0], binary.BigEndian.Uint64(b[1:])
	n := int(binary.BigEndian.Uint16(b[9:]))
	b = b[relayHead:]
	if n > len(b) || n > maxRouteCode {
		return route, nil, protocolErrorf("a way of %d bytes where %d are left", n, len(b))
	}
	route.code = b[:n:n]
	return route, b[n:], nil
}

// transit is a route that relays take through here, or to here.
type transit struct {
	origin string
	next   string // "" if this is its end
	ids    []string
	code   []byte
	hops   byte   // taken so far
	forged string // why it can not be true; "" if it can

	checkedGraph *topology.Graph // for which possible holds; guarded by the link's mu
	linked       bool
}

type transitKey struct {
	hops byte
	code string
}

// transit returns the way of a relay that came by this link. It is called by
// the reader only.
func (in *inLink) transit(route *sourceRoute) (*transit, error) {
	if tr, ok := in.transits[transitKey{route.hops, string(route.code)}]; ok {
		return tr, nil
	}
	tr := &transit{code: slices.Clone(route.code), hops: route.hops}
	for b := route.code; len(b) > 0; {
		id, rest, err := cutID(b)
		if err != nil {
			return nil, err
		}
		tr.ids, b = append(tr.ids, id), rest
	}
	at := int(route.hops)
	if at == 0 || at >= len(tr.ids) || len(tr.ids) > maxRouteLen {
		return nil, protocolErrorf("%d hops on a way of %d coordinators", at, len(tr.ids))
	}
	tr.origin = tr.ids[0]
	if at+1 < len(tr.ids) {
		tr.next = tr.ids[at+1]
	}
	sorted := slices.Clone(tr.ids)
	slices.Sort(sorted)
	switch {
	case tr.ids[at-1] != in.from:
		tr.forged = "it does not pass the coordinator it came from"
	case tr.ids[at] != in.r.self:
		tr.forged = "it does not pass this coordinator"
	case len(slices.Compact(sorted)) != len(tr.ids):
		tr.forged = "it goes in a circle"
	}
	if in.transits == nil || len(in.transits) >= maxTransits {
		in.transits = make(map[transitKey]*transit)
	}
	in.transits[transitKey{route.hops, string(tr.code)}] = tr
	return tr, nil
}

// checkRoute judges the way of a relay: accepted, or why not. When final is false
// it gives no answer (false) on what a fresh directory could change. in's mu
// is held.
func (in *inLink) checkRoute(tr *transit, m *wire.Message, final bool, fault *wire.Error) (verdict, bool) {
	r := in.r
	if tr.forged != "" {
		r.rejectRoute(in, tr, m, tr.forged)
		return forged, true
	}
	g := r.routing.graph.Load()
	if tr.checkedGraph != g {
		tr.checkedGraph, tr.linked = g, true
		for i := 1; i < len(tr.ids); i++ {
			tr.linked = tr.linked && g.Linked(tr.ids[i-1], tr.ids[i])
		}
	}
	switch {
	case tr.linked:
		return accepted, true
	case !final:
		return 0, false
	case fault != nil:
		return unchecked, true
	case !g.Has(tr.origin):
		r.rejectRoute(in, tr, m, "its origin is not a coordinator of this cluster")
		return forged, true
	}
	r.stats.inc(cNoRoute) // the origin may not know yet who is there
	return noRoute, true
}

func (r *Router) rejectRoute(in *inLink, tr *transit, m *wire.Message, reason string) {
	r.stats.inc(cForgedRoute)
	if r.forgeryLog.Allow() {
		r.log.Warn("message dropped: its way can not be true", "reason", reason, "way", tr.ids, "from", m.From, "to", m.To, "link", in.from)
	}
}

// forwardedFrom is where a message that is only passed on came from.
type forwardedFrom struct {
	in      *inLink
	id      uint32 // on that link
	session string
	epoch   uint64
	route   sourceRoute
}

// forward hands a message to the next coordinator on its route, or says at once
// why not. The message is ours. No lock is held.
func (in *inLink) forward(msg *incoming) {
	r := in.r
	key := streamKey{msg.m.From, msg.m.To}
	deadline := msg.deadline
	r.linksMu.RLock()
	l := r.links[msg.transit.next]
	r.linksMu.RUnlock()
	// Its own stream: those of another route neither wait for it nor it for them.
	ownKey := streamKey{string(msg.transit.code) + "\x00" + key.from, key.to}
	sh := r.shardOf(ownKey)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case in.fenced(key):
		in.noteVerdict(msg.id, key, noRoute)
		return
	case l == nil:
		r.stats.inc(cNoRoute)
		in.noteVerdict(msg.id, key, noRoute)
		return
	}
	st := sh.streams[ownKey]
	if st != nil && st.draining {
		r.stats.inc(cNoRoute)
		in.noteVerdict(msg.id, key, noRoute)
		return
	}
	size := cost(&msg.m)
	if !l.quota.acquire(size) {
		in.noteVerdict(msg.id, key, routeBusy)
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
		route: sourceRoute{hops: msg.transit.hops + 1, epoch: msg.routeEpoch, code: msg.transit.code},
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
			r.returnVerdict(st.parked.pop(), expired)
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
		r.returnVerdict(st.parked.pop(), noRoute)
	}
}

// returnVerdict passes a verdict on to where a message came from, and forgets it.
// It may be called with a shard's mu held, never with a link's.
func (r *Router) returnVerdict(e *entry, v verdict) {
	e.forwarded.in.noteVerdict(e.forwarded.id, streamKey{e.m.From, e.m.To}, v)
	freeEntry(e)
}

// handleForwardVerdict handles a verdict on a message that was passed on. If it comes back
// then those behind it do too, before anything else of its stream leaves: those
// that wait here, and those that come until all in flight have their outcomes.
// The fence alone would not do, since the link the message came by may have
// ended while those behind it came by the next.
func (l *outLink) handleForwardVerdict(e *entry, v verdict) {
	st := e.stream
	st.shard.mu.Lock()
	defer st.shard.mu.Unlock()
	st.clearLarge(e.large)
	l.r.returnVerdict(e, v)
	if v.comesBack() {
		l.seen.Add(1)
		st.draining = true
		l.r.returnParked(st)
	}
	l.r.finishInFlight(st, 1)
}

// fenced tells whether a stream's messages must come back. It is called with a
// shard's mu held.
func (in *inLink) fenced(key streamKey) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	_, ok := in.byKey[key]
	return ok
}

// noteVerdict has the writer tell an outcome, unless the link has ended.
func (in *inLink) noteVerdict(id uint32, key streamKey, v verdict) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return
	}
	in.appendVerdict(id, key, v)
	wake(in.wake)
}

// handleRelay handles one message with a route that came in one frame.
func (in *inLink) handleRelay(body []byte) error {
	return in.handleRelayed(body, false, time.Time{})
}

func (in *inLink) handleRelayed(body []byte, owned bool, since time.Time) error {
	route, body, err := parseSourceRoute(body)
	if err != nil {
		return err
	}
	tr, err := in.transit(&route)
	if err != nil {
		return err
	}
	d, err := parseData(body)
	if err != nil {
		return err
	}
	return in.handleMessage(&d, owned, since, tr, route.epoch)
}
