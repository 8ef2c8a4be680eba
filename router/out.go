package router

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/prompt"
)

// outLink is the link this coordinator dials to another one. Messages go out
// on it and their outcomes come back. run owns its connection.
type outLink struct {
	r      *Router
	id     string // of the other coordinator
	acct   account
	cancel context.CancelFunc // ends run
	ended  chan struct{}      // closed when run has returned
	wake   chan struct{}      // capacity 1: the writer has work
	heard  chan struct{}      // capacity 1: run need not wait before it dials again
	pen    sync.Mutex         // held by who writes to the connection; taken before mu

	// seen counts the verdicts unknownTo and moved that were read on this
	// connection. It is raised with the shard's mu of the pair held, before
	// anything else of that pair can leave.
	seen atomic.Uint64

	// mu guards what follows. It may be taken with a shard's mu held, never
	// the other way round.
	mu      sync.Mutex
	up      bool
	prompt  *prompt.Writer // of the connection; nil: none
	rest    []byte         // what push could not write: it goes first
	version byte           // that the other end speaks; 0 until it has told
	owed    []string       // coordinators whose report is to be sent
	gone    bool           // run has ended: look for another link
	err     string         // why it is not up
	noDial  bool           // and the last dial failed
	data    backlog        // frames not yet taken by the writer
	held    int            // segments that are kept for entries
	spare   *segment       // for the next frame; may be nil
	control []byte         // the same, first lane
	slots   []*entry       // messages whose outcome is not there, by id
	unused  []uint32       // free slots
	seq     uint64         // of the last message appended
	taken   uint64         // of the last message the writer has taken: it and those before may have left
	large   []*large       // being cut, in turn
	queued  []*large       // to be cut after them
	waiting []*pair        // to be pumped when it is up
	idle    chan struct{}
}

// linkTo returns the link to a coordinator and starts it if there is none; nil
// when the router is closed or has no way to dial.
func (r *Router) linkTo(id string) *outLink {
	r.linksMu.RLock()
	l := r.links[id]
	r.linksMu.RUnlock()
	if l != nil {
		return l
	}
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	if l := r.links[id]; l != nil {
		return l
	}
	if r.closed.Load() {
		return nil
	}
	ctx, cancel := context.WithCancel(r.ctx)
	l = &outLink{
		r: r, id: id, cancel: cancel, ended: make(chan struct{}), wake: make(chan struct{}, 1), heard: make(chan struct{}, 1), err: "connecting",
		acct: account{maxMsgs: int64(r.limits.LinkMessages), maxBytes: int64(r.limits.LinkBytes)},
	}
	r.links[id] = l
	go func() {
		defer close(l.ended)
		l.run(ctx)
	}()
	return l
}

// sending is what became of a send.
type sending int

const (
	appended sending = iota
	notUp            // the pair is pumped when the link is up
	gone             // there is another link by now, or the router is closed
	notAlone         // a large one, while others of its pair are in flight
)

// send gives a message a slot and appends it to the buffer of the link. The mu
// of p's shard is held. A large message goes alone, so that none before it comes
// back while it is cut, and sets p.cutting. w is nil for one that
// goes home without a relay. With WriteNow the caller calls push.
func (l *outLink) send(e *entry, p *pair, rt route, w *way, now time.Time, mode WriteMode) sending {
	d := data{seen: l.seen.Load(), left: remaining(e.deadline, now), epoch: rt.epoch}
	var t *trip
	switch {
	case e.onward != nil:
		t = &e.onward.trip
	case w != nil:
		e.way, e.turn = w, w.to.turn.Load()
		t = &trip{hops: 1, turn: e.turn, code: w.code}
	}
	size := t.size() + dataHead + len(rt.session) + e.m.FrameSize()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.gone:
		return gone
	case t != nil && (!l.up || l.version < relayVersion):
		return notUp
	case size > maxBody && p.inflight > 0:
		return notAlone
	case !l.up:
		if l.r.mesh && !p.waiting {
			p.waiting = true
			l.waiting = append(l.waiting, p)
		}
		return notUp
	}
	if n := len(l.unused); n > 0 {
		e.slot = l.unused[n-1]
		l.unused = l.unused[:n-1]
		l.slots[e.slot] = e
	} else {
		e.slot = uint32(len(l.slots))
		l.slots = append(l.slots, e)
	}
	d.id = e.slot
	l.seq++
	e.seq = l.seq
	if size > maxBody {
		e.keep()
		p.cutting = true
		l.startLarge(newLarge(e, &d, rt.session, t, size))
	} else {
		s := l.room(headSize + size)
		b, start := s.b, len(s.b)
		if t == nil {
			b = beginFrame(b, kindData)
		} else {
			b = appendTrip(beginFrame(b, kindRelay), t)
		}
		b = appendDataHead(b, &d, rt.session)
		b = wire.AppendFrameHead(b, &e.m)
		for _, f := range e.m.Payload {
			b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
			b = append(b, f...)
		}
		endFrame(b, start)
		s.b, s.last = b, e.seq
		if e.lent {
			l.lend(s, e)
		}
	}
	if mode == WriteLater {
		rouse(l.wake)
	}
	return appended
}

// remaining is the time a message has left, as it travels: never 0.
func remaining(deadline, now time.Time) uint32 {
	ms := deadline.Sub(now).Milliseconds()
	return uint32(max(1, min(ms, 1<<31)))
}

// release takes the entries of a batch of outcomes out of their slots. An id
// that is not in use, or whose message has not left whole, is an error.
func (l *outLink) release(batch []byte, to []*entry) ([]*entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; len(batch) > 0; batch = batch[outcomeSize:] {
		id := uint32(batch[0])<<24 | uint32(batch[1])<<16 | uint32(batch[2])<<8 | uint32(batch[3])
		if uint64(id) >= uint64(len(l.slots)) || l.slots[id] == nil || l.slots[id].cutting != nil || l.slots[id].seq > l.taken {
			return to, broken("an outcome for message %d, which is not under way", id)
		}
		e := l.slots[id]
		if e.seg != nil {
			if verdict(batch[4]).back() {
				e.keep() // it may have to leave once more
			}
			l.unlend(e)
		}
		to = append(to, e)
		l.vacate(id)
	}
	return to, nil
}

// vacate frees a slot; mu is held.
func (l *outLink) vacate(id uint32) {
	l.slots[id] = nil
	l.unused = append(l.unused, id)
	if l.idle != nil && len(l.unused) == len(l.slots) {
		close(l.idle)
		l.idle = nil
	}
}

// drained returns a channel that is closed when no outcome is missing.
func (l *outLink) drained() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	if len(l.unused) == len(l.slots) {
		close(c)
	} else {
		l.idle = c
	}
	return c
}

// outcomes tells the senders of a batch, in order.
func (l *outLink) outcomes(batch []byte, scratch *[]*entry) error {
	if len(batch)%outcomeSize != 0 {
		return broken("outcomes of %d bytes", len(batch))
	}
	es, err := l.release(batch, (*scratch)[:0])
	for i := 0; i < len(es); i++ {
		e, v := es[i], verdict(batch[i*outcomeSize+4])
		if v == accepted && e.onward == nil {
			n := 1
			for k := i + 1; k < len(es) && es[k].pair == e.pair && batch[k*outcomeSize+4] == byte(accepted); k++ {
				n++
			}
			l.arrived(es[i : i+n])
			i += n - 1
			continue
		}
		if v > lastVerdict {
			// Its slot is free already: the outcome is one we can not read.
			l.settle(e, wire.Unknown(broken("verdict %d of coordinator %s", v, l.id)))
			err = broken("verdict %d, the last one known is %d", v, lastVerdict)
			continue
		}
		l.outcome(e, v)
	}
	clear(es)
	*scratch = es
	return err
}

// arrived answers messages of one pair that were delivered, and lets the pair
// go on. They are told before the pair counts them as landed, so that nothing
// overtakes them on another way.
func (l *outLink) arrived(es []*entry) {
	p, large := es[0].pair, false
	for _, e := range es {
		large = large || e.large
		if e.way != nil {
			e.wayTold(accepted)
		}
		if !e.answered {
			l.r.answer(e.reply, nil)
		}
		free(e)
	}
	p.shard.mu.Lock()
	p.uncut(large)
	l.r.landed(p, len(es))
	p.shard.mu.Unlock()
}

// outcome handles one verdict. done is called before the pair counts the
// message as landed, so that nothing overtakes it on another way.
func (l *outLink) outcome(e *entry, v verdict) {
	p, r := e.pair, l.r
	if e.onward != nil {
		l.passBack(e, v)
		return
	}
	if !v.back() {
		if e.way != nil {
			e.wayTold(v)
		}
		l.settle(e, refusal(v, e.m.To))
		return
	}
	onTheWay := v == noWay || v == stale // it never came to its receiver's home, or too late
	again := !e.answered && time.Now().Before(e.deadline) && e.stay()
	p.shard.mu.Lock()
	p.hold = true
	p.uncut(e.large)
	e.large = false
	l.seen.Add(1)
	if e.way != nil {
		e.wayTold(v)
	}
	switch {
	case again && onTheWay:
		e.goAgain()
		p.returned.insert(e)
		r.pause(p)
		r.landed(p, 1)
	case again:
		r.stats.add(cRetried)
		e.retried, e.fresh, e.asked, e.freshErr = true, false, false, nil
		p.returned.insert(e)
		r.landed(p, 1)
	}
	p.shard.mu.Unlock()
	switch {
	case again:
	case onTheWay:
		l.settle(e, refusal(v, e.m.To))
	default: // that nobody is signed in only a fresh directory can tell
		l.settle(e, late(e.m.To))
	}
}

// settle answers a message that has left its slot and lets its pair go on.
func (l *outLink) settle(e *entry, err *wire.Error) {
	if e.onward != nil {
		v := expired
		if err.Code == wire.CodeUnknown {
			v = lost
		}
		l.passBack(e, v)
		return
	}
	p := e.pair
	if !e.answered {
		l.r.answer(e.reply, err)
	}
	large := e.large
	free(e)
	p.shard.mu.Lock()
	p.uncut(large)
	l.r.landed(p, 1)
	p.shard.mu.Unlock()
}

// kick pumps every pair that waits for the link.
func (l *outLink) kick() {
	l.mu.Lock()
	pairs := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, p := range pairs {
		p.shard.mu.Lock()
		p.waiting = false
		l.r.pump(p, nil)
		p.shard.mu.Unlock()
	}
}

// lost ends a connection: what may have left is unknown, what certainly has
// not goes back to its pair, to leave by the next connection or another way
// within its time. Reader and writer have ended.
func (l *outLink) lost(cause error) {
	l.pen.Lock()
	l.mu.Lock()
	l.prompt, l.rest = nil, nil
	l.up, l.err, l.version, l.owed = false, cause.Error(), 0, nil
	var es []*entry
	for _, e := range l.slots {
		if e != nil {
			es = append(es, e)
		}
	}
	taken := l.taken
	l.slots, l.unused, l.large, l.queued = nil, nil, nil, nil
	l.data, l.held = nil, 0 // what entries have in segments stays theirs
	l.control = l.control[:0]
	if l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
	l.mu.Unlock()
	l.pen.Unlock()
	slices.SortFunc(es, func(a, b *entry) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for _, e := range es {
		e.seg = nil
	}
	unknown := wire.Unknown(broken("the link to coordinator %s was lost: %v", l.id, cause))
	for _, e := range es {
		p := e.pair
		whole := e.cutting == nil
		e.cutting = nil
		if e.answered || whole && e.seq <= taken || !e.stay() {
			if e.way != nil {
				e.wayTold(lost)
			}
			l.settle(e, unknown)
			continue
		}
		if e.onward != nil {
			l.r.stats.add(cNoWay)
			l.passBack(e, noWay)
			continue
		}
		e.goAgain()
		p.shard.mu.Lock()
		p.hold = true
		p.uncut(e.large)
		e.large = false
		p.returned.insert(e)
		l.r.landed(p, 1)
		p.shard.mu.Unlock()
	}
	if !l.r.mesh {
		rouse(l.r.atlas.wake)
	}
}

// goAgain prepares a message that certainly was not delivered to leave once
// more.
func (e *entry) goAgain() {
	e.fresh, e.asked, e.freshErr = e.fresh && !e.retried, false, nil
}

// wayTold learns from what became of a message with a way, before anything
// else of its pair leaves.
func (e *entry) wayTold(v verdict) {
	switch v {
	case accepted:
		e.way.to.calm()
	case lost:
		e.way.to.raise(e.turn)
	case stale:
		e.way.to.correct(e.turn)
	}
}

// overdue answers the messages in slots whose time is over; they keep their
// slot until their outcome comes. One that is still being cut is left to the
// writer, which gives it up.
func (l *outLink) overdue(now time.Time) {
	type late struct {
		reply
		to string
	}
	var all []late
	l.mu.Lock()
	if len(l.slots) > len(l.unused) {
		for _, e := range l.slots {
			// One that is only passed on is its origin's to give up.
			if e != nil && !e.answered && e.cutting == nil && e.onward == nil && now.After(e.deadline) {
				e.answered = true
				all = append(all, late{e.reply, e.m.To})
			}
		}
	}
	l.mu.Unlock()
	for _, e := range all {
		l.r.answer(e.reply, wire.Unknown(broken("coordinator %s did not say in time what became of the message to %s", l.id, e.to)))
	}
}

// unreachable tells whether the link is down and its last dial failed.
func (l *outLink) unreachable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.noDial
}

// status is the line of Links.
func (l *outLink) status() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up {
		return "up"
	}
	return l.err
}
