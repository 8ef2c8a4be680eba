package router

import (
	"context"
	"crypto/rand"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

// Router is one coordinator's part in bringing messages about. All methods
// are safe for concurrent use.
type Router struct {
	self, namespace string
	dir             Directory
	dialer          Dialer
	egress          *Egress
	log             *slog.Logger
	limits          Limits
	instance        [16]byte
	stats           stats
	forgeryLog      *rate.Limiter // of log lines
	lookups         lookupQueue
	unresolved      link.Quota // messages whose receiver's home is not known yet

	ctx    context.Context // of every goroutine
	cancel context.CancelFunc
	closed atomic.Bool
	goMu   lockorder.Mutex[lockorder.Leaf] // guards running.Add against Close
	wg     sync.WaitGroup

	seed   maphash.Seed
	shards [shards]shard

	mu            lockorder.RWMutex[lockorder.Mailboxes] // guards the mailboxes; never held while a message is handed over
	mailboxes     map[string]*Mailbox
	mailboxByName map[string]*Mailbox // by full name
	namesVersion  atomic.Uint64       // raised with every change of names

	linksMu lockorder.RWMutex[lockorder.Links]
	links   map[string]*outLink // by the other coordinator's id

	mesh   bool // whether all have links to all
	routes *route.Table

	parkedMu lockorder.Mutex[lockorder.Leaf]
	parked   []*stream // to be pumped at the next tick
}

// Open starts a router; Close ends it.
func Open(c Config) *Router {
	if c.Namespace == "" {
		c.Namespace = c.Self
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		self: c.Self, namespace: c.Namespace, dir: c.Directory, dialer: c.Dialer, egress: c.Egress, log: c.Logger,
		limits:     c.Limits.withDefaults(),
		forgeryLog: rate.NewLimiter(1, 5),
		lookups:    lookupQueue{wake: make(chan struct{}, 1)},
		seed:       maphash.MakeSeed(),
		mailboxes:  make(map[string]*Mailbox), mailboxByName: make(map[string]*Mailbox),
		links: make(map[string]*outLink),
	}
	r.mesh = c.Topology.IsMesh()
	r.routes = route.NewTable(c.Self, c.Topology)
	_, _ = rand.Read(r.instance[:]) // never fails
	r.unresolved.Limit(r.limits.LinkMessages, r.limits.LinkBytes)
	for i := range r.shards {
		r.shards[i].streams = make(map[streamKey]*stream)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.goTracked(func() { r.runLookups(r.ctx) })
	changed := r.dir.Changed()
	r.goTracked(func() { r.maintain(r.ctx, changed) })
	if r.dialer != nil {
		// Not waited for by Close: it ends when the port it waits at does.
		go newAcceptor(r).run()
	}
	return r
}

// goTracked starts a goroutine that Close waits for, unless Close has begun to wait.
func (r *Router) goTracked(f func()) bool {
	r.goMu.Lock()
	defer r.goMu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.wg.Go(f)
	return true
}

// Close ends all mailboxes, waits at most Limits.Drain for outcomes that are
// under way, ends all links and answers every message that still waits:
// unavailable if it has not left, else unknown. After it nothing of the router
// runs but the wait for AcceptLink, which ends with the Dialer's port.
func (r *Router) Close() {
	r.mu.RLock()
	sessions := make([]string, 0, len(r.mailboxes))
	for id := range r.mailboxes {
		sessions = append(sessions, id)
	}
	r.mu.RUnlock()
	for _, id := range sessions {
		r.Detach(id, "its home is stopping")
	}
	r.linksMu.Lock() // so that no link is made after this
	r.closed.Store(true)
	links := make([]*outLink, 0, len(r.links))
	for _, l := range r.links {
		links = append(links, l)
	}
	r.linksMu.Unlock()
	r.eachStream(func(st *stream) { r.pump(st, nil) })
	limit := time.NewTimer(r.limits.Drain)
	defer limit.Stop()
drain:
	for _, l := range links {
		select {
		case <-l.outbox.Drained():
		case <-limit.C:
			break drain
		}
	}
	r.goMu.Lock()
	r.cancel()
	r.goMu.Unlock()
	for _, l := range links {
		<-l.ended
	}
	r.wg.Wait()
}

// eachStream calls f for every stream with its shard's mu held. f may let go of it.
func (r *Router) eachStream(f func(*stream)) {
	var all []*stream
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		all = all[:0]
		for _, st := range sh.streams {
			all = append(all, st)
		}
		for _, st := range all {
			f(st)
		}
		sh.mu.Unlock()
	}
}

// Links tells, for every other coordinator, "up" or the last error.
func (r *Router) Links() map[string]string {
	r.linksMu.RLock()
	defer r.linksMu.RUnlock()
	all := make(map[string]string, len(r.links))
	for id, l := range r.links {
		all[id] = l.status()
	}
	return all
}

// Attach opens the mailbox of a session that is at home here. A mailbox the
// session already has is kept, with the higher epoch; one of another session
// of the same name is ended. A lower epoch is a conflict.
func (r *Router) Attach(full, session string, epoch uint64) (*Mailbox, error) {
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return nil, wire.NotTried("no mailbox for %s: this coordinator is stopping", full)
	}
	if m, ok := r.mailboxes[session]; ok {
		defer r.mu.Unlock()
		if m.full != full {
			return nil, wire.Refuse(wire.CodeConflict, "session %s has the mailbox of %s, not of %s", session, m.full, full)
		}
		if !m.raiseEpoch(epoch) {
			return nil, wire.Refuse(wire.CodeConflict, "session %s of %s is at a later epoch than %d", session, full, epoch)
		}
		return m, nil
	}
	before := r.mailboxByName[full]
	m := newMailbox(full, session, epoch, r.limits)
	r.mailboxes[session], r.mailboxByName[full] = m, m
	r.namesVersion.Add(1)
	if before != nil {
		delete(r.mailboxes, before.session)
	}
	r.mu.Unlock()
	if before != nil {
		r.endMailbox(before, "another session has its name")
	}
	return m, nil
}

// Detach ends a session's mailbox; its reader gets not_found with the reason.
// What no reader was given goes back to its senders as a JSON-RPC error from
// COORDINATOR in the same conversation. It does not wait for that.
func (r *Router) Detach(session, reason string) {
	r.mu.Lock()
	m, ok := r.mailboxes[session]
	if ok {
		delete(r.mailboxes, session)
		if r.mailboxByName[m.full] == m {
			delete(r.mailboxByName, m.full)
			r.namesVersion.Add(1)
		}
	}
	r.mu.Unlock()
	if ok {
		r.endMailbox(m, reason)
	}
}

// Mailbox returns the mailbox of a session that is attached here.
func (r *Router) Mailbox(session string) (*Mailbox, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.mailboxes[session]
	return m, ok
}

// mailboxOf returns the mailbox of a full name that is attached here; nil is none.
func (r *Router) mailboxOf(full string) *Mailbox {
	r.mu.RLock()
	m := r.mailboxByName[full]
	r.mu.RUnlock()
	return m
}
