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
	maxWay       = 256     // coordinators on a way
	maxWayCode   = 1 << 14 // bytes of it in a frame
	relayHead    = 1 + 8 + 2
	maxPassages  = 4096 // ways a link keeps parsed
)

// appendWay appends the ids of a way as a relay holds them.
func appendWay(dst []byte, ids []string) []byte {
	for _, id := range ids {
		dst = appendID(dst, id)
	}
	return dst
}

// trip is what a relay says before its data body.
type trip struct {
	hops byte
	turn uint64
	code []byte // the way
}

func (t *trip) size() int {
	if t == nil {
		return 0
	}
	return relayHead + len(t.code)
}

func appendTrip(dst []byte, t *trip) []byte {
	dst = append(dst, t.hops)
	dst = binary.BigEndian.AppendUint64(dst, t.turn)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.code)))
	return append(dst, t.code...)
}

// parseTrip reads it and returns the data body. code aliases b.
func parseTrip(b []byte) (t trip, body []byte, err error) {
	if len(b) < relayHead {
		return t, nil, broken("relay of %d bytes, the head alone has %d", len(b), relayHead)
	}
	t.hops, t.turn = b[0], binary.BigEndian.Uint64(b[1:])
	n := int(binary.BigEndian.Uint16(b[9:]))
	b = b[relayHead:]
	if n > len(b) || n > maxWayCode {
		return t, nil, broken("a way of %d bytes where %d are left", n, len(b))
	}
	t.code = b[:n:n]
	return t, b[n:], nil
}

// passage is a way that relays take through here, or to here.
type passage struct {
	origin string
	next   string // "" if this is its end
	ids    []string
	code   []byte
	hops   byte   // taken so far
	forged string // why it can not be true; "" if it can

	checked *topology.Graph // for which possible holds; guarded by the link's mu
	fit     bool
}

type passageKey struct {
	hops byte
	code string
}

// passage returns the way of a relay that came by this link. It is called by
// the reader only.
func (in *inLink) passage(t *trip) (*passage, error) {
	if p, ok := in.passages[passageKey{t.hops, string(t.code)}]; ok {
		return p, nil
	}
	p := &passage{code: slices.Clone(t.code), hops: t.hops}
	for b := t.code; len(b) > 0; {
		id, rest, err := cutID(b)
		if err != nil {
			return nil, err
		}
		p.ids, b = append(p.ids, id), rest
	}
	at := int(t.hops)
	if at == 0 || at >= len(p.ids) || len(p.ids) > maxWay {
		return nil, broken("%d hops on a way of %d coordinators", at, len(p.ids))
	}
	p.origin = p.ids[0]
	if at+1 < len(p.ids) {
		p.next = p.ids[at+1]
	}
	sorted := slices.Clone(p.ids)
	slices.Sort(sorted)
	switch {
	case p.ids[at-1] != in.from:
		p.forged = "it does not pass the coordinator it came from"
	case p.ids[at] != in.r.self:
		p.forged = "it does not pass this coordinator"
	case len(slices.Compact(sorted)) != len(p.ids):
		p.forged = "it goes in a circle"
	}
	if in.passages == nil || len(in.passages) >= maxPassages {
		in.passages = make(map[passageKey]*passage)
	}
	in.passages[passageKey{t.hops, string(p.code)}] = p
	return p, nil
}

// admit judges the way of a relay: accepted, or why not. When final is false
// it gives no answer (false) on what a fresh directory could change. in's mu
// is held.
func (in *inLink) admit(p *passage, m *wire.Message, final bool, fault *wire.Error) (verdict, bool) {
	r := in.r
	if p.forged != "" {
		r.forgedWay(in, p, m, p.forged)
		return forged, true
	}
	g := r.atlas.graph.Load()
	if p.checked != g {
		p.checked, p.fit = g, true
		for i := 1; i < len(p.ids); i++ {
			p.fit = p.fit && g.Linked(p.ids[i-1], p.ids[i])
		}
	}
	switch {
	case p.fit:
		return accepted, true
	case !final:
		return 0, false
	case fault != nil:
		return unchecked, true
	case !g.Has(p.origin):
		r.forgedWay(in, p, m, "its origin is not a coordinator of this cluster")
		return forged, true
	}
	r.stats.add(cNoWay) // the origin may not know yet who is there
	return noWay, true
}

func (r *Router) forgedWay(in *inLink, p *passage, m *wire.Message, reason string) {
	r.stats.add(cForgedWay)
	if r.forgeries.Allow() {
		r.log.Warn("message dropped: its way can not be true", "reason", reason, "way", p.ids, "from", m.From, "to", m.To, "link", in.from)
	}
}

// onward is where a message that is only passed on came from.
type onward struct {
	in      *inLink
	id      uint32 // on that link
	session string
	epoch   uint64
	trip    trip
}

// sendOn hands a message to the next coordinator on its way, or says at once
// why not. The message is ours. No lock is held.
func (in *inLink) sendOn(msg *incoming) {
	r := in.r
	key := pairKey{msg.m.From, msg.m.To}
	deadline := msg.deadline
	r.linksMu.RLock()
	l := r.links[msg.pass.next]
	r.linksMu.RUnlock()
	// Its own pair: those of another way neither wait for it nor it for them.
	own := pairKey{string(msg.pass.code) + "\x00" + key.from, key.to}
	sh := r.shardOf(own)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case in.fenced(key):
		in.note(msg.id, key, noWay)
		return
	case l == nil:
		r.stats.add(cNoWay)
		in.note(msg.id, key, noWay)
		return
	}
	p := sh.pairs[own]
	if p != nil && p.hold {
		r.stats.add(cNoWay)
		in.note(msg.id, key, noWay)
		return
	}
	size := cost(&msg.m)
	if !l.acct.take(size) {
		in.note(msg.id, key, crowded)
		return
	}
	if p == nil {
		p = &pair{key: own, shard: sh, onward: l}
		sh.pairs[own] = p
	}
	e := entries.Get().(*entry)
	e.m, e.deadline, e.size, e.acct, e.pair = msg.m, deadline, size, &l.acct, p
	e.onward = &onward{
		in: in, id: msg.id, session: msg.session, epoch: msg.epoch,
		trip: trip{hops: msg.pass.hops + 1, turn: msg.turn, code: msg.pass.code},
	}
	p.parked.push(e)
	r.pumpOn(p)
}

// pumpOn is pump for messages that are only passed on. They never wait for a
// link: whoever sent them knows other ways, perhaps. The shard's mu is held.
func (r *Router) pumpOn(p *pair) {
	if p.inflight == 0 {
		p.hold = false
	}
	now := time.Now()
	for e := p.parked.head; e != nil && !p.cutting; e = p.parked.head {
		switch {
		case r.closed.Load():
			r.turnBack(p)
			continue
		case !now.Before(e.deadline):
			r.tellBack(p.parked.pop(), expired)
			continue
		}
		p.parked.pop()
		s := p.onward.send(e, p, route{session: e.onward.session, epoch: e.onward.epoch}, nil, now, WriteLater)
		if s != appended {
			p.parked.prepend(&list{e, e})
			if s == notAlone {
				break
			}
			r.turnBack(p)
			continue
		}
		p.inflight++
		r.stats.add(cRelayed)
	}
	r.tidy(p)
}

// turnBack sends all messages that wait in a pair back to their origin. The
// shard's mu is held.
func (r *Router) turnBack(p *pair) {
	for p.parked.head != nil {
		r.stats.add(cNoWay)
		r.tellBack(p.parked.pop(), noWay)
	}
}

// tellBack passes a verdict on to where a message came from, and forgets it.
// It may be called with a shard's mu held, never with a link's.
func (r *Router) tellBack(e *entry, v verdict) {
	e.onward.in.note(e.onward.id, pairKey{e.m.From, e.m.To}, v)
	free(e)
}

// passBack handles a verdict on a message that was passed on. If it comes back
// then those behind it do too, before anything else of its pair leaves: those
// that wait here, and those that come until all in flight have their outcomes.
// The fence alone would not do, since the link the message came by may have
// ended while those behind it came by the next.
func (l *outLink) passBack(e *entry, v verdict) {
	p := e.pair
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	p.uncut(e.large)
	l.r.tellBack(e, v)
	if v.back() {
		l.seen.Add(1)
		p.hold = true
		l.r.turnBack(p)
	}
	l.r.landed(p, 1)
}

// fenced tells whether a pair's messages must come back. It is called with a
// shard's mu held.
func (in *inLink) fenced(key pairKey) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	_, ok := in.byKey[key]
	return ok
}

// note has the writer tell an outcome, unless the link has ended.
func (in *inLink) note(id uint32, key pairKey, v verdict) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.over {
		return
	}
	in.verdict(id, key, v)
	rouse(in.wake)
}

// relay handles one message with a way that came in one frame.
func (in *inLink) relay(body []byte) error {
	return in.relayed(body, false, time.Time{})
}

func (in *inLink) relayed(body []byte, owned bool, since time.Time) error {
	t, body, err := parseTrip(body)
	if err != nil {
		return err
	}
	p, err := in.passage(&t)
	if err != nil {
		return err
	}
	d, err := parseData(body)
	if err != nil {
		return err
	}
	return in.message(&d, owned, since, p, t.turn)
}
