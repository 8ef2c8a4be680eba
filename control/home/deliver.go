package home

import (
	"maps"
	"slices"
	"sync"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// dispatched records the assignments that were sent to the workers at home here. It
// only saves messages: a worker that missed one receives the same by sync_parts.
type dispatched struct {
	mu     sync.Mutex
	parts  map[string]map[wire.PartRef]bool // by session: the parts it was sent
	dirty  map[string]bool                  // workers to compare with the view
	failed map[string]bool                  // workers to mark dirty at the next retry
}

// markDirty has the next deliver compare a worker with the view; "" is nobody.
func (g *dispatched) markDirty(worker string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if worker != "" {
		addTo(&g.dirty, worker)
	}
}

// undeliver forgets parts that could not be delivered; the next retry sends them again.
func (g *dispatched) undeliver(worker, session string, refs []wire.PartRef) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range refs {
		delete(g.parts[session], r)
	}
	addTo(&g.failed, worker)
}

// retry marks the workers dirty to which a delivery failed.
func (g *dispatched) retry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for worker := range g.failed {
		addTo(&g.dirty, worker)
	}
	clear(g.failed)
}

// takeDirty returns the dirty workers, sorted, and marks them clean.
func (g *dispatched) takeDirty() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.dirty) == 0 {
		return nil // as after most events
	}
	workers := slices.Sorted(maps.Keys(g.dirty))
	clear(g.dirty)
	return workers
}

// sentTo returns the parts that a session was sent.
func (g *dispatched) sentTo(session string) []wire.PartRef {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.parts[session]))
}

// recordSent records the parts that a session at home here was sent, and forgets those that it knows it need not run
// any more.
func (g *dispatched) recordSent(session string, run []wire.RunPart, gone []wire.PartRef) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sent := g.parts[session]
	if sent == nil {
		sent = map[wire.PartRef]bool{}
	}
	for _, r := range run {
		sent[r.PartRef] = true
	}
	for _, r := range gone {
		delete(sent, r)
	}
	if g.parts == nil {
		g.parts = map[string]map[wire.PartRef]bool{}
	}
	g.parts[session] = sent
}

func (g *dispatched) forget(session string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.parts, session)
}

func addTo(set *map[string]bool, key string) {
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[key] = true
}

// deliver sends the dirty workers at home here the parts that they must run and
// those that they must drop.
func (h *Home) deliver() {
	for _, worker := range h.dispatched.takeDirty() {
		session, here := h.local.session(worker)
		if !here {
			continue
		}
		table := h.State().Jobs
		todo := jobs.Sync(table, session, h.dispatched.sentTo(session))
		h.dispatched.recordSent(session, todo.Run, todo.Cancel)
		cancel := slices.DeleteFunc(todo.Cancel, func(r wire.PartRef) bool {
			// Its own report ended this one: there is nothing to drop.
			p, ok := table.Part(r.Job, r.Part)
			return ok && p.Attempt == r.Attempt && (p.State == jobs.Done || p.State == jobs.Failed)
		})
		if len(cancel) > 0 {
			h.notify(worker, "cancel_parts", wire.PartRefs{Parts: cancel}, func(error) {})
		}
		if len(todo.Run) > 0 {
			h.notify(worker, "run_parts", wire.RunParts{Parts: todo.Run}, func(err error) {
				if err == nil {
					return
				}
				refs := make([]wire.PartRef, len(todo.Run))
				for i, r := range todo.Run {
					refs[i] = r.PartRef
				}
				h.dispatched.undeliver(worker, session, refs)
			})
			h.dispatched.markDirty(worker) // one Sync is bounded: there may be more
		}
	}
}

// notify posts a JSON-RPC notification from COORDINATOR.
func (h *Home) notify(to, method string, params any, done func(error)) {
	conversation, err := h.NewConversation()
	if err != nil {
		done(err)
		return
	}
	request := jsonrpc.Request{Method: method, Params: params}
	body, err := request.Encode()
	if err != nil {
		done(err)
		return
	}
	h.Post(wire.Message{
		To: to, From: h.Name(), Conversation: conversation,
		Type: wire.TypeJSON, Payload: [][]byte{body},
	}, router.PostOptions{Write: router.WriteNow}, done)
}

// RecordSync records the parts that an answer of sync_parts sent to a session at
// home here.
func (h *Home) RecordSync(session string, todo wire.SyncedParts) {
	h.dispatched.recordSent(session, todo.Run, todo.Cancel)
}
