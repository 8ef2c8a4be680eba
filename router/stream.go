package router

import (
	"hash/maphash"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// stream is one sender and one receiver between whom messages are under way: it
// keeps their order. It exists only while there are any. The shard's mu guards
// all of it.
type stream struct {
	key   streamKey
	shard *shard

	link     *outLink // the link with its messages in flight; nil when there are none
	inFlight int      // messages in link's slots

	pumping  bool // a goroutine is in pump; it sees every change made meanwhile
	draining bool // one was refused as moved or not sent: nothing leaves until all in flight have come back.
	// Where messages are only passed on, those that come meanwhile go back.
	largeInFlight  bool // its own large message is under way; the next goes behind its outcome
	lookupPending  bool // waits for a fresh directory
	waitingForLink bool // in the waiting list of a link
	waitingForTick bool // waits for the next tick: there is no route now, or was not a moment ago

	location        location // of the receiver, as of version of the directory
	locationVersion uint64   // before it was asked

	route     *route.Route // that its messages in flight take; nil in a mesh
	forwardTo *outLink     // not nil: its messages are only passed on, by this link

	returned list // come back from link in order; before parked
	parked   list
}

type streamKey struct{ from, to string }

// shards bounds how many goroutines contend for the same streams.
const shards = 64

type shard struct {
	mu      lockorder.Mutex[lockorder.Stream]
	streams map[streamKey]*stream
}

func (r *Router) shardOf(k streamKey) *shard {
	return &r.shards[maphash.Comparable(r.seed, k)%shards]
}

// location is where the directory says a receiver is.
type location struct {
	home, session string
	epoch         uint64
	ok            bool
}

// cachedLocation is locate for a stream with messages under way: it asks only if the
// directory has changed. The shard's mu is held.
func (r *Router) cachedLocation(st *stream) location {
	if v := r.dir.Version(); !st.location.ok || st.locationVersion != v {
		st.location, st.locationVersion = r.locate(st.key.to), v
	}
	return st.location
}

func (r *Router) locate(to string) (loc location) {
	loc.home, loc.session, loc.epoch, loc.ok = r.dir.Home(to)
	return loc
}

// deliverLocal puts a message into a mailbox of this coordinator; the consumer is to
// be told.
func (r *Router) deliverLocal(loc location, e *entry) (link.Verdict, *Consumer) {
	box := r.mailboxOf(e.m.To)
	if box == nil || box.session != loc.session {
		return link.UnknownReceiver, nil
	}
	e.ownPayload()
	v, consumer := box.put(&e.m)
	if v == link.MailboxFull {
		r.stats.inc(cMailboxFull)
	}
	return v, consumer
}

// post sends a new message on its way. Without anything under way between its
// stream and with the receiver at home here it is delivered at once. mode
// tells whether the caller may write to a socket.
func (r *Router) post(e *entry, now time.Time, mode WriteMode) {
	key := streamKey{e.m.From, e.m.To}
	sh := r.shardOf(key)
	sh.mu.Lock()
	if r.closed.Load() {
		sh.mu.Unlock()
		r.complete(e, stoppingError(e.m.To))
		return
	}
	st := sh.streams[key]
	var loc location
	var known bool
	if st == nil {
		loc, known = r.locate(e.m.To), true
		if loc.ok && loc.home == r.self {
			sh.mu.Unlock()
			if r.postLocal(e, loc, mode) {
				return
			}
			sh.mu.Lock()
			st = sh.streams[key]
		}
		if st == nil {
			st = &stream{key: key, shard: sh}
			sh.streams[key] = st
		}
	}
	e.stream = st
	q := r.quotaFor(st, loc)
	if !q.Acquire(e.size) {
		r.removeIfIdle(st)
		sh.mu.Unlock()
		r.complete(e, wire.Refuse(wire.CodeBusy, "too many messages wait on the way to %s", e.m.To))
		return
	}
	e.quota = q
	st.parked.push(e)
	if e.borrowed || mode == WriteNow {
		if st.isNext(e) {
			if !known {
				loc, known = r.cachedLocation(st), true
			}
			if r.transmitNow(st, e, loc, now, mode) {
				return
			}
		}
		e.ownPayload()
	}
	if known {
		r.pump(st, &loc)
	} else {
		r.pump(st, nil)
	}
	sh.mu.Unlock()
}

// postLocal delivers a new message to a mailbox of this coordinator; false means
// that there is none. No lock is held.
func (r *Router) postLocal(e *entry, loc location, mode WriteMode) (done bool) {
	if !e.markSent() {
		freeEntry(e)
		return true
	}
	if v, consumer := r.deliverLocal(loc, e); v != link.UnknownReceiver {
		r.complete(e, verdictError(v, e.m.To))
		consumer.wake(mode)
		return true
	}
	if !e.unmarkSent() {
		freeEntry(e)
		return true
	}
	return false
}

// isNext tells whether a parked message may leave now. The shard's mu is held.
func (st *stream) isNext(e *entry) bool {
	return st.parked.head == e && st.returned.head == nil && !st.pumping && !st.blocked()
}

// blocked tells whether nothing of the stream may leave now. The shard's mu is held.
func (st *stream) blocked() bool {
	return st.draining || st.largeInFlight || st.lookupPending || st.waitingForTick
}

// transmitNow has a new message leave by its link in the posting goroutine. True
// means that it has left, that the entry is not ours any more and that the shard's
// mu, held at the call, is not held.
func (r *Router) transmitNow(st *stream, e *entry, loc location, now time.Time, mode WriteMode) bool {
	if !loc.ok || loc.home == r.self || !now.Before(e.deadline) {
		return false
	}
	r.transmit(st, e, loc, now, mode)
	if st.parked.head != nil {
		return false
	}
	l := st.link
	st.shard.mu.Unlock()
	if mode == WriteNow && l != nil {
		l.outbox.TryWrite()
	}
	return true
}

// quotaFor says which bound a new message of a stream counts against: that of
// the one before it, else that of the link it will take.
func (r *Router) quotaFor(st *stream, loc location) *link.Quota {
	switch {
	case st.parked.tail != nil && st.parked.tail.quota != nil:
		return st.parked.tail.quota
	case st.link != nil:
		return &st.link.quota
	case loc.ok && loc.home != r.self:
		if l, _ := r.nextLink(loc.home); l != nil {
			return &l.quota
		}
	}
	return &r.unresolved
}

// complete answers an entry that is in no place and forgets it. No lock is held.
func (r *Router) complete(e *entry, err *wire.Error) {
	r.answer(e.reply, err)
	freeEntry(e)
}

// pump moves a stream's messages on, in order, as far as they can go now. first
// is the location of the first one if it is known already. The shard's mu is held
// at the call and at the return, not while a mailbox or a caller is told.
func (r *Router) pump(st *stream, first *location) {
	switch {
	case st.forwardTo != nil:
		r.pumpForwarded(st)
		return
	case st.pumping:
		return
	}
	st.pumping = true
	now := time.Now()
	for r.pumpFirst(st, now, first) {
		first = nil
	}
	st.pumping = false
	r.removeIfIdle(st)
}

// pumpFirst moves a stream's first message on; false means that it stays. loc is
// its receiver's location, if it is known already.
func (r *Router) pumpFirst(st *stream, now time.Time, loc *location) (more bool) {
	if st.inFlight == 0 {
		st.link, st.route, st.draining = nil, nil, false
		st.parked.prepend(&st.returned)
	}
	e := st.parked.head
	if e == nil {
		return false
	}
	if err, over := r.endsUnsent(e, now); over {
		r.failFirst(st, err)
		return true
	}
	if st.blocked() {
		return false
	}
	if e.retried {
		switch {
		case !e.lookedUp:
			r.requestLookup(st)
			return false
		case e.lookupErr != nil:
			r.failFirst(st, e.lookupErr)
			return true
		}
	}
	to := r.locationFor(st, loc)
	switch {
	case e.retried && to.ok && to == e.refusedAt:
		// Its home has not opened the mailbox yet, or closed it a moment ago.
		r.retryAtTick(st)
		return false
	case to.ok && to.home != r.self:
		return r.transmit(st, e, to, now, WriteLater)
	case st.inFlight > 0:
		return false // the receiver was elsewhere: the link's answers come first
	case to.ok && r.deliverParked(st, to):
		return true
	}
	return r.handleAbsent(st, e, to)
}

func (r *Router) locationFor(st *stream, known *location) location {
	if known != nil {
		return *known
	}
	return r.cachedLocation(st)
}

// handleAbsent looks the receiver of a stream's first message up once more, or
// answers that message; false means that it stays. The shard's mu is held, and let
// go of while its sender is told.
func (r *Router) handleAbsent(st *stream, e *entry, loc location) (more bool) {
	switch {
	case !e.lookedUp:
		r.requestLookup(st)
		return false
	case e.lookupErr != nil:
		r.failFirst(st, e.lookupErr)
	case loc.ok: // at home here, and its mailbox is not open yet
		r.retryAtTick(st)
		return false
	default:
		r.failFirst(st, verdictError(link.UnknownReceiver, e.m.To))
	}
	return true
}

// retryAtTick has the messages of a stream go again at the next tick, by a look-up of
// then: the receiver is signed in, and its home does not take messages for it
// just now. The shard's mu is held.
func (r *Router) retryAtTick(st *stream) {
	for e := st.parked.head; e != nil; e = e.next {
		e.retried, e.lookedUp, e.lookupErr, e.refusedAt = true, false, nil, location{}
	}
	r.parkUntilTick(st)
}

// endsUnsent tells whether a message that has not left will not leave.
func (r *Router) endsUnsent(e *entry, now time.Time) (*wire.Error, bool) {
	switch {
	case r.closed.Load():
		return stoppingError(e.m.To), true
	case e.isCanceled():
		return nil, true
	case !now.Before(e.deadline):
		return expiredError(e.m.To), true
	}
	return nil, false
}

// failFirst answers the first parked message. It lets go of the shard's mu for it.
func (r *Router) failFirst(st *stream, err *wire.Error) {
	e := st.parked.pop()
	st.shard.mu.Unlock()
	r.complete(e, err)
	st.shard.mu.Lock()
}

// deliverParked delivers the first parked message to a mailbox of this
// coordinator; false means that there is none and nothing has changed. It lets
// go of the shard's mu.
func (r *Router) deliverParked(st *stream, loc location) bool {
	e := st.parked.head
	if !e.markSent() {
		r.failFirst(st, nil)
		return true
	}
	v, consumer := r.deliverLocal(loc, e)
	if v == link.UnknownReceiver {
		e.unmarkSent() // a caller that went away meanwhile is found by endsUnsent
		return false
	}
	consumer.wake(WriteLater)
	r.failFirst(st, verdictError(v, e.m.To))
	return true
}

// transmit appends the first parked message to the link to its receiver's
// home; false means that nothing more can leave now. With WriteNow the
// caller calls the outbox's TryWrite.
func (r *Router) transmit(st *stream, e *entry, loc location, now time.Time, mode WriteMode) bool {
	l, via := r.nextLink(loc.home)
	if st.inFlight > 0 && (st.link != l || st.route != via) {
		return false
	}
	if l == nil {
		r.parkUntilTick(st)
		return false
	}
	if e.quota != &l.quota {
		e.quota.Release(e.size)
		e.quota = &l.quota
		e.quota.ForceAcquire(e.size)
	}
	if !e.markSent() {
		r.failFirst(st, nil)
		return true
	}
	st.parked.pop()
	if e.retried {
		e.refusedAt = loc
	}
	if s := l.send(e, st, loc, via, now, mode); s != appended {
		e.unmarkSent() // a caller that went away meanwhile is found by endsUnsent
		st.parked.prepend(&list{e, e})
		if s == linkDown && !r.mesh {
			r.parkUntilTick(st)
		}
		return s == linkGone // then once more, by the new one
	}
	st.link, st.route = l, via
	st.inFlight++
	return true
}

// removeIfIdle forgets a stream with nothing under way; the shard's mu is held.
func (r *Router) removeIfIdle(st *stream) {
	if st.pumping || st.inFlight > 0 || st.lookupPending || st.waitingForLink || st.waitingForTick || st.parked.head != nil || st.returned.head != nil {
		return
	}
	delete(st.shard.streams, st.key)
}

// finishInFlight counts n messages of a stream out of its link; the shard's mu is held.
func (r *Router) finishInFlight(st *stream, n int) {
	st.inFlight -= n
	if st.inFlight == 0 || st.parked.head != nil {
		r.pump(st, nil)
	}
}

// clearLarge tells that an entry that has landed does not hold its stream up any more;
// the shard's mu is held.
func (st *stream) clearLarge(large bool) {
	if large {
		st.largeInFlight = false
	}
}

func stoppingError(to string) *wire.Error {
	return wire.NotTried("the message to %s was not sent: this coordinator is stopping", to)
}

func expiredError(to string) *wire.Error {
	return wire.NotTried("the message to %s was not sent in its time", to)
}
