package router

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Send brings one message to its receiver and waits for the one outcome, at
// most until ctx ends (or for Limits.Timeout if it has no deadline). The error
// is nil exactly when the outcome is Delivered. The sender's name is the
// caller's word: whoever calls has checked it. Nobody may change the payload
// after the call: a mailbox may hold it.
func (r *Router) Send(ctx context.Context, m wire.Message) (Outcome, error) {
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(r.limits.Timeout)
	}
	w := &waiter{answer: make(chan *wire.Error, 1)}
	r.begin(m, now, deadline, reply{w: w}, false, true)
	select {
	case err := <-w.answer:
		return result(err)
	case <-ctx.Done():
	}
	var err *wire.Error
	switch {
	case w.state.CompareAndSwap(here, withdrawn):
		err = wire.NotTried("the message to %s was not sent: %v", m.To, context.Cause(ctx))
	case w.state.CompareAndSwap(left, abandoned):
		err = wire.Unknown(context.Cause(ctx))
	case w.state.CompareAndSwap(here, withdrawn): // it came back in between
		err = wire.NotTried("the message to %s was not sent: %v", m.To, context.Cause(ctx))
	default:
		return result(<-w.answer)
	}
	r.stats.outcome(err)
	return result(err)
}

func result(err *wire.Error) (Outcome, error) {
	if err == nil {
		return Delivered, nil
	}
	return outcomeOf(err), err
}

// Post is Send without waiting; the message has Limits.Timeout. done (nil: not
// told) is called exactly once, perhaps before Post returns, and must not
// wait: links run on it. For one sender and receiver the calls come in the
// order of the posts, but for messages that were refused at once (invalid,
// too_large, busy) and for those whose time was over before an outcome came.
func (r *Router) Post(m wire.Message, done func(Outcome, error)) {
	now := time.Now()
	r.begin(m, now, now.Add(r.limits.Timeout), reply{done: done}, false, false)
}

// PostWithin is Post with an own time from now on, for those who read messages
// out of a buffer: the bytes of a message whose frame is at most wire.MaxWhole
// long are the caller's again when PostWithin returns. What holds them (the
// slice Payload) is not, nor are those of a longer one. now may be a moment ago.
// Unless more messages are to be posted at once it writes to a socket itself, if
// that need not wait.
func (r *Router) PostWithin(m wire.Message, now time.Time, limit time.Duration, more bool, done func(Outcome, error)) {
	r.begin(m, now, now.Add(limit), reply{done: done}, m.FrameSize() <= wire.MaxWhole, !more)
}

// PostLinked is PostWithin for a sender who waits for an answer no longer than
// a moment: where the receiver's home cannot be dialled, the message is given up
// as not tried after linkWait (to the next tick, 50 ms), not after limit.
func (r *Router) PostLinked(m wire.Message, now time.Time, limit, linkWait time.Duration, more bool, done func(Outcome, error)) {
	if err := r.check(&m); err != nil {
		r.answer(reply{done: done}, err)
		return
	}
	if r.egress.leaves(&m, reply{done: done}) {
		return
	}
	e := newEntry(m, now.Add(limit), reply{done: done}, m.FrameSize() <= wire.MaxWhole)
	e.linkBy = now.Add(linkWait)
	r.post(e, now, !more)
}

func (r *Router) begin(m wire.Message, now, deadline time.Time, to reply, lent, push bool) {
	if err := r.check(&m); err != nil {
		r.answer(to, err)
		return
	}
	if r.egress.leaves(&m, to) {
		return
	}
	r.post(newEntry(m, deadline, to, lent), now, push)
}

func newEntry(m wire.Message, deadline time.Time, to reply, lent bool) *entry {
	e := entries.Get().(*entry)
	e.reply, e.m, e.deadline, e.size, e.lent = to, m, deadline, cost(&m), lent
	return e
}

func (r *Router) check(m *wire.Message) *wire.Error {
	switch {
	case m.To == "":
		return wire.Invalid("to", "a message needs a receiver")
	case m.From == "":
		return wire.Invalid("from", "a message needs a sender")
	}
	if err := m.Check(); err != nil {
		return err.(*wire.Error)
	}
	return nil
}
