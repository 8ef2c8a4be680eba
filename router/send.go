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
	if e := r.submit(&m, reply{w: w}); e != nil {
		e.deadline = deadline
		r.post(e, now, WriteNow)
	}
	select {
	case err := <-w.answer:
		return result(err)
	case <-ctx.Done():
	}
	var err *wire.Error
	switch {
	case w.state.CompareAndSwap(pending, canceled):
		err = wire.NotTried("the message to %s was not sent: %v", m.To, context.Cause(ctx))
	case w.state.CompareAndSwap(sent, abandoned):
		err = wire.Unknown(context.Cause(ctx))
	case w.state.CompareAndSwap(pending, canceled): // it came back in between
		err = wire.NotTried("the message to %s was not sent: %v", m.To, context.Cause(ctx))
	default:
		return result(<-w.answer)
	}
	r.stats.countOutcome(err)
	return result(err)
}

func result(err *wire.Error) (Outcome, error) {
	if err == nil {
		return Delivered, nil
	}
	return outcomeOf(err), err
}

// WriteMode says who writes what a call has made ready to a socket.
type WriteMode bool

const (
	// WriteLater leaves it to the connection's own writer: more comes at once, or
	// locks are held.
	WriteLater WriteMode = false
	// WriteNow has the calling goroutine write what the socket takes without
	// waiting, if nobody else writes; the rest is the writer's.
	WriteNow WriteMode = true
)

// PostOptions are the terms of one PostWith. The zero value is that of Post.
type PostOptions struct {
	// Now is the time of the call; it may be a moment ago. Zero: PostWith asks.
	Now time.Time
	// Timeout is the time the message has from Now on; 0: Limits.Timeout.
	Timeout time.Duration
	// LinkWait is for a sender who waits for an answer no longer than a moment:
	// where the receiver's home cannot be dialled, the message is given up as not
	// tried after it (to the next tick, 50 ms). 0: it waits for Timeout.
	LinkWait time.Duration
	// Borrowed is for those who read messages out of a buffer: the bytes of a
	// message whose frame is at most wire.MaxWhole long are the caller's again when
	// PostWith returns. What holds them (the slice Payload) is not, nor are those
	// of a longer one. Without it nobody may change the payload after the call.
	Borrowed bool
	// Write is WriteNow for the last of the messages that are posted at once.
	Write WriteMode
}

// Post is Send without waiting; the message has Limits.Timeout. done (nil: not
// told) is called exactly once, perhaps before Post returns, and must not
// wait: links run on it. For one sender and receiver the calls come in the
// order of the posts, but for messages that were refused at once (invalid,
// too_large, busy) and for those whose time was over before an outcome came.
func (r *Router) Post(m wire.Message, done func(Outcome, error)) {
	r.PostWith(m, PostOptions{}, done)
}

// PostWith is Post on the caller's terms.
func (r *Router) PostWith(m wire.Message, o PostOptions, done func(Outcome, error)) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Timeout <= 0 {
		o.Timeout = r.limits.Timeout
	}
	e := r.submit(&m, reply{done: done})
	if e == nil {
		return
	}
	e.deadline, e.borrowed = o.Now.Add(o.Timeout), o.Borrowed && m.FrameSize() <= wire.MaxWhole
	if o.LinkWait > 0 {
		e.dialDeadline = o.Now.Add(o.LinkWait)
	}
	r.post(e, o.Now, o.Write)
}

// submit makes the entry of a new message; nil if its sender was answered: it is
// refused, or has left by Egress.
func (r *Router) submit(m *wire.Message, to reply) *entry {
	if err := r.check(m); err != nil {
		r.answer(to, err)
		return nil
	}
	if r.egress.leaves(m, to) {
		return nil
	}
	e := entries.Get().(*entry)
	e.reply, e.m, e.size = to, *m, cost(m)
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
