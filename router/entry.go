package router

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// entry is one message on its way. It is in exactly one place: a stream's list
// (guarded by the shard's mu) or a link's slot (guarded by the link's mu).
type entry struct {
	reply
	m            wire.Message
	deadline     time.Time
	dialDeadline time.Time // when it is given up if its receiver's coordinator cannot be dialled; zero: at deadline
	stream       *stream
	quota        *link.Quota
	size         int

	lookupStarted, lookedUp bool        // a look-up that began after the post is under way, has ended
	lookupErr               *wire.Error // of that look-up
	retried                 bool        // refused by a receiver's coordinator: the next look-up must be a later one
	refusedAt               location    // by which it left the last time, once it was refused so

	route      *route.Route   // that it took; nil for one without
	routeEpoch uint64         // that it took it in
	forwarded  *forwardedFrom // not nil: only passed on here, for another coordinator

	borrowed bool // the payload is the poster's, who is still in PostWith

	seq      uint64 // order of appending on a link
	large    bool   // sent in chunks: its stream waits for its outcome
	answered bool   // done was called; only its slot is still in use

	next *entry
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// freeEntry gives an entry back once it is in no place and answered.
func freeEntry(e *entry) {
	e.quota.Release(e.size)
	*e = entry{}
	entries.Put(e)
}

// ownPayload makes a payload that was lent the entry's own.
func (e *entry) ownPayload() {
	if e.borrowed {
		e.borrowed = false
		e.m.CopyPayload()
	}
}

// dialOverdue tells whether the entry is to be given up if its receiver's
// coordinator cannot be dialled.
func (e *entry) dialOverdue(now time.Time) bool {
	return !e.dialDeadline.IsZero() && now.After(e.dialDeadline)
}

// reply is where a message's outcome goes.
type reply struct {
	done func(Outcome, error) // may be nil
	w    *waiter              // instead, set by Send
}

// waiter is the caller of a Send, who may go away before the outcome is there.
type waiter struct {
	state  atomic.Int32
	answer chan *wire.Error // capacity 1
}

const (
	pending   int32 = iota // the message has not left
	sent                   // it has, or is just leaving
	canceled               // the caller went away before it left
	abandoned              // the caller went away after it left
	answered
)

// markSent marks the message as leaving; false means that its sender withdrew it.
func (a reply) markSent() bool {
	return a.w == nil || a.w.state.CompareAndSwap(pending, sent)
}

// unmarkSent takes leave back, for a message that certainly was not handed over;
// false means that its sender went away meanwhile.
func (a reply) unmarkSent() bool {
	return a.w == nil || a.w.state.CompareAndSwap(sent, pending)
}

func (a reply) isCanceled() bool {
	return a.w != nil && (a.w.state.Load() == canceled || a.w.state.Load() == abandoned)
}

// answer gives a message its one outcome. No lock is held.
func (r *Router) answer(a reply, err *wire.Error) {
	if a.w != nil {
		if s := a.w.state.Swap(answered); s == canceled || s == abandoned {
			return // Send has counted it and returned
		}
		r.stats.countOutcome(err)
		a.w.answer <- err
		return
	}
	r.stats.countOutcome(err)
	a.resolve(err)
}

// resolve tells the sender an outcome that nothing else can have told before.
func (a reply) resolve(err *wire.Error) {
	switch {
	case a.w != nil:
		a.w.state.Store(answered)
		a.w.answer <- err
	case a.done == nil:
	case err == nil:
		a.done(Delivered, nil)
	default:
		a.done(outcomeOf(err), err)
	}
}

// list is a queue of entries.
type list struct{ head, tail *entry }

// dialOverdue tells it of the first one.
func (l *list) dialOverdue(now time.Time) bool { return l.head != nil && l.head.dialOverdue(now) }

func (l *list) push(e *entry) {
	e.next = nil
	if l.tail == nil {
		l.head = e
	} else {
		l.tail.next = e
	}
	l.tail = e
}

func (l *list) pop() *entry {
	e := l.head
	if l.head = e.next; l.head == nil {
		l.tail = nil
	}
	e.next = nil
	return e
}

// insertBySeq puts an entry before those that left their link after it.
func (l *list) insertBySeq(e *entry) {
	if l.tail == nil || l.tail.seq <= e.seq {
		l.push(e)
		return
	}
	at := &l.head
	for (*at).seq <= e.seq {
		at = &(*at).next
	}
	e.next, *at = *at, e
}

// prepend puts all of front before l and empties front.
func (l *list) prepend(front *list) {
	if front.head == nil {
		return
	}
	front.tail.next = l.head
	if l.tail == nil {
		l.tail = front.tail
	}
	l.head = front.head
	*front = list{}
}

// filter moves every entry for which drop is true to the end of out.
func (l *list) filter(out *list, drop func(*entry) bool) {
	var keep list
	for l.head != nil {
		e := l.pop()
		if drop(e) {
			out.push(e)
		} else {
			keep.push(e)
		}
	}
	*l = keep
}
