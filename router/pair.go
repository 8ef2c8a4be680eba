package router

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// pair is one sender and one receiver between whom messages are under way: it
// keeps their order. It exists only while there are any. The shard's mu guards
// all of it.
type pair struct {
	key   pairKey
	shard *shard

	link     *outLink // the link with its messages in flight; nil when there are none
	inflight int      // messages in link's slots

	running bool // a goroutine is in pump; it sees every change made meanwhile
	hold    bool // one was refused as moved or not sent: nothing leaves until all in flight have come back.
	// Where messages are only passed on, those that come meanwhile go back.
	cutting bool // its own large message is under way; the next goes behind its outcome
	looking bool // waits for a fresh directory
	waiting bool // in the waiting list of a link
	resting bool // waits for the next tick: there is no way now, or was not a moment ago

	to      route  // of the receiver, as of version of the directory
	version uint64 // before it was asked

	way    *way     // that its messages in flight take; nil in a mesh
	onward *outLink // not nil: its messages are only passed on, by this link

	returned list // come back from link in order; before parked
	parked   list
}

type pairKey struct{ from, to string }

// shards bounds how many goroutines contend for the same pairs.
const shards = 64

type shard struct {
	mu    sync.Mutex
	pairs map[pairKey]*pair
}

func (r *Router) shardOf(k pairKey) *shard {
	return &r.shards[maphash.Comparable(r.seed, k)%shards]
}

// route is where the directory says a receiver is.
type route struct {
	home, session string
	epoch         uint64
	ok            bool
}

// routeOf is route for a pair with messages under way: it asks only if the
// directory has changed. The shard's mu is held.
func (r *Router) routeOf(p *pair) route {
	if v := r.dir.Version(); !p.to.ok || p.version != v {
		p.to, p.version = r.route(p.key.to), v
	}
	return p.to
}

func (r *Router) route(to string) (rt route) {
	rt.home, rt.session, rt.epoch, rt.ok = r.dir.Home(to)
	return rt
}

// local puts a message into a mailbox of this coordinator; the consumer is to
// be told.
func (r *Router) local(rt route, e *entry) (verdict, *Consumer) {
	r.mu.RLock()
	box := r.names[e.m.To]
	r.mu.RUnlock()
	if box == nil || box.session != rt.session {
		return unknownTo, nil
	}
	e.keep()
	v, door := box.put(&e.m)
	if v == busy {
		r.stats.add(cMailboxFull)
	}
	return v, door
}

// post sends a new message on its way. Without anything under way between its
// pair and with the receiver at home here it is delivered at once. mode
// tells whether the caller may write to a socket.
func (r *Router) post(e *entry, now time.Time, mode WriteMode) {
	key := pairKey{e.m.From, e.m.To}
	sh := r.shardOf(key)
	sh.mu.Lock()
	if r.closed.Load() {
		sh.mu.Unlock()
		r.finish(e, stopping(e.m.To))
		return
	}
	p := sh.pairs[key]
	var rt route
	var known bool
	if p == nil {
		rt, known = r.route(e.m.To), true
		if rt.ok && rt.home == r.self {
			sh.mu.Unlock()
			if !e.leave() {
				free(e)
				return
			}
			if v, door := r.local(rt, e); v != unknownTo {
				r.finish(e, refusal(v, e.m.To))
				door.tell(mode)
				return
			}
			if !e.stay() {
				free(e)
				return
			}
			sh.mu.Lock()
			p = sh.pairs[key]
		}
		if p == nil {
			p = &pair{key: key, shard: sh}
			sh.pairs[key] = p
		}
	}
	e.pair = p
	acct := r.accountFor(p, rt)
	if !acct.take(e.size) {
		r.tidy(p)
		sh.mu.Unlock()
		r.finish(e, wire.Refuse(wire.CodeBusy, "too many messages wait on the way to %s", e.m.To))
		return
	}
	e.acct = acct
	p.parked.push(e)
	if e.lent || mode == WriteNow {
		flows := p.parked.head == e && p.returned.head == nil && !p.running && !p.hold && !p.cutting && !p.looking && !p.resting
		if !known && flows {
			rt, known = r.routeOf(p), true
		}
		if flows && rt.ok && rt.home != r.self && now.Before(e.deadline) {
			r.handOver(p, e, rt, now, mode)
			if p.parked.head == nil { // it has left; e is not ours any more
				l := p.link
				sh.mu.Unlock()
				if mode == WriteNow && l != nil {
					l.push()
				}
				return
			}
		}
		e.keep()
	}
	if known {
		r.pump(p, &rt)
	} else {
		r.pump(p, nil)
	}
	sh.mu.Unlock()
}

// accountFor says which bound a new message of a pair counts against: that of
// the one before it, else that of the link it will take.
func (r *Router) accountFor(p *pair, rt route) *account {
	switch {
	case p.parked.tail != nil && p.parked.tail.acct != nil:
		return p.parked.tail.acct
	case p.link != nil:
		return &p.link.acct
	case rt.ok && rt.home != r.self:
		if l, _ := r.toward(rt.home); l != nil {
			return &l.acct
		}
	}
	return &r.unresolved
}

// finish answers an entry that is in no place and forgets it. No lock is held.
func (r *Router) finish(e *entry, err *wire.Error) {
	r.answer(e.reply, err)
	free(e)
}

// pump moves a pair's messages on, in order, as far as they can go now. first
// is the route of the first one if it is known already. The shard's mu is held
// at the call and at the return, not while a mailbox or a caller is told.
func (r *Router) pump(p *pair, first *route) {
	switch {
	case p.onward != nil:
		r.pumpOn(p)
		return
	case p.running:
		return
	}
	p.running = true
	now := time.Now()
	for {
		if p.inflight == 0 {
			p.link, p.way, p.hold = nil, nil, false
			p.parked.prepend(&p.returned)
		}
		e := p.parked.head
		if e == nil {
			break
		}
		if err, over := r.hopeless(e, now); over {
			r.drop(p, err)
			continue
		}
		if p.hold || p.cutting || p.looking || p.resting {
			break
		}
		if e.retried && !e.fresh {
			r.look(p)
			break
		}
		if e.freshErr != nil && e.retried {
			r.drop(p, e.freshErr)
			continue
		}
		var rt route
		if first != nil {
			rt, first = *first, nil
		} else {
			rt = r.routeOf(p)
		}
		if e.retried && rt.ok && rt == e.went {
			// Its home has not opened the mailbox yet, or closed it a moment ago.
			r.await(p)
			break
		}
		if rt.ok && rt.home != r.self {
			if !r.handOver(p, e, rt, now, WriteLater) {
				break
			}
			continue
		}
		if p.inflight > 0 {
			break // the receiver was elsewhere: the link's answers come first
		}
		if rt.ok && r.deliverHere(p, rt) {
			continue
		}
		switch {
		case !e.fresh:
			r.look(p)
		case e.freshErr != nil:
			r.drop(p, e.freshErr)
			continue
		case rt.ok: // at home here, and its mailbox is not open yet
			r.await(p)
		default:
			r.drop(p, refusal(unknownTo, e.m.To))
			continue
		}
		break
	}
	p.running = false
	r.tidy(p)
}

// await has the messages of a pair go again at the next tick, by a look-up of
// then: the receiver is signed in, and its home does not take messages for it
// just now. The shard's mu is held.
func (r *Router) await(p *pair) {
	for e := p.parked.head; e != nil; e = e.next {
		e.retried, e.fresh, e.freshErr, e.went = true, false, nil, route{}
	}
	r.pause(p)
}

// hopeless tells whether a message that has not left will not leave.
func (r *Router) hopeless(e *entry, now time.Time) (*wire.Error, bool) {
	switch {
	case r.closed.Load():
		return stopping(e.m.To), true
	case e.gone():
		return nil, true
	case !now.Before(e.deadline):
		return late(e.m.To), true
	}
	return nil, false
}

// drop answers the first parked message. It lets go of the shard's mu for it.
func (r *Router) drop(p *pair, err *wire.Error) {
	e := p.parked.pop()
	p.shard.mu.Unlock()
	r.finish(e, err)
	p.shard.mu.Lock()
}

// deliverHere delivers the first parked message to a mailbox of this
// coordinator; false means that there is none and nothing has changed. It lets
// go of the shard's mu.
func (r *Router) deliverHere(p *pair, rt route) bool {
	e := p.parked.head
	if !e.leave() {
		r.drop(p, nil)
		return true
	}
	v, door := r.local(rt, e)
	if v == unknownTo {
		e.stay() // a caller that went away meanwhile is found by hopeless
		return false
	}
	door.tell(false)
	r.drop(p, refusal(v, e.m.To))
	return true
}

// handOver appends the first parked message to the link to its receiver's
// home; false means that nothing more can leave now. With WriteNow the
// caller calls the link's push.
func (r *Router) handOver(p *pair, e *entry, rt route, now time.Time, mode WriteMode) bool {
	l, w := r.toward(rt.home)
	if p.inflight > 0 && (p.link != l || p.way != w) {
		return false
	}
	if l == nil {
		r.pause(p)
		return false
	}
	if e.acct != &l.acct {
		e.acct.give(e.size)
		e.acct = &l.acct
		e.acct.force(e.size)
	}
	if !e.leave() {
		r.drop(p, nil)
		return true
	}
	p.parked.pop()
	if e.retried {
		e.went = rt
	}
	if s := l.send(e, p, rt, w, now, mode); s != appended {
		e.stay() // a caller that went away meanwhile is found by hopeless
		p.parked.prepend(&list{e, e})
		if s == notUp && !r.mesh {
			r.pause(p)
		}
		return s == gone // then once more, by the new one
	}
	p.link, p.way = l, w
	p.inflight++
	return true
}

// tidy forgets a pair with nothing under way; the shard's mu is held.
func (r *Router) tidy(p *pair) {
	if p.running || p.inflight > 0 || p.looking || p.waiting || p.resting || p.parked.head != nil || p.returned.head != nil {
		return
	}
	delete(p.shard.pairs, p.key)
}

// landed counts n messages of a pair out of its link; the shard's mu is held.
func (r *Router) landed(p *pair, n int) {
	p.inflight -= n
	if p.inflight == 0 || p.parked.head != nil {
		r.pump(p, nil)
	}
}

func stopping(to string) *wire.Error {
	return wire.NotTried("the message to %s was not sent: this coordinator is stopping", to)
}

func late(to string) *wire.Error {
	return wire.NotTried("the message to %s was not sent in its time", to)
}
