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
	list []doomed
}

type doomed struct {
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
		r.list = append(r.list, doomed{f, reason, time.Now()})
	}
	r.mu.Unlock()
	rouse(r.wake)
}

func rouse(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// next takes a batch of one reason; those whose lease has ended them anyway
// are forgotten.
func (r *reaper) next() (batch []doomed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rest []doomed
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

func (r *reaper) again(batch []doomed) {
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
				d.reaper.again(batch)
				if !d.wait(100 * time.Millisecond) {
					return
				}
			}
			d.news()
		}
	}
}

// tend keeps sessions alive and cleans, until the door closes.
func (d *Door) tend() {
	alive := time.NewTicker(lease / 5)
	defer alive.Stop()
	cleaning := time.NewTicker(d.cfg.Cleaning)
	defer cleaning.Stop()
	for {
		select {
		case <-alive.C:
			d.keepAlive()
		case <-cleaning.C:
			d.clean(d.cfg.Expiration)
			d.news()
		case <-d.ctx.Done():
			return
		}
	}
}

// keepAlive renews the leases of all who have a living connection.
func (d *Door) keepAlive() {
	d.mu.RLock()
	sessions := make([]*home.Session, 0, len(d.seats))
	for _, s := range d.seats {
		if s.handle != nil {
			sessions = append(sessions, s.handle)
		}
	}
	d.mu.RUnlock()
	for _, s := range sessions {
		s.Renew()
	}
}

// clean asks who was silent for a while, and ends who was for three times as
// long. A name on a living connection that never speaks is held by nobody who
// needs it.
func (d *Door) clean(expiration time.Duration) {
	var silent []*seat
	var quiet, dead []*node
	var fences []registry.Fence
	d.mu.Lock()
	for _, s := range d.seats {
		switch quietness := s.silence(); {
		case quietness > 3*expiration:
			if s.fence.Session != "" {
				fences = append(fences, s.fence)
			}
			d.unseat(s)
			d.counts.add(cExpired)
		case quietness > expiration:
			silent = append(silent, s)
		}
	}
	for _, n := range d.nodes {
		switch quietness := flow.Now() - time.Duration(n.heard.Load()); {
		case quietness > 3*expiration:
			dead = append(dead, n)
		case quietness > expiration:
			quiet = append(quiet, n)
		}
	}
	d.mu.Unlock()
	d.reaper.add("nothing came from it for too long", fences...)
	for _, s := range silent {
		s.guest.send(d.ask(s.full, encodeRequest(0, "pong", nil)))
	}
	for _, n := range quiet {
		_ = n.send(d.ask(registry.FullName(n.namespace, wire.Coordinator), encodeRequest(0, "pong", nil)))
	}
	for _, n := range dead {
		d.log.Info("a foreign coordinator is silent", "namespace", n.namespace)
		d.drop(n)
	}
}

// ask is a request of this coordinator.
func (d *Door) ask(to string, body []byte) *wire.Message {
	return &wire.Message{To: to, From: d.full, Conversation: conversation(), Type: wire.TypeJSON, Payload: [][]byte{body}}
}
