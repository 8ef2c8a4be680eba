package router

import (
	"encoding/binary"
	"time"

	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

const (
	relayVersion = 2 // of links that take relays and reports
	relayHead    = 1 + 8 + 2
	maxTransits  = 4096 // routes a link keeps parsed
)

// sourceRoute is what a relay says before its data body.
type sourceRoute struct {
	hops  byte
	epoch uint64
	code  []byte // the route
}

func (sr *sourceRoute) size() int {
	if sr == nil {
		return 0
	}
	return relayHead + len(sr.code)
}

func appendSourceRoute(dst []byte, sr *sourceRoute) []byte {
	dst = append(dst, sr.hops)
	dst = binary.BigEndian.AppendUint64(dst, sr.epoch)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(sr.code)))
	return append(dst, sr.code...)
}

// parseSourceRoute reads it and returns the data body. code aliases b.
func parseSourceRoute(b []byte) (sr sourceRoute, body []byte, err error) {
	if len(b) < relayHead {
		return sr, nil, protocolErrorf("relay of %d bytes, the head alone has %d", len(b), relayHead)
	}
	sr.hops, sr.epoch = b[0], binary.BigEndian.Uint64(b[1:])
	n := int(binary.BigEndian.Uint16(b[9:]))
	b = b[relayHead:]
	if n > len(b) || n > route.MaxCode {
		return sr, nil, protocolErrorf("a way of %d bytes where %d are left", n, len(b))
	}
	sr.code = b[:n:n]
	return sr, b[n:], nil
}

type transitKey struct {
	hops byte
	code string
}

// transit returns the route of a relay that came by this link. It is called by
// the reader only.
func (in *inLink) transit(sr *sourceRoute) (*route.Transit, error) {
	if tr, ok := in.transits[transitKey{sr.hops, string(sr.code)}]; ok {
		return tr, nil
	}
	tr, err := route.ParseTransit(sr.code, sr.hops, in.from, in.r.self)
	if err != nil {
		return nil, protocolError(err.Error())
	}
	if in.transits == nil || len(in.transits) >= maxTransits {
		in.transits = make(map[transitKey]*route.Transit)
	}
	in.transits[transitKey{sr.hops, string(tr.Code)}] = tr
	return tr, nil
}

// checkRoute judges the route of a relay: accepted, or why not. When final is false
// it gives no answer (false) on what a fresh directory could change. in's mu
// is held.
func (in *inLink) checkRoute(tr *route.Transit, m *wire.Message, final bool, fault *wire.Error) (verdict, bool) {
	r := in.r
	if tr.Forged != "" {
		r.rejectRoute(in, tr, m, tr.Forged)
		return forged, true
	}
	g := r.routes.Graph()
	switch {
	case tr.Linked(g):
		return accepted, true
	case !final:
		return 0, false
	case fault != nil:
		return unchecked, true
	case !g.Has(tr.Origin):
		r.rejectRoute(in, tr, m, "its origin is not a coordinator of this cluster")
		return forged, true
	}
	r.stats.inc(cNoRoute) // the origin may not know yet who is there
	return noRoute, true
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
	route   sourceRoute
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
		route: sourceRoute{hops: msg.transit.Hops + 1, epoch: msg.routeEpoch, code: msg.transit.Code},
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
	sr, body, err := parseSourceRoute(body)
	if err != nil {
		return err
	}
	tr, err := in.transit(&sr)
	if err != nil {
		return err
	}
	d, err := parseData(body)
	if err != nil {
		return err
	}
	return in.handleMessage(&d, owned, since, tr, sr.epoch)
}
