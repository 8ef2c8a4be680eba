package router

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// tick is how often deadlines and the directory's changes are looked at: so
// late may an outcome for a message that ran out of time be.
const tick = 50 * time.Millisecond

// tend keeps one link to every other coordinator and answers messages whose
// time is over, so that no message needs a timer of its own.
// changed is the directory's channel from before the first message.
func (r *Router) tend(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	r.reconcile()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-r.atlas.wake:
			r.chart()
			r.resume()
			continue
		}
		select {
		case <-changed:
			changed = r.dir.Changed() // before looking, so that nothing is missed
			r.reconcile()
			r.reroute()
		default:
		}
		r.resume()
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
	r.survey()
	if r.dialer == nil {
		return
	}
	known := make(map[string]bool)
	for _, id := range r.neighbours() {
		known[id] = true
		r.linkTo(id)
	}
	r.chart() // so that nothing new takes the links that end now
	for _, l := range r.allLinks() {
		if known[l.id] || l.acct.msgs.Load() > 0 {
			continue
		}
		r.linksMu.Lock()
		delete(r.links, l.id)
		r.linksMu.Unlock()
		l.cancel()
		<-l.ended
	}
}

// reroute pumps the pairs that wait for a link that is not up: their receivers
// may have another home by now.
func (r *Router) reroute() {
	for _, l := range r.allLinks() {
		if l.status() != "up" {
			l.kick()
		}
	}
}

// cutOff tells whether the coordinator that a pair's messages wait for cannot be
// reached: no dial has succeeded since the link was lost, or there is no way.
// The shard's mu is held.
func (r *Router) cutOff(p *pair) bool {
	if p.resting {
		return true
	}
	rt := r.route(p.key.to)
	if !p.waiting || !rt.ok || rt.home == r.self {
		return false
	}
	l, _ := r.toward(rt.home)
	return l != nil && l.unreachable()
}

// expire answers every message whose time is over: not tried if it has not
// left, else unknown.
func (r *Router) expire(now time.Time) {
	var out list
	r.eachPair(func(p *pair) {
		if p.parked.head == nil && p.returned.head == nil {
			return
		}
		cutOff := (p.parked.overLink(now) || p.returned.overLink(now)) && r.cutOff(p)
		over := func(e *entry) bool {
			return e.gone() || now.After(e.deadline) || cutOff && e.overLink(now)
		}
		p.parked.filter(&out, over)
		p.returned.filter(&out, over)
		r.tidy(p)
	})
	for out.head != nil {
		e := out.pop()
		if e.onward != nil {
			r.tellBack(e, expired)
			continue
		}
		if now.After(e.deadline) {
			r.finish(e, late(e.m.To))
		} else {
			r.finish(e, wire.NotTried("the message to %s was not sent: its coordinator cannot be reached now", e.m.To))
		}
	}
	for _, l := range r.allLinks() {
		l.overdue(now)
	}
}
