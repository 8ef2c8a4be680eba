package router

import (
	"encoding/binary"
	"time"

	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of what a link may have wait for a fresh directory.
const (
	maxHeldMsgs  = 16 << 10
	maxHeldBytes = 16 << 20
)

// incoming is one message that came by a link.
type incoming struct {
	m        wire.Message
	id       uint32
	session  string
	epoch    uint64
	deadline time.Time // zero for one that never waited

	transit    *route.Transit // nil for one that came from its origin without a route
	routeEpoch uint64

	consumer *Consumer // to be told of it
}

// heldFrom are the messages of one sender that wait for a fresh directory, and
// those that came behind them.
type heldFrom struct {
	msgs  []incoming
	final int // of them, so many were there when the round began: it decides
}

// partialMessage is a large message of which not all chunks are here.
type partialMessage struct {
	pieces [][]byte // as they came: nothing large is moved while others wait
	have   int
	total  int
	since  time.Time
	relay  bool
}

// handleChunk handles one piece of a large message.
func (in *inLink) handleChunk(body []byte) error {
	if len(body) < 5 {
		return protocolErrorf("a chunk of %d bytes", len(body))
	}
	id, flags := binary.BigEndian.Uint32(body), body[4]
	body = body[5:]
	p := in.partials[id]
	if (flags&chunkFirst != 0) == (p != nil) {
		return protocolErrorf("chunk with flags %d of message %d, begun: %t", flags, id, p != nil)
	}
	if flags&chunkAbort != 0 {
		if p == nil {
			return protocolErrorf("message %d is given up before it began", id)
		}
		delete(in.partials, id)
		return nil
	}
	if p == nil {
		if len(body) < 4 {
			return protocolErrorf("the first chunk of message %d has no length", id)
		}
		total := binary.BigEndian.Uint32(body)
		body = body[4:]
		if total <= maxBody || total > maxLarge {
			return protocolErrorf("message %d in chunks announces %d bytes, possible are %d to %d", id, total, maxBody+1, maxLarge)
		}
		if len(in.partials) >= largeAtOnce {
			return protocolErrorf("more than %d large messages at once", largeAtOnce)
		}
		p = &partialMessage{total: int(total), since: time.Now(), relay: flags&chunkRelay != 0}
		in.partials[id] = p
	}
	if err := p.add(body); err != nil {
		return err
	}
	if flags&chunkLast == 0 {
		return nil
	}
	delete(in.partials, id)
	if p.have != p.total {
		return protocolErrorf("message %d ends after %d of %d bytes", id, p.have, p.total)
	}
	var tr *route.Transit
	if p.relay {
		sr, _, err := parseSourceRoute(p.pieces[0])
		if err != nil {
			return err
		}
		if tr, err = in.transit(&sr); err != nil {
			return err
		}
	}
	// Putting it together takes its time: others need not wait for that, and
	// the next one of the stream comes after the outcome of this one only.
	if in.assembling.Add(1) <= largeAtOnce {
		in.r.goTracked(func() {
			defer in.assembling.Add(-1)
			err := in.handleLarge(id, p, tr)
			if err == nil {
				err = in.flush()
			}
			if err != nil {
				in.fail(err)
			}
		})
		return nil
	}
	defer in.assembling.Add(-1)
	return in.handleLarge(id, p, tr)
}

// handleLarge handles a large message that is here.
func (in *inLink) handleLarge(id uint32, p *partialMessage, tr *route.Transit) error {
	var sr sourceRoute
	body := p.join()
	if p.relay {
		var err error
		if sr, body, err = parseSourceRoute(body); err != nil {
			return err
		}
	}
	d, err := parseData(body)
	if err != nil {
		return err
	}
	if d.id != id {
		return protocolErrorf("message %d is in the chunks of message %d", d.id, id)
	}
	m, err := parseMessage(d.message, nil)
	if err != nil {
		return err
	}
	return in.handleParsed(&d, m, new(resolved), true, p.since, tr, sr.epoch, WriteLater)
}

// add keeps a piece.
func (p *partialMessage) add(b []byte) error {
	if len(b) > p.total-p.have {
		return protocolErrorf("a large message of %d bytes is longer than announced", p.total)
	}
	p.pieces = append(p.pieces, append([]byte(nil), b...))
	p.have += len(b)
	return nil
}

// join puts the pieces together. It never holds more than twice what has come.
func (p *partialMessage) join() []byte {
	body := make([]byte, 0, p.total)
	for i, b := range p.pieces {
		body = append(body, b...)
		p.pieces[i] = nil
	}
	return body
}

// handleMessage judges one message and notes its outcome, or sends it on, or holds
// it. The payload aliases the read buffer unless owned is true.
func (in *inLink) handleMessage(d *dataFrame, owned bool, since time.Time, tr *route.Transit, epoch uint64) error {
	m, err := parseMessage(d.message, &in.names)
	if err != nil {
		return err
	}
	return in.handleParsed(d, m, in.resolve(streamKey{m.From, m.To}), owned, since, tr, epoch, WriteMode(!in.frames.ready()))
}

// handleParsed is the rest of handleMessage. res is what is known of the stream; mode is WriteNow
// when nothing else waits for the caller.
func (in *inLink) handleParsed(d *dataFrame, m wire.Message, res *resolved, owned bool, since time.Time, tr *route.Transit, epoch uint64, mode WriteMode) error {
	msg := incoming{m: m, id: d.id, epoch: d.epoch, transit: tr, routeEpoch: epoch}
	if !since.IsZero() {
		msg.deadline = since.Add(time.Duration(d.remaining) * time.Millisecond)
	}
	key := streamKey{m.From, m.To}
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return nil
	}
	if err := in.lift(d.seen); err != nil {
		in.mu.Unlock()
		return err
	}
	h := in.held[m.From]
	if h == nil {
		switch v, ok := in.judge(&msg, res, d.session, owned, false, nil); {
		case ok && v == toForward:
			in.forwarding.Add(1)
			in.mu.Unlock()
			msg.makeOwned(d, owned, &in.slab)
			in.forward(&msg)
			in.forwarding.Done()
			return nil
		case ok:
			in.appendVerdict(msg.id, key, v)
			in.mu.Unlock()
			msg.consumer.wake(mode)
			return nil
		}
	}
	defer in.mu.Unlock()
	size := cost(&m)
	if in.heldMsgs >= maxHeldMsgs || in.heldBytes >= maxHeldBytes {
		in.appendVerdict(msg.id, key, busy)
		return nil
	}
	msg.makeOwned(d, owned, &in.slab)
	in.heldMsgs++
	in.heldBytes += size
	if h == nil {
		h = new(heldFrom)
		in.held[m.From] = h
		in.r.lookups.enqueue(senderLookup{in, m.From})
	}
	h.msgs = append(h.msgs, msg)
	return nil
}

// makeOwned makes a message last beyond the read buffer.
func (msg *incoming) makeOwned(d *dataFrame, owned bool, short *slab) {
	if msg.deadline.IsZero() {
		msg.deadline = time.Now().Add(time.Duration(d.remaining) * time.Millisecond)
	}
	msg.session = string(d.session)
	if !owned {
		short.own(&msg.m)
	}
}

// slab is memory that short payloads share: one of them keeps at most slabSize
// from being collected.
type slab struct{ rest []byte }

const (
	slabSize  = 16 << 10
	shortSize = 1 << 10
)

// own copies a payload out of the read buffer.
func (s *slab) own(m *wire.Message) {
	size := m.Size()
	if size > shortSize {
		m.Own()
		return
	}
	if len(s.rest) < size {
		s.rest = make([]byte, slabSize)
	}
	m.MoveTo(s.rest[:0:size])
	s.rest = s.rest[size:]
}

// judge delivers a message or says why not. When final is false it gives no
// answer (false) on what a fresh directory could change; fault is why there is
// no fresh one. mu is held.
// f is what is known of the stream.
func (in *inLink) judge(msg *incoming, res *resolved, session []byte, owned, final bool, fault *wire.Error) (verdict, bool) {
	r, m := in.r, &msg.m
	origin := in.from
	if _, ok := in.byKey[streamKey{m.From, m.To}]; ok {
		if msg.transit != nil {
			return noRoute, true
		}
		return moved, true
	}
	if !msg.deadline.IsZero() && !time.Now().Before(msg.deadline) {
		return expired, true
	}
	if msg.transit != nil {
		v, ok := in.checkRoute(msg.transit, m, final, fault)
		switch {
		case !ok || v != accepted:
			return v, ok
		case msg.transit.Next != "":
			return toForward, true
		}
		origin = msg.transit.Origin
	}
	home := res.home
	if home == "" {
		home, _, _, _ = r.dir.Home(m.From)
	}
	if home != origin {
		switch {
		case !final:
			return 0, false
		case fault != nil:
			return unchecked, true
		}
		r.stats.inc(cForged)
		if r.forgeryLog.Allow() {
			r.log.Warn("message dropped: its sender is not at home where it came from", "from", m.From, "to", m.To, "link", in.from, "origin", origin, "home", home)
		}
		return forged, true
	}
	box := res.box
	if box == nil {
		r.mu.RLock()
		box = r.mailboxByName[m.To]
		r.mu.RUnlock()
	}
	if box != nil && box.session == string(session) && box.hasEpoch(msg.epoch) {
		if !owned {
			in.slab.own(m)
		}
		var v verdict
		if msg.transit == nil {
			v, msg.consumer = box.put(m)
		} else {
			v = oldEpoch
			if !r.routes.InEpoch(origin, msg.routeEpoch, func() { v, msg.consumer = box.put(m) }) {
				r.stats.inc(cOutOfEpoch)
			}
		}
		switch v {
		case accepted:
			r.stats.inc(cReceived)
		case busy:
			r.stats.inc(cMailboxFull)
		}
		return v, true
	}
	switch {
	case !final:
		return 0, false
	case fault != nil:
		return unchecked, true
	}
	r.stats.inc(cMoved)
	if loc := r.locate(m.To); loc.ok && (loc.home != r.self || loc.session != string(session) || loc.epoch != msg.epoch) {
		return moved, true
	}
	return unknownTo, true
}

// resolved is what was looked up for a sender and a receiver the last time, as long
// as it holds; empty where it does not.
type resolved struct {
	key          streamKey
	home         string   // of the sender
	box          *Mailbox // of the receiver
	version      uint64   // of the directory, before it was asked
	namesVersion uint64   // of the mailboxes, the same
}

// maxResolved bounds the flows a link remembers; more begin anew.
const maxResolved = 1024

// resolve returns what is known of a stream. It is called by the reader only, and
// asks for what is not known any more.
func (in *inLink) resolve(key streamKey) *resolved {
	r := in.r
	version, epoch := r.dir.Version(), r.namesVersion.Load()
	res := in.lastResolved
	if res == nil || res.key != key {
		res = in.resolvedByKey[key]
		in.lastResolved = res
	}
	if res != nil && res.version == version && res.namesVersion == epoch {
		return res
	}
	res = &resolved{key: key, version: version, namesVersion: epoch}
	res.home, _, _, _ = r.dir.Home(key.from)
	r.mu.RLock()
	res.box = r.mailboxByName[key.to]
	r.mu.RUnlock()
	if in.resolvedByKey == nil || len(in.resolvedByKey) >= maxResolved {
		in.resolvedByKey = make(map[streamKey]*resolved)
	}
	in.resolvedByKey[key], in.lastResolved = res, res
	return res
}

// senderLookup has the messages of one sender wait for a fresh directory.
type senderLookup struct {
	in   *inLink
	from string
}

func (a senderLookup) lookupStarted() {
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	h := a.in.held[a.from]
	h.final = len(h.msgs)
}

func (a senderLookup) lookupDone(err *wire.Error) {
	in := a.in
	in.r.refreshGraph() // routes are judged by it
	in.mu.Lock()
	var none resolved
	h := in.held[a.from]
	for len(h.msgs) > 0 && !in.closed {
		msg := &h.msgs[0]
		v, ok := in.judge(msg, &none, []byte(msg.session), true, h.final > 0, err)
		if !ok {
			in.r.lookups.enqueue(a)
			in.mu.Unlock()
			return
		}
		if v == toForward {
			in.forwarding.Add(1)
			in.mu.Unlock()
			in.forward(msg) // what came meanwhile is behind it in h
			in.forwarding.Done()
			in.mu.Lock()
			msg = &h.msgs[0]
		} else {
			in.appendVerdict(msg.id, streamKey{msg.m.From, msg.m.To}, v)
			msg.consumer.wake(WriteLater)
		}
		in.heldMsgs--
		in.heldBytes -= cost(&msg.m)
		h.msgs = h.msgs[1:]
		h.final--
	}
	delete(in.held, a.from)
	in.mu.Unlock()
	if err := in.flush(); err != nil {
		in.conn.Close()
	}
}
