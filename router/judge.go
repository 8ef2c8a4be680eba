package router

import (
	"time"

	"github.com/folkmoot/folkmoot/router/link"
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

// handleChunk handles one piece of a large message.
func (in *inLink) handleChunk(body []byte) error {
	whole, err := in.chunks.Add(body)
	if err != nil || whole == nil {
		return err
	}
	var tr *route.Transit
	if whole.Relay {
		sr, _, err := link.ParseSourceRoute(whole.First())
		if err != nil {
			return err
		}
		if tr, err = in.transit(&sr); err != nil {
			return err
		}
	}
	// Putting it together takes its time: others need not wait for that, and
	// the next one of the stream comes after the outcome of this one only.
	if in.assembling.Add(1) <= link.LargeAtOnce {
		in.r.goTracked(func() {
			defer in.assembling.Add(-1)
			err := in.handleLarge(whole, tr)
			if err == nil {
				err = in.inbox.Flush()
			}
			if err != nil {
				in.fail(err)
			}
		})
		return nil
	}
	defer in.assembling.Add(-1)
	return in.handleLarge(whole, tr)
}

// handleLarge handles a large message that is here.
func (in *inLink) handleLarge(whole *link.Partial, tr *route.Transit) error {
	var sr link.SourceRoute
	body := whole.Join()
	if whole.Relay {
		var err error
		if sr, body, err = link.ParseSourceRoute(body); err != nil {
			return err
		}
	}
	d, err := link.ParseData(body)
	if err != nil {
		return err
	}
	if d.ID != whole.ID {
		return link.Malformed("message %d is in the chunks of message %d", d.ID, whole.ID)
	}
	m, err := link.ParseMessage(d.Message, nil)
	if err != nil {
		return err
	}
	a := arrival{data: d, owned: true, since: whole.Since, transit: tr, routeEpoch: sr.Epoch, mode: WriteLater}
	return in.handleParsed(&a, m, new(resolved))
}

// arrival is one message as it came by a link.
type arrival struct {
	data       link.Data
	owned      bool           // the payload does not alias the read buffer
	since      time.Time      // when it began to come; zero: just now
	transit    *route.Transit // nil for one that came from its origin without a route
	routeEpoch uint64
	mode       WriteMode // WriteNow when nothing else waits for the caller
}

// handleMessage judges one message that came in one frame and notes its outcome, or
// sends it on, or holds it.
func (in *inLink) handleMessage(a *arrival) error {
	m, err := link.ParseMessage(a.data.Message, &in.names)
	if err != nil {
		return err
	}
	a.mode = WriteMode(!in.inbox.Ready())
	return in.handleParsed(a, m, in.resolve(streamKey{m.From, m.To}))
}

// handleParsed is the rest of handleMessage. res is what is known of the stream.
func (in *inLink) handleParsed(a *arrival, m wire.Message, res *resolved) error {
	msg := incoming{m: m, id: a.data.ID, epoch: a.data.Epoch, transit: a.transit, routeEpoch: a.routeEpoch}
	if !a.since.IsZero() {
		msg.deadline = a.since.Add(time.Duration(a.data.Remaining) * time.Millisecond)
	}
	key := streamKey{m.From, m.To}
	in.inbox.Mu.Lock()
	if in.closed {
		in.inbox.Mu.Unlock()
		return nil
	}
	if err := in.lift(a.data.Seen); err != nil {
		in.inbox.Mu.Unlock()
		return err
	}
	h := in.held[m.From]
	if h == nil {
		switch v, ok := in.judge(&msg, &evidence{res: res, session: a.data.Session, owned: a.owned}); {
		case ok && v == toForward:
			in.forwarding.Add(1)
			in.inbox.Mu.Unlock()
			msg.makeOwned(a, &in.slab)
			in.forward(&msg)
			in.forwarding.Done()
			return nil
		case ok:
			in.appendVerdict(msg.id, key, v)
			in.inbox.Mu.Unlock()
			msg.consumer.wake(a.mode)
			return nil
		}
	}
	defer in.inbox.Mu.Unlock()
	size := cost(&m)
	if in.heldMsgs >= maxHeldMsgs || in.heldBytes >= maxHeldBytes {
		in.appendVerdict(msg.id, key, link.MailboxFull)
		return nil
	}
	msg.makeOwned(a, &in.slab)
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
func (msg *incoming) makeOwned(a *arrival, slab *link.Slab) {
	if msg.deadline.IsZero() {
		msg.deadline = time.Now().Add(time.Duration(a.data.Remaining) * time.Millisecond)
	}
	msg.session = string(a.data.Session)
	if !a.owned {
		slab.Own(&msg.m)
	}
}

// evidence is what a message is judged by.
type evidence struct {
	res     *resolved   // what is known of its stream
	session []byte      // of the receiver, as the dialler knows it
	owned   bool        // the payload does not alias the read buffer
	final   bool        // the directory is as fresh as can be had
	fault   *wire.Error // with final: why it is not fresh; nil if it is
}

// judge delivers a message or says why not. Unless the evidence is final it gives
// no answer (false) on what a fresh directory could change. The inbox's Mu is held.
func (in *inLink) judge(msg *incoming, ev *evidence) (v link.Verdict, certain bool) {
	if _, ok := in.byKey[streamKey{msg.m.From, msg.m.To}]; ok {
		if msg.transit != nil {
			return link.NoRoute, true
		}
		return link.Moved, true
	}
	if !msg.deadline.IsZero() && !time.Now().Before(msg.deadline) {
		return link.Expired, true
	}
	origin := in.from
	if tr := msg.transit; tr != nil {
		v, certain = in.checkRoute(tr, &msg.m, ev)
		switch {
		case !certain || v != link.Accepted:
			return v, certain
		case tr.Next != "":
			return toForward, true
		}
		origin = tr.Origin
	}
	if v, certain = in.checkSender(msg, origin, ev); !certain || v != link.Accepted {
		return v, certain
	}
	box := ev.res.box
	if box == nil {
		box = in.r.mailboxOf(msg.m.To)
	}
	if box != nil && box.session == string(ev.session) && box.hasEpoch(msg.epoch) {
		if !ev.owned {
			in.slab.Own(&msg.m)
		}
		return in.deliver(msg, box, origin), true
	}
	return in.judgeAbsent(msg, ev)
}

// checkSender judges whether a message's sender is at home where it came from. mu
// is held.
func (in *inLink) checkSender(msg *incoming, origin string, ev *evidence) (v link.Verdict, certain bool) {
	r, m := in.r, &msg.m
	home := ev.res.home
	if home == "" {
		home, _, _, _ = r.dir.Home(m.From)
	}
	switch {
	case home == origin:
		return link.Accepted, true
	case !ev.final:
		return 0, false
	case ev.fault != nil:
		return link.Unchecked, true
	}
	r.stats.inc(cForged)
	if r.forgeryLog.Allow() {
		r.log.Warn("message dropped: its sender is not at home where it came from", "from", m.From, "to", m.To, "link", in.from, "origin", origin, "home", home)
	}
	return link.Forged, true
}

// deliver puts a message into its receiver's mailbox; the consumer is to be woken.
// The inbox's Mu is held.
func (in *inLink) deliver(msg *incoming, box *Mailbox, origin string) (v link.Verdict) {
	r := in.r
	if msg.transit == nil {
		v, msg.consumer = box.put(&msg.m)
	} else {
		v = link.OldEpoch
		if !r.routes.InEpoch(origin, msg.routeEpoch, func() { v, msg.consumer = box.put(&msg.m) }) {
			r.stats.inc(cOutOfEpoch)
		}
	}
	switch v {
	case link.Accepted:
		r.stats.inc(cReceived)
	case link.MailboxFull:
		r.stats.inc(cMailboxFull)
	}
	return v
}

// judgeAbsent says why a message whose receiver has no such mailbox here was not
// delivered. The inbox's Mu is held.
func (in *inLink) judgeAbsent(msg *incoming, ev *evidence) (v link.Verdict, certain bool) {
	switch {
	case !ev.final:
		return 0, false
	case ev.fault != nil:
		return link.Unchecked, true
	}
	r := in.r
	r.stats.inc(cMoved)
	if loc := r.locate(msg.m.To); loc.ok && (loc.home != r.self || loc.session != string(ev.session) || loc.epoch != msg.epoch) {
		return link.Moved, true
	}
	return link.UnknownReceiver, true
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

// maxResolved bounds the streams a link remembers; more begin anew.
const maxResolved = 1024

// resolve returns what is known of a stream. It is called by the reader only, and
// asks for what is not known any more.
func (in *inLink) resolve(key streamKey) *resolved {
	r := in.r
	version, names := r.dir.Version(), r.namesVersion.Load()
	res := in.lastResolved
	if res == nil || res.key != key {
		res = in.resolvedByKey[key]
		in.lastResolved = res
	}
	if res != nil && res.version == version && res.namesVersion == names {
		return res
	}
	res = &resolved{key: key, version: version, namesVersion: names}
	res.home, _, _, _ = r.dir.Home(key.from)
	res.box = r.mailboxOf(key.to)
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
	a.in.inbox.Mu.Lock()
	defer a.in.inbox.Mu.Unlock()
	h := a.in.held[a.from]
	h.final = len(h.msgs)
}

func (a senderLookup) lookupDone(err *wire.Error) {
	in := a.in
	in.r.refreshGraph() // routes are judged by it
	in.inbox.Mu.Lock()
	var none resolved
	h := in.held[a.from]
	for len(h.msgs) > 0 && !in.closed {
		msg := &h.msgs[0]
		v, ok := in.judge(msg, &evidence{res: &none, session: []byte(msg.session), owned: true, final: h.final > 0, fault: err})
		if !ok {
			in.r.lookups.enqueue(a)
			in.inbox.Mu.Unlock()
			return
		}
		if v == toForward {
			in.forwarding.Add(1)
			in.inbox.Mu.Unlock()
			in.forward(msg) // what came meanwhile is behind it in h
			in.forwarding.Done()
			in.inbox.Mu.Lock()
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
	in.inbox.Mu.Unlock()
	if err := in.inbox.Flush(); err != nil {
		in.inbox.Close()
	}
}
