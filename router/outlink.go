package router

import (
	"context"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// outLink is the link this coordinator dials to another one. Messages go out
// on it and their outcomes come back. run owns its connection.
type outLink struct {
	r         *Router
	id        string // of the other coordinator
	quota     link.Quota
	cancel    context.CancelFunc // ends run
	ended     chan struct{}      // closed when run has returned
	wake      chan struct{}      // capacity 1: the writer has work
	redial    *link.Redial
	writeLock lockorder.Mutex[lockorder.WriteLock] // held by who writes to the connection; taken before mu

	// seen counts the verdicts unknownTo and moved that were read on this
	// connection. It is raised with the shard's mu of the stream held, before
	// anything else of that stream can leave.
	seen atomic.Uint64

	// mu guards what follows. It may be taken with a shard's mu held, never
	// the other way round.
	mu             lockorder.Mutex[lockorder.Link]
	up             bool
	direct         *trywrite.Writer // of the connection; nil: none
	unwritten      []byte           // what tryWrite could not write: it goes first
	version        byte             // that the other end speaks; 0 until it has told
	pendingReports []string         // coordinators whose report is to be sent
	closed         bool             // run has ended: look for another link
	err            string           // why it is not up
	dialFailed     bool             // and the last dial failed
	backlog        link.Backlog     // frames not yet taken by the writer
	control        []byte           // the same, first lane
	slots          []*entry         // messages whose outcome is not there, by id
	unused         []uint32         // free slots
	seq            uint64           // of the last message appended
	takenSeq       uint64           // of the last message the writer has taken: it and those before may have left
	activeLarge    []*largeMessage  // being cut, in turn
	queuedLarge    []*largeMessage  // to be cut after them
	waitingStreams []*stream        // to be pumped when it is up
	drainedCh      chan struct{}
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
		r: r, id: id, cancel: cancel, ended: make(chan struct{}), wake: make(chan struct{}, 1), redial: link.NewRedial(r.limits.BackoffMin, r.limits.BackoffMax), err: "connecting",
	}
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

// send gives a message a slot and appends it to the buffer of the link. The mu
// of p's shard is held. A large message goes alone, so that none before it comes
// back while it is cut, and sets p.cutting. w is nil for one that
// goes home without a relay. With WriteNow the caller calls tryWrite.
func (l *outLink) send(e *entry, st *stream, loc location, via *route.Route, now time.Time, mode WriteMode) sendResult {
	d := link.Data{Seen: l.seen.Load(), Remaining: link.RemainingMillis(e.deadline, now), Epoch: loc.epoch}
	var sr *link.SourceRoute
	switch {
	case e.forwarded != nil:
		sr = &e.forwarded.route
	case via != nil:
		e.route, e.routeEpoch = via, via.To.Epoch()
		sr = &link.SourceRoute{Hops: 1, Epoch: e.routeEpoch, Code: via.Code}
	}
	size := sr.Size() + link.DataHead + len(loc.session) + e.m.FrameSize()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return linkGone
	case sr != nil && (!l.up || l.version < link.RelayVersion):
		return linkDown
	case size > link.MaxBody && st.inFlight > 0:
		return mustGoAlone
	case !l.up:
		if l.r.mesh && !st.waitingForLink {
			st.waitingForLink = true
			l.waitingStreams = append(l.waitingStreams, st)
		}
		return linkDown
	}
	if n := len(l.unused); n > 0 {
		e.slot = l.unused[n-1]
		l.unused = l.unused[:n-1]
		l.slots[e.slot] = e
	} else {
		e.slot = uint32(len(l.slots))
		l.slots = append(l.slots, e)
	}
	d.ID = e.slot
	l.seq++
	e.seq = l.seq
	if size > link.MaxBody {
		e.ownPayload()
		st.largeInFlight = true
		e.chunking = &largeMessage{e, link.NewChunker(&e.m, &d, loc.session, sr, size, e.deadline)}
		e.large = true
		l.startLarge(e.chunking)
	} else {
		s := l.backlog.Room(link.FrameSize(size))
		b, start := s.B, len(s.B)
		if sr == nil {
			b = link.BeginFrame(b, link.KindData)
		} else {
			b = link.AppendSourceRoute(link.BeginFrame(b, link.KindRelay), sr)
		}
		b = link.AppendDataHead(b, &d, loc.session)
		b = wire.AppendFrameHead(b, &e.m)
		for _, f := range e.m.Payload {
			b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
			b = append(b, f...)
		}
		link.EndFrame(b, start)
		s.B, s.Last = b, e.seq
		if e.borrowed {
			l.pinPayload(s, e)
		}
	}
	if mode == WriteLater {
		wake(l.wake)
	}
	return appended
}

// releaseSlots takes the entries of a batch of outcomes out of their slots. An id
// that is not in use, or whose message has not left whole, is an error.
func (l *outLink) releaseSlots(batch []byte, to []*entry) ([]*entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; len(batch) > 0; batch = batch[link.OutcomeSize:] {
		id := uint32(batch[0])<<24 | uint32(batch[1])<<16 | uint32(batch[2])<<8 | uint32(batch[3])
		if uint64(id) >= uint64(len(l.slots)) || l.slots[id] == nil || l.slots[id].chunking != nil || l.slots[id].seq > l.takenSeq {
			return to, link.Malformed("an outcome for message %d, which is not under way", id)
		}
		e := l.slots[id]
		if e.seg != nil {
			if link.Verdict(batch[4]).ComesBack() {
				e.ownPayload() // it may have to leave once more
			}
			l.backlog.Unpin(e.seg)
			e.seg = nil
		}
		to = append(to, e)
		l.freeSlot(id)
	}
	return to, nil
}

// freeSlot frees a slot; mu is held.
func (l *outLink) freeSlot(id uint32) {
	l.slots[id] = nil
	l.unused = append(l.unused, id)
	if l.drainedCh != nil && len(l.unused) == len(l.slots) {
		close(l.drainedCh)
		l.drainedCh = nil
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
		l.drainedCh = c
	}
	return c
}

// handleOutcomes tells the senders of a batch, in order.
func (l *outLink) handleOutcomes(batch []byte, scratch *[]*entry) error {
	if len(batch)%link.OutcomeSize != 0 {
		return link.Malformed("outcomes of %d bytes", len(batch))
	}
	es, err := l.releaseSlots(batch, (*scratch)[:0])
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
	l.mu.Lock()
	pairs := l.waitingStreams
	l.waitingStreams = nil
	l.mu.Unlock()
	for _, st := range pairs {
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
	l.writeLock.Lock()
	l.mu.Lock()
	l.direct, l.unwritten = nil, nil
	l.up, l.err, l.version, l.pendingReports = false, cause.Error(), 0, nil
	var es []*entry
	for _, e := range l.slots {
		if e != nil {
			es = append(es, e)
		}
	}
	taken := l.takenSeq
	l.slots, l.unused, l.activeLarge, l.queuedLarge = nil, nil, nil, nil
	l.backlog.Reset() // what entries have in segments stays theirs
	l.control = l.control[:0]
	if l.drainedCh != nil {
		close(l.drainedCh)
		l.drainedCh = nil
	}
	l.mu.Unlock()
	l.writeLock.Unlock()
	slices.SortFunc(es, func(a, b *entry) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for _, e := range es {
		e.seg = nil
	}
	unknown := wire.Unknown(link.Malformed("the link to coordinator %s was lost: %v", l.id, cause))
	for _, e := range es {
		st := e.stream
		whole := e.chunking == nil
		e.chunking = nil
		if e.answered || whole && e.seq <= taken || !e.unmarkSent() {
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
	l.mu.Lock()
	if len(l.slots) > len(l.unused) {
		for _, e := range l.slots {
			// One that is only passed on is its origin's to give up.
			if e != nil && !e.answered && e.chunking == nil && e.forwarded == nil && now.After(e.deadline) {
				e.answered = true
				all = append(all, late{e.reply, e.m.To})
			}
		}
	}
	l.mu.Unlock()
	for _, e := range all {
		l.r.answer(e.reply, wire.Unknown(link.Malformed("coordinator %s did not say in time what became of the message to %s", l.id, e.to)))
	}
}

// unreachable tells whether the link is down and its last dial failed.
func (l *outLink) unreachable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialFailed
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

// queueReport has the writer send a coordinator's report as it is then; mu is held.
func (l *outLink) queueReport(about string) {
	if l.version < link.RelayVersion || slices.Contains(l.pendingReports, about) {
		return
	}
	l.pendingReports = append(l.pendingReports, about)
	wake(l.wake)
}

// setPeerVersion notes the version that a pong tells. The first one of a connection
// makes it known, and has all reports sent.
func (l *outLink) setPeerVersion(version byte) {
	l.mu.Lock()
	first := l.version == 0
	l.version = version
	l.mu.Unlock()
	if !first || l.r.mesh {
		return
	}
	about := l.r.routes.Reported()
	l.mu.Lock()
	for _, id := range about {
		l.queueReport(id)
	}
	l.mu.Unlock()
	l.r.routes.Recompute()
}

// peerVersion returns the version at the other end while the link is up and that is
// known, else 0.
func (l *outLink) peerVersion() byte {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return 0
	}
	return l.version
}

// pinPayload has an entry whose payload was borrowed, and which was just appended to
// s, find it there from now on. mu is held.
func (l *outLink) pinPayload(s *link.Segment, e *entry) {
	if !l.backlog.Pin(s, &e.m) {
		e.ownPayload()
		return
	}
	e.borrowed, e.seg = false, s
}
