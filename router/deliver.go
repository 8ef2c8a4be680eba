package router

import (
	"encoding/binary"
	"time"

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

	pass *passage // nil for one that came from its origin without a way
	turn uint64

	door *Consumer // to be told of it
}

// heldFrom are the messages of one sender that wait for a fresh directory, and
// those that came behind them.
type heldFrom struct {
	msgs  []incoming
	final int // of them, so many were there when the round began: it decides
}

// partial is a large message of which not all chunks are here.
type partial struct {
	pieces [][]byte // as they came: nothing large is moved while others wait
	have   int
	total  int
	since  time.Time
	relay  bool
}

// chunk handles one piece of a large message.
func (in *inLink) chunk(body []byte) error {
	if len(body) < 5 {
		return broken("a chunk of %d bytes", len(body))
	}
	id, flags := binary.BigEndian.Uint32(body), body[4]
	body = body[5:]
	p := in.large[id]
	if (flags&chunkFirst != 0) == (p != nil) {
		return broken("chunk with flags %d of message %d, begun: %t", flags, id, p != nil)
	}
	if flags&chunkAbort != 0 {
		if p == nil {
			return broken("message %d is given up before it began", id)
		}
		delete(in.large, id)
		return nil
	}
	if p == nil {
		if len(body) < 4 {
			return broken("the first chunk of message %d has no length", id)
		}
		total := binary.BigEndian.Uint32(body)
		body = body[4:]
		if total <= maxBody || total > maxLarge {
			return broken("message %d in chunks announces %d bytes, possible are %d to %d", id, total, maxBody+1, maxLarge)
		}
		if len(in.large) >= largeAtOnce {
			return broken("more than %d large messages at once", largeAtOnce)
		}
		p = &partial{total: int(total), since: time.Now(), relay: flags&chunkRelay != 0}
		in.large[id] = p
	}
	if err := p.add(body); err != nil {
		return err
	}
	if flags&chunkLast == 0 {
		return nil
	}
	delete(in.large, id)
	if p.have != p.total {
		return broken("message %d ends after %d of %d bytes", id, p.have, p.total)
	}
	var pass *passage
	if p.relay {
		t, _, err := parseTrip(p.pieces[0])
		if err != nil {
			return err
		}
		if pass, err = in.passage(&t); err != nil {
			return err
		}
	}
	// Putting it together takes its time: others need not wait for that, and
	// the next one of the pair comes after the outcome of this one only.
	if in.joining.Add(1) <= largeAtOnce {
		in.r.own(func() {
			defer in.joining.Add(-1)
			err := in.whole(id, p, pass)
			if err == nil {
				err = in.flush()
			}
			if err != nil {
				in.fail(err)
			}
		})
		return nil
	}
	defer in.joining.Add(-1)
	return in.whole(id, p, pass)
}

// whole handles a large message that is here.
func (in *inLink) whole(id uint32, p *partial, pass *passage) error {
	var t trip
	body := p.join()
	if p.relay {
		var err error
		if t, body, err = parseTrip(body); err != nil {
			return err
		}
	}
	d, err := parseData(body)
	if err != nil {
		return err
	}
	if d.id != id {
		return broken("message %d is in the chunks of message %d", d.id, id)
	}
	m, err := parseMessage(d.message, nil)
	if err != nil {
		return err
	}
	return in.parsed(&d, m, new(flow), true, p.since, pass, t.turn, WriteLater)
}

// add keeps a piece.
func (p *partial) add(b []byte) error {
	if len(b) > p.total-p.have {
		return broken("a large message of %d bytes is longer than announced", p.total)
	}
	p.pieces = append(p.pieces, append([]byte(nil), b...))
	p.have += len(b)
	return nil
}

// join puts the pieces together. It never holds more than twice what has come.
func (p *partial) join() []byte {
	body := make([]byte, 0, p.total)
	for i, b := range p.pieces {
		body = append(body, b...)
		p.pieces[i] = nil
	}
	return body
}

// message judges one message and notes its outcome, or sends it on, or holds
// it. The payload aliases the read buffer unless owned is true.
func (in *inLink) message(d *data, owned bool, since time.Time, pass *passage, turn uint64) error {
	m, err := parseMessage(d.message, &in.names)
	if err != nil {
		return err
	}
	return in.parsed(d, m, in.flow(pairKey{m.From, m.To}), owned, since, pass, turn, WriteMode(!in.frames.ready()))
}

// parsed is the rest of message. f is what is known of the pair; mode is WriteNow
// when nothing else waits for the caller.
func (in *inLink) parsed(d *data, m wire.Message, f *flow, owned bool, since time.Time, pass *passage, turn uint64, mode WriteMode) error {
	msg := incoming{m: m, id: d.id, epoch: d.epoch, pass: pass, turn: turn}
	if !since.IsZero() {
		msg.deadline = since.Add(time.Duration(d.left) * time.Millisecond)
	}
	key := pairKey{m.From, m.To}
	in.mu.Lock()
	if in.over {
		in.mu.Unlock()
		return nil
	}
	if err := in.lift(d.seen); err != nil {
		in.mu.Unlock()
		return err
	}
	h := in.held[m.From]
	if h == nil {
		switch v, ok := in.judge(&msg, f, d.session, owned, false, nil); {
		case ok && v == goesOn:
			in.sending.Add(1)
			in.mu.Unlock()
			msg.keep(d, owned, &in.short)
			in.sendOn(&msg)
			in.sending.Done()
			return nil
		case ok:
			in.verdict(msg.id, key, v)
			in.mu.Unlock()
			msg.door.tell(mode)
			return nil
		}
	}
	defer in.mu.Unlock()
	size := cost(&m)
	if in.heldMsgs >= maxHeldMsgs || in.heldBytes >= maxHeldBytes {
		in.verdict(msg.id, key, busy)
		return nil
	}
	msg.keep(d, owned, &in.short)
	in.heldMsgs++
	in.heldBytes += size
	if h == nil {
		h = new(heldFrom)
		in.held[m.From] = h
		in.r.lookups.add(senderAsks{in, m.From})
	}
	h.msgs = append(h.msgs, msg)
	return nil
}

// keep makes a message last beyond the read buffer.
func (msg *incoming) keep(d *data, owned bool, short *slab) {
	if msg.deadline.IsZero() {
		msg.deadline = time.Now().Add(time.Duration(d.left) * time.Millisecond)
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
// f is what is known of the pair.
func (in *inLink) judge(msg *incoming, f *flow, session []byte, owned, final bool, fault *wire.Error) (verdict, bool) {
	r, m := in.r, &msg.m
	origin := in.from
	if _, ok := in.byKey[pairKey{m.From, m.To}]; ok {
		if msg.pass != nil {
			return noWay, true
		}
		return moved, true
	}
	if !msg.deadline.IsZero() && !time.Now().Before(msg.deadline) {
		return expired, true
	}
	if msg.pass != nil {
		v, ok := in.admit(msg.pass, m, final, fault)
		switch {
		case !ok || v != accepted:
			return v, ok
		case msg.pass.next != "":
			return goesOn, true
		}
		origin = msg.pass.origin
	}
	home := f.home
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
		r.stats.add(cForged)
		if r.forgeries.Allow() {
			r.log.Warn("message dropped: its sender is not at home where it came from", "from", m.From, "to", m.To, "link", in.from, "origin", origin, "home", home)
		}
		return forged, true
	}
	box := f.box
	if box == nil {
		r.mu.RLock()
		box = r.names[m.To]
		r.mu.RUnlock()
	}
	if box != nil && box.session == string(session) && box.isAt(msg.epoch) {
		if !owned {
			in.short.own(m)
		}
		var v verdict
		if msg.pass == nil {
			v, msg.door = box.put(m)
		} else {
			v = r.inTurn(origin, msg.turn, func() (v verdict) {
				v, msg.door = box.put(m)
				return v
			})
		}
		switch v {
		case accepted:
			r.stats.add(cReceived)
		case busy:
			r.stats.add(cMailboxFull)
		}
		return v, true
	}
	switch {
	case !final:
		return 0, false
	case fault != nil:
		return unchecked, true
	}
	r.stats.add(cMoved)
	if rt := r.route(m.To); rt.ok && (rt.home != r.self || rt.session != string(session) || rt.epoch != msg.epoch) {
		return moved, true
	}
	return unknownTo, true
}

// flow is what was looked up for a sender and a receiver the last time, as long
// as it holds; empty where it does not.
type flow struct {
	key     pairKey
	home    string   // of the sender
	box     *Mailbox // of the receiver
	version uint64   // of the directory, before it was asked
	turn    uint64   // of the mailboxes, the same
}

// maxFlows bounds the flows a link remembers; more begin anew.
const maxFlows = 1024

// flow returns what is known of a pair. It is called by the reader only, and
// asks for what is not known any more.
func (in *inLink) flow(key pairKey) *flow {
	r := in.r
	version, turn := r.dir.Version(), r.boxes.Load()
	f := in.last
	if f == nil || f.key != key {
		f = in.flows[key]
		in.last = f
	}
	if f != nil && f.version == version && f.turn == turn {
		return f
	}
	f = &flow{key: key, version: version, turn: turn}
	f.home, _, _, _ = r.dir.Home(key.from)
	r.mu.RLock()
	f.box = r.names[key.to]
	r.mu.RUnlock()
	if in.flows == nil || len(in.flows) >= maxFlows {
		in.flows = make(map[pairKey]*flow)
	}
	in.flows[key], in.last = f, f
	return f
}

// senderAsks has the messages of one sender wait for a fresh directory.
type senderAsks struct {
	in   *inLink
	from string
}

func (a senderAsks) asks() {
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	h := a.in.held[a.from]
	h.final = len(h.msgs)
}

func (a senderAsks) told(err *wire.Error) {
	in := a.in
	in.r.survey() // ways are judged by it
	in.mu.Lock()
	var none flow
	h := in.held[a.from]
	for len(h.msgs) > 0 && !in.over {
		msg := &h.msgs[0]
		v, ok := in.judge(msg, &none, []byte(msg.session), true, h.final > 0, err)
		if !ok {
			in.r.lookups.add(a)
			in.mu.Unlock()
			return
		}
		if v == goesOn {
			in.sending.Add(1)
			in.mu.Unlock()
			in.sendOn(msg) // what came meanwhile is behind it in h
			in.sending.Done()
			in.mu.Lock()
			msg = &h.msgs[0]
		} else {
			in.verdict(msg.id, pairKey{msg.m.From, msg.m.To}, v)
			msg.door.tell(WriteLater)
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
