package router

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// entry is one message on its way. It is in exactly one place: a pair's list
// (guarded by the shard's mu) or a link's slot (guarded by the link's mu).
type entry struct {
	reply
	m        wire.Message
	deadline time.Time
	linkBy   time.Time // when it is given up if its receiver's coordinator cannot be dialled; zero: at deadline
	pair     *pair
	acct     *account
	size     int

	asked, fresh bool        // a look-up that began after the post is under way, has ended
	freshErr     *wire.Error // of that look-up
	retried      bool        // refused by a receiver's coordinator: the next look-up must be a later one
	went         route       // by which it left the last time, once it was refused so

	way    *way    // that it took; nil for one without
	turn   uint64  // that it took it in
	onward *onward // not nil: only passed on here, for another coordinator

	lent bool     // the payload is the poster's, who is still in PostWith
	seg  *segment // not nil: the payload is in there, which is not reused meanwhile

	slot     uint32
	seq      uint64 // order of appending on a link
	cutting  *large // not nil until its last chunk was cut
	large    bool   // sent in chunks: its pair waits for its outcome
	answered bool   // done was called; only its slot is still in use

	next *entry
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// free gives an entry back once it is in no place and answered.
func free(e *entry) {
	e.acct.give(e.size)
	*e = entry{}
	entries.Put(e)
}

// keep makes a payload that was lent, or is in a segment, the entry's own.
func (e *entry) keep() {
	if e.lent || e.seg != nil {
		e.lent = false
		e.m.Own()
	}
}

// overLink tells whether the entry is to be given up if its receiver's
// coordinator cannot be dialled.
func (e *entry) overLink(now time.Time) bool { return !e.linkBy.IsZero() && now.After(e.linkBy) }

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
	here      int32 = iota // the message has not left
	left                   // it has, or is just leaving
	withdrawn              // the caller went away before it left
	abandoned              // the caller went away after it left
	answered
)

// leave marks the message as leaving; false means that its sender withdrew it.
func (a reply) leave() bool {
	return a.w == nil || a.w.state.CompareAndSwap(here, left)
}

// stay takes leave back, for a message that certainly was not handed over;
// false means that its sender went away meanwhile.
func (a reply) stay() bool {
	return a.w == nil || a.w.state.CompareAndSwap(left, here)
}

func (a reply) gone() bool {
	return a.w != nil && (a.w.state.Load() == withdrawn || a.w.state.Load() == abandoned)
}

// answer gives a message its one outcome. No lock is held.
func (r *Router) answer(a reply, err *wire.Error) {
	if a.w != nil {
		if s := a.w.state.Swap(answered); s == withdrawn || s == abandoned {
			return // Send has counted it and returned
		}
		r.stats.outcome(err)
		a.w.answer <- err
		return
	}
	r.stats.outcome(err)
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

// overLink tells it of the first one.
func (l *list) overLink(now time.Time) bool { return l.head != nil && l.head.overLink(now) }

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

// insert puts an entry before those that left their link after it.
func (l *list) insert(e *entry) {
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

// account bounds the messages that wait in one place. The bytes of large
// messages are counted apart, so that they never refuse small ones.
type account struct {
	msgs              atomic.Int64
	bytes             [2]atomic.Int64 // of small, of large ones
	maxMsgs, maxBytes int64
}

func (a *account) bytesFor(size int) *atomic.Int64 {
	if size > maxBody {
		return &a.bytes[1]
	}
	return &a.bytes[0]
}

// take counts a message in, or is false if the account is full. One message
// more than the bytes allow is taken.
func (a *account) take(size int) bool {
	if a.msgs.Add(1) > a.maxMsgs {
		a.msgs.Add(-1)
		return false
	}
	if a.bytesFor(size).Add(int64(size))-int64(size) >= a.maxBytes {
		a.give(size)
		return false
	}
	return true
}

// force counts a message in that was taken by another account before.
func (a *account) force(size int) {
	a.msgs.Add(1)
	a.bytesFor(size).Add(int64(size))
}

// give counts a message out; nil is the account of messages that never wait.
func (a *account) give(size int) {
	if a == nil {
		return
	}
	a.msgs.Add(-1)
	a.bytesFor(size).Add(-int64(size))
}
