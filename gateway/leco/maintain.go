package leco

import (
	"context"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow"
)

// reaper ends sessions whose connections are gone, many in one write.
type reaper struct {
	wake chan struct{} // capacity 1

	mu   sync.Mutex
	list []endedSession
}

type endedSession struct {
	fence  registry.Fence
	reason string
	since  time.Time
}

func (r *reaper) add(reason string, fences ...registry.Fence) {
	if len(fences) == 0 {
		return
	}
	r.mu.Lock()
	for _, f := range fences {
		r.list = append(r.list, endedSession{f, reason, time.Now()})
	}
	r.mu.Unlock()
	wake(r.wake)
}

func wake(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// next removes and returns a batch with one reason; sessions whose lease has ended
// them anyway are dropped.
func (r *reaper) next() (batch []endedSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rest []endedSession
	for _, x := range r.list {
		switch {
		case time.Since(x.since) > 2*lease:
		case len(batch) < 500 && (len(batch) == 0 || batch[0].reason == x.reason):
			batch = append(batch, x)
		default:
			rest = append(rest, x)
		}
	}
	r.list = rest
	return batch
}

func (r *reaper) requeue(batch []endedSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, batch...)
}

// reap runs the reaper until the door closes.
func (d *Door) reap() {
	for {
		select {
		case <-d.reaper.wake:
		case <-d.ctx.Done():
			return
		}
		for batch := d.reaper.next(); len(batch) > 0; batch = d.reaper.next() {
			fences := make([]registry.Fence, len(batch))
			for i, x := range batch {
				fences[i] = x.fence
			}
			ctx, cancel := context.WithTimeout(d.ctx, 3*time.Second)
			err := d.cluster.EndSessions(ctx, fences, batch[0].reason)
			cancel()
			if err != nil {
				d.reaper.requeue(batch)
				if !d.sleep(100 * time.Millisecond) {
					return
				}
			}
			d.scheduleUpdate()
		}
	}
}

// maintain keeps sessions alive and cleans, until the door closes.
func (d *Door) maintain() {
	alive := time.NewTicker(lease / 5)
	defer alive.Stop()
	cleaning := time.NewTicker(d.cfg.Cleaning)
	defer cleaning.Stop()
	for {
		select {
		case <-alive.C:
			d.keepAlive()
		case <-cleaning.C:
			d.expireSilent(d.cfg.Expiration)
			d.scheduleUpdate()
		case <-d.ctx.Done():
			return
		}
	}
}

// keepAlive renews the leases of all who have a living connection.
func (d *Door) keepAlive() {
	d.mu.RLock()
	sessions := make([]*home.Session, 0, len(d.registrations))
	for _, reg := range d.registrations {
		if reg.handle != nil {
			sessions = append(sessions, reg.handle)
		}
	}
	d.mu.RUnlock()
	for _, s := range sessions {
		s.Renew()
	}
}

// expireSilent pings those that have been silent for expiration, and ends those
// that have been for three times as long, also on a connection that is alive: a
// name that is never used is free for others.
func (d *Door) expireSilent(expiration time.Duration) {
	var idle []*registration
	var quiet, dead []*node
	var fences []registry.Fence
	d.mu.Lock()
	for _, reg := range d.registrations {
		switch quietness := reg.idle(); {
		case quietness > 3*expiration:
			if reg.fence.Session != "" {
				fences = append(fences, reg.fence)
			}
			d.unregister(reg)
			d.counts.add(cExpired)
		case quietness > expiration:
			idle = append(idle, reg)
		}
	}
	for _, n := range d.nodes {
		switch quietness := flow.Now() - time.Duration(n.lastSeen.Load()); {
		case quietness > 3*expiration:
			dead = append(dead, n)
		case quietness > expiration:
			quiet = append(quiet, n)
		}
	}
	d.mu.Unlock()
	d.reaper.add("nothing came from it for too long", fences...)
	for _, reg := range idle {
		reg.conn.send(d.requestMessage(reg.full, encodeRequest(0, "pong", nil)))
	}
	for _, n := range quiet {
		_ = n.send(d.requestMessage(registry.FullName(n.namespace, wire.Coordinator), encodeRequest(0, "pong", nil)))
	}
	for _, n := range dead {
		d.log.Info("a foreign coordinator is silent", "namespace", n.namespace)
		d.disconnect(n)
	}
}

// requestMessage is a request of this coordinator.
func (d *Door) requestMessage(to string, body []byte) *wire.Message {
	return &wire.Message{To: to, From: d.full, Conversation: newConversation(), Type: wire.TypeJSON, Payload: [][]byte{body}}
}
