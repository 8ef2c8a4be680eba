package client

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of what came and nobody has taken yet.
const (
	maxInbox      = 256      // messages for Messages, in the channel and again behind it
	maxInboxBytes = 16 << 20 // behind the channel, where somebody waits for what is behind them on the connection
	maxRequests   = 1000     // that wait for a method, beyond those that run
	maxReqBytes   = 16 << 20 // of them
	perMessage    = 128      // bytes that a message needs beside its frame
)

// incoming is what came in and waits. It is guarded by the component's mu.
type incoming struct {
	room       *sync.Cond // signalled when there is room, when somebody begins to wait for an outcome, and when the connection ends
	waiting    bool       // the reader, at room
	messages   []wire.Message
	bytes      int
	forwarding bool           // a goroutine hands messages on
	forwarders sync.WaitGroup // those who hand on

	running  int // methods
	requests []methodCall
	reqBytes int
}

// deliver hands a message to Messages; it is for the connection's reader. Where nobody reads, the reader waits, and
// with it the coordinator, so that senders get busy; but not while an outcome is awaited: that is behind what came
// before. Nor when the connection is over, which may be because the lease is.
func (l *link) deliver(m *wire.Message) {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	in := &n.incoming
	for len(in.messages) >= maxInbox && (in.bytes >= maxInboxBytes || !n.outgoing.awaited()) && !l.closed {
		in.waiting = true
		in.room.Wait()
	}
	if !in.forwarding {
		select {
		case n.inbox <- *m:
			return
		default:
		}
		in.forwarding = true
		in.forwarders.Go(n.forward)
	}
	in.messages = append(in.messages, *m)
	in.bytes += m.FrameSize() + perMessage
}

// forward brings what is behind the channel into it, until nothing is or the component is over.
func (n *Session) forward() {
	in := &n.incoming
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(in.messages) > 0 {
		m := in.messages[0]
		in.messages[0] = wire.Message{}
		in.messages = in.messages[1:]
		n.mu.Unlock()
		select {
		case n.inbox <- m:
		case <-n.ctx.Done():
		}
		n.mu.Lock()
		in.bytes -= m.FrameSize() + perMessage
		if n.ctx.Err() != nil {
			break
		}
		n.signalRoom()
	}
	in.forwarding = false
}

// signalRoom wakes a reader that waits for room; mu is held.
func (n *Session) signalRoom() {
	if n.incoming.waiting {
		n.incoming.waiting = false
		n.incoming.room.Broadcast()
	}
}

// methodCall is a request that a method is to answer.
type methodCall struct {
	life   *incarnation
	do     Method
	asked  Request
	id     json.RawMessage // nil: no answer is wanted
	answer wire.Message    // without payload
	size   int
}

// startCall answers a request: at once, or in its turn while as many run as may. False: too many wait.
func (n *Session) startCall(r methodCall) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	in := &n.incoming
	switch {
	case in.running < n.cfg.Parallel:
		in.running++
		n.wg.Go(func() { n.runCalls(r) })
	case len(in.requests) >= maxRequests, in.reqBytes >= maxReqBytes:
		return false
	default:
		in.requests = append(in.requests, r)
		in.reqBytes += r.size
	}
	return true
}

// runCalls answers one request after the other until none waits.
func (n *Session) runCalls(r methodCall) {
	in := &n.incoming
	for {
		n.runCall(&r)
		n.mu.Lock()
		if len(in.requests) == 0 {
			in.running--
			n.mu.Unlock()
			return
		}
		r = in.requests[0]
		in.requests = slices.Delete(in.requests, 0, 1)
		in.reqBytes -= r.size
		n.mu.Unlock()
	}
}

// runCall runs a method, unless the session that was asked is over.
func (n *Session) runCall(r *methodCall) {
	if r.life.ctx.Err() != nil {
		return
	}
	result, err := r.do(r.life.ctx, &r.asked)
	if r.id == nil || r.life.ctx.Err() != nil {
		return
	}
	n.reply(r.life.ctx, r, result, err)
}

func (n *Session) reply(ctx context.Context, r *methodCall, result any, err error) {
	r.answer.Payload = answerOf(r.id, result, err)
	err = n.queue(ctx, &r.answer, nil, false, true)
	if code := wire.CodeOf(err); code == wire.CodeTooLarge || code == wire.CodeInvalid {
		// The answer itself cannot be sent, and the caller waits for one.
		n.log.Warn("an answer was refused", "to", r.answer.To, "method", r.asked.Method, "error", err)
		r.answer.Payload = answerOf(r.id, nil, err)
		err = n.queue(ctx, &r.answer, nil, false, true)
	}
	if err != nil {
		n.log.Warn("an answer was not sent", "to", r.answer.To, "method", r.asked.Method, "error", err)
	}
}

// refuseBusy answers a request that cannot even wait. It is for the connection's reader, which must not wait for room.
func (n *Session) refuseBusy(r *methodCall) {
	if r.id == nil {
		return
	}
	now, cancel := context.WithCancel(r.life.ctx)
	cancel()
	n.reply(now, r, nil, wire.Refuse(wire.CodeBusy, "%d requests wait for %s already", maxRequests, n.FullName()))
}
