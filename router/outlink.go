package router

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// outLink is the link this coordinator dials to another one. Messages go out
// on it and their outcomes come back. run owns its connection.
type outLink struct {
	r      *Router
	id     string // of the other coordinator
	quota  link.Quota
	cancel context.CancelFunc // ends run
	ended  chan struct{}      // closed when run has returned
	redial *link.Redial
	renew  chan struct{} // capacity 1: make the connection anew

	// seen counts the verdicts unknownTo and moved that were read on this
	// connection. It is raised with the shard's mu of the stream held, before
	// anything else of that stream can leave.
	seen atomic.Uint64

	// outbox holds what waits to be written and the messages without outcome. Its
	// Mu guards what follows too. It may be taken with a shard's mu held, never the
	// other way round.
	outbox         *link.Outbox[entry]
	up             bool
	opened         time.Time // when it was up last
	version        byte      // that the other end speaks; 0 until it has told
	closed         bool      // run has ended: look for another link
	err            string    // why it is not up
	dialFailed     bool      // and the last dial failed
	waitingStreams []*stream // to be pumped when it is up
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
		r: r, id: id, cancel: cancel, ended: make(chan struct{}), err: "connecting",
		redial: link.NewRedial(r.limits.BackoffMin, r.limits.BackoffMax), renew: make(chan struct{}, 1),
	}
	l.outbox = link.NewOutbox(link.OutboxConfig[entry]{
		Peer: id, Ping: r.limits.Ping,
		Abandoned:     (*entry).isCanceled,
		GiveUp:        func(e *entry) { l.complete(e, expiredError(e.m.To)) },
		AppendReports: l.appendReports,
	})
	l.quota.Limit(r.limits.LinkMessages, r.limits.LinkBytes)
	r.links[id] = l
	go func() {
		defer close(l.ended)
		l.run(ctx)
	}()
	return l
}

// sendResult is what became of a send.
type sendResult int

const (
	appended    sendResult = iota
	linkDown               // the stream is pumped when the link is up
	linkGone               // there is another link by now, or the router is closed
	mustGoAlone            // a large one, while others of its stream are in flight
)

// send gives a message a slot and appends it to what the link writes. The mu of
// st's shard is held. A large message goes alone, so that none before it comes
// back while it is cut, and sets st.largeInFlight. via is nil for one that
// goes home without a relay. With WriteNow the caller calls the outbox's TryWrite.
func (l *outLink) send(e *entry, st *stream, loc location, via *route.Route, now time.Time, mode WriteMode) sendResult {
	out := link.Outgoing{
		Data:    link.Data{Seen: l.seen.Load(), Remaining: link.RemainingMillis(e.deadline, now), Epoch: loc.epoch},
		Session: loc.session, Deadline: e.deadline, Borrowed: e.borrowed,
	}
	switch {
	case e.forwarded != nil:
		out.Relay, out.Route = true, e.forwarded.route
	case via != nil:
		e.route, e.routeEpoch = via, via.To.Epoch()
		out.Relay, out.Route = true, link.SourceRoute{Hops: 1, Epoch: e.routeEpoch, Code: via.Code}
	}
	out.Size = out.BodySize(&e.m)
	l.outbox.Mu.Lock()
	defer l.outbox.Mu.Unlock()
	switch {
	case l.closed:
		return linkGone
	case out.Relay && (!l.up || l.version < link.RelayVersion):
		return linkDown
	case out.Size > link.MaxBody && st.inFlight > 0:
		return mustGoAlone
	case !l.up:
		if l.r.mesh && !st.waitingForLink {
			st.waitingForLink = true
			l.waitingStreams = append(l.waitingStreams, st)
		}
		return linkDown
	}
	if out.Size > link.MaxBody {
		st.largeInFlight, e.large = true, true
	}
	e.seq = l.outbox.Append(e, &e.m, &out)
	e.borrowed = false
	if mode == WriteLater {
		l.outbox.Wake()
	}
	return appended
}

// handleOutcomes tells the senders of a batch, in order.
func (l *outLink) handleOutcomes(batch []byte, scratch *[]*entry) error {
	es, err := l.outbox.Release(batch, (*scratch)[:0])
	for i := 0; i < len(es); i++ {
		e, v := es[i], link.Verdict(batch[i*link.OutcomeSize+4])
		if v == link.Accepted && e.forwarded == nil {
			n := 1
			for k := i + 1; k < len(es) && es[k].stream == e.stream && batch[k*link.OutcomeSize+4] == byte(link.Accepted); k++ {
				n++
			}
			l.handleDelivered(es[i : i+n])
			i += n - 1
			continue
		}
		if v > link.LastVerdict {
			// Its slot is free already: the outcome is one we can not read.
			l.complete(e, wire.Unknown(link.Malformed("verdict %d of coordinator %s", v, l.id)))
			err = link.Malformed("verdict %d, the last one known is %d", v, link.LastVerdict)
			continue
		}
		l.handleVerdict(e, v)
	}
	clear(es)
	*scratch = es
	return err
}

// handleDelivered answers messages of one stream that were delivered, and lets the stream
// go on. They are told before the stream counts them as landed, so that nothing
// overtakes them on another route.
func (l *outLink) handleDelivered(es []*entry) {
	st, large := es[0].stream, false
	for _, e := range es {
		large = large || e.large
		if e.route != nil {
			e.updateRouteEpoch(link.Accepted)
		}
		if !e.answered {
			l.r.answer(e.reply, nil)
		}
		freeEntry(e)
	}
	st.shard.mu.Lock()
	st.clearLarge(large)
	l.r.finishInFlight(st, len(es))
	st.shard.mu.Unlock()
}

// handleVerdict handles one verdict. done is called before the stream counts the
// message as landed, so that nothing overtakes it on another route.
func (l *outLink) handleVerdict(e *entry, v link.Verdict) {
	st, r := e.stream, l.r
	if e.forwarded != nil {
		l.handleForwardVerdict(e, v)
		return
	}
	if !v.ComesBack() {
		if e.route != nil {
			e.updateRouteEpoch(v)
		}
		l.complete(e, verdictError(v, e.m.To))
		return
	}
	onTheWay := v == link.NoRoute || v == link.OldEpoch // it never came to its receiver's home, or too late
	again := !e.answered && time.Now().Before(e.deadline) && e.unmarkSent()
	st.shard.mu.Lock()
	st.draining = true
	st.clearLarge(e.large)
	e.large = false
	l.seen.Add(1)
	if e.route != nil {
		e.updateRouteEpoch(v)
	}
	switch {
	case again && onTheWay:
		e.prepareRetry()
		st.returned.insertBySeq(e)
		r.parkUntilTick(st)
		r.finishInFlight(st, 1)
	case again:
		r.stats.inc(cRetried)
		e.retried, e.lookedUp, e.lookupStarted, e.lookupErr = true, false, false, nil
		st.returned.insertBySeq(e)
		r.finishInFlight(st, 1)
	}
	st.shard.mu.Unlock()
	switch {
	case again:
	case onTheWay:
		l.complete(e, verdictError(v, e.m.To))
	default: // that nobody is signed in only a fresh directory can tell
		l.complete(e, expiredError(e.m.To))
	}
}

// complete answers a message that has left its slot and lets its stream go on.
func (l *outLink) complete(e *entry, err *wire.Error) {
	if e.forwarded != nil {
		v := link.Expired
		if err.Code == wire.CodeUnknown {
			v = link.LinkLost
		}
		l.handleForwardVerdict(e, v)
		return
	}
	st := e.stream
	if !e.answered {
		l.r.answer(e.reply, err)
	}
	large := e.large
	freeEntry(e)
	st.shard.mu.Lock()
	st.clearLarge(large)
	l.r.finishInFlight(st, 1)
	st.shard.mu.Unlock()
}

// pumpWaiting pumps every stream that waits for the link.
func (l *outLink) pumpWaiting() {
	l.outbox.Mu.Lock()
	waiting := l.waitingStreams
	l.waitingStreams = nil
	l.outbox.Mu.Unlock()
	for _, st := range waiting {
		st.shard.mu.Lock()
		st.waitingForLink = false
		l.r.pump(st, nil)
		st.shard.mu.Unlock()
	}
}

// disconnected ends a connection: what may have left is unknown, what certainly has
// not goes back to its stream, to leave by the next connection or another route
// within its time. Reader and writer have ended.
func (l *outLink) disconnected(cause error) {
	lost := l.outbox.Disconnect(func() { l.up, l.err, l.version = false, cause.Error(), 0 })
	unknown := wire.Unknown(link.Malformed("the link to coordinator %s was lost: %v", l.id, cause))
	for i := range lost {
		e := lost[i].Item
		st := e.stream
		if e.answered || lost[i].MayHaveLeft || !e.unmarkSent() {
			if e.route != nil {
				e.updateRouteEpoch(link.LinkLost)
			}
			l.complete(e, unknown)
			continue
		}
		if e.forwarded != nil {
			l.r.stats.inc(cNoRoute)
			l.handleForwardVerdict(e, link.NoRoute)
			continue
		}
		e.prepareRetry()
		st.shard.mu.Lock()
		st.draining = true
		st.clearLarge(e.large)
		e.large = false
		st.returned.insertBySeq(e)
		l.r.finishInFlight(st, 1)
		st.shard.mu.Unlock()
	}
	if !l.r.mesh {
		l.r.routes.Recompute()
	}
}

// prepareRetry prepares a message that certainly was not delivered to leave once
// more.
func (e *entry) prepareRetry() {
	e.lookedUp, e.lookupStarted, e.lookupErr = e.lookedUp && !e.retried, false, nil
}

// updateRouteEpoch learns from what became of a message with a route, before anything
// else of its stream leaves.
func (e *entry) updateRouteEpoch(v link.Verdict) {
	switch v {
	case link.Accepted:
		e.route.To.ResetStep()
	case link.LinkLost:
		e.route.To.Advance(e.routeEpoch)
	case link.OldEpoch:
		e.route.To.Jump(e.routeEpoch)
	}
}

// expireInFlight answers the messages in slots whose time is over; they keep their
// slot until their outcome comes. One that is still being cut is left to the
// writer, which gives it up.
func (l *outLink) expireInFlight(now time.Time) {
	type late struct {
		reply
		to string
	}
	var all []late
	l.outbox.Mu.Lock()
	for e := range l.outbox.InFlight {
		// One that is only passed on is its origin's to give up.
		if !e.answered && e.forwarded == nil && now.After(e.deadline) {
			e.answered = true
			all = append(all, late{e.reply, e.m.To})
		}
	}
	l.outbox.Mu.Unlock()
	for _, e := range all {
		l.r.answer(e.reply, wire.Unknown(link.Malformed("coordinator %s did not say in time what became of the message to %s", l.id, e.to)))
	}
}

// unreachable tells whether the link is down and its last dial failed.
func (l *outLink) unreachable() bool {
	l.outbox.Mu.Lock()
	defer l.outbox.Mu.Unlock()
	return l.dialFailed
}

// status is the line of Links.
func (l *outLink) status() string {
	l.outbox.Mu.Lock()
	defer l.outbox.Mu.Unlock()
	if l.up {
		return "up"
	}
	return l.err
}

// queueReport has the writer send a coordinator's report as it is then; the outbox's Mu is held.
func (l *outLink) queueReport(about string) {
	if l.version >= link.RelayVersion {
		l.outbox.QueueReport(about)
	}
}

// setPeerVersion notes the version that a pong tells. The first one of a connection
// makes it known, and has all reports sent.
func (l *outLink) setPeerVersion(version byte) {
	l.outbox.Mu.Lock()
	first := l.version == 0
	l.version = version
	l.outbox.Mu.Unlock()
	if !first || l.r.mesh {
		return
	}
	about := l.r.routes.Reported()
	l.outbox.Mu.Lock()
	for _, id := range about {
		l.queueReport(id)
	}
	l.outbox.Mu.Unlock()
	l.r.routes.Recompute()
}

// peerVersion returns the version at the other end while the link is up and that is
// known, else 0.
func (l *outLink) peerVersion() byte {
	if l == nil {
		return 0
	}
	l.outbox.Mu.Lock()
	defer l.outbox.Mu.Unlock()
	if !l.up {
		return 0
	}
	return l.version
}
