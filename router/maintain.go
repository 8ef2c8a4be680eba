package router

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/wire"
)

// tick is how often deadlines and the directory's changes are looked at: so
// late may an outcome for a message that ran out of time be.
const tick = 50 * time.Millisecond

// maintain keeps one link to every other coordinator and answers messages whose
// time is over, so that no message needs a timer of its own.
// changed is the directory's channel from before the first message.
func (r *Router) maintain(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	r.reconcile()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-r.routes.Changed():
			r.computeRoutes()
			r.resumeParked()
			continue
		}
		select {
		case <-changed:
			changed = r.dir.Changed() // before looking, so that nothing is missed
			r.reconcile()
			r.pumpDisconnected()
		default:
		}
		r.resumeParked()
		r.expire(time.Now())
	}
}

// allLinks returns the links at this moment.
func (r *Router) allLinks() []*outLink {
	r.linksMu.RLock()
	defer r.linksMu.RUnlock()
	all := make([]*outLink, 0, len(r.links))
	for _, l := range r.links {
		all = append(all, l)
	}
	return all
}

// reconcile starts links to new coordinators and ends those to gone ones.
func (r *Router) reconcile() {
	r.refreshGraph()
	if r.dialer == nil {
		return
	}
	known := make(map[string]bool)
	for _, id := range r.routes.Neighbours() {
		known[id] = true
		r.linkTo(id)
	}
	r.computeRoutes() // so that nothing new takes the links that end now
	for _, l := range r.allLinks() {
		if known[l.id] || l.quota.Messages() > 0 {
			continue
		}
		r.linksMu.Lock()
		delete(r.links, l.id)
		r.linksMu.Unlock()
		l.cancel()
		<-l.ended
	}
}

// pumpDisconnected pumps the streams that wait for a link that is not up: their receivers
// may have another home by now.
func (r *Router) pumpDisconnected() {
	for _, l := range r.allLinks() {
		if l.status() != "up" {
			l.pumpWaiting()
		}
	}
}

// homeUnreachable tells whether the coordinator that a stream's messages wait for cannot be
// reached: no dial has succeeded since the link was lost, or there is no route.
// The shard's mu is held.
func (r *Router) homeUnreachable(st *stream) bool {
	if st.waitingForTick {
		return true
	}
	loc := r.locate(st.key.to)
	if !st.waitingForLink || !loc.ok || loc.home == r.self {
		return false
	}
	l, _ := r.nextLink(loc.home)
	return l != nil && l.unreachable()
}

// expire answers every message whose time is over: not tried if it has not
// left, else unknown.
func (r *Router) expire(now time.Time) {
	var out list
	r.eachStream(func(st *stream) {
		if st.parked.head == nil && st.returned.head == nil {
			return
		}
		cutOff := (st.parked.dialOverdue(now) || st.returned.dialOverdue(now)) && r.homeUnreachable(st)
		over := func(e *entry) bool {
			return e.isCanceled() || now.After(e.deadline) || cutOff && e.dialOverdue(now)
		}
		st.parked.filter(&out, over)
		st.returned.filter(&out, over)
		r.removeIfIdle(st)
	})
	for out.head != nil {
		e := out.pop()
		if e.forwarded != nil {
			r.returnVerdict(e, link.Expired)
			continue
		}
		if now.After(e.deadline) {
			r.complete(e, expiredError(e.m.To))
		} else {
			r.complete(e, wire.NotTried("the message to %s was not sent: its coordinator cannot be reached now", e.m.To))
		}
	}
	for _, l := range r.allLinks() {
		l.expireInFlight(now)
	}
}
