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

// dispatched is what the workers homed here were told. It only saves messages: a
// worker that missed one learns the same from sync_parts.
type dispatched struct {
	mu      sync.Mutex
	parts   map[string]map[wire.PartRef]bool // by session: what it was told to run
	touched map[string]bool                  // workers to compare with the view
	failed  map[string]bool                  // workers to touch again later
}

func (g *dispatched) touch(worker string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if worker != "" {
		mark(&g.touched, worker)
	}
}

// fail takes back what could not be delivered; it is tried again.
func (g *dispatched) fail(worker, session string, refs []wire.PartRef) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range refs {
		delete(g.parts[session], r)
	}
	mark(&g.failed, worker)
}

func (g *dispatched) retry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for worker := range g.failed {
		mark(&g.touched, worker)
	}
	clear(g.failed)
}

func (g *dispatched) next() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.touched) == 0 {
		return nil // as after most news
	}
	workers := slices.Sorted(maps.Keys(g.touched))
	clear(g.touched)
	return workers
}

func (g *dispatched) to(session string) []wire.PartRef {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.parts[session]))
}

// note is for sessions at home here only. It remembers what a session was told to run, and that it knows it need not
// run other parts.
func (g *dispatched) note(session string, run []wire.RunPart, gone []wire.PartRef) {
	g.mu.Lock()
	defer g.mu.Unlock()
	mine := g.parts[session]
	if mine == nil {
		mine = map[wire.PartRef]bool{}
	}
	for _, r := range run {
		mine[r.PartRef] = true
	}
	for _, r := range gone {
		delete(mine, r)
	}
	if g.parts == nil {
		g.parts = map[string]map[wire.PartRef]bool{}
	}
	g.parts[session] = mine
}

func (g *dispatched) forget(session string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.parts, session)
}

func mark(set *map[string]bool, key string) {
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[key] = true
}

// deliver tells the touched workers homed here what they must run and what
// they must drop.
func (h *Home) deliver() {
	for _, worker := range h.dispatched.next() {
		session, here := h.local.session(worker)
		if !here {
			continue
		}
		table := h.State().Jobs
		todo := jobs.Sync(table, session, h.dispatched.to(session))
		h.dispatched.note(session, todo.Run, todo.Cancel)
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
				h.dispatched.fail(worker, session, refs)
			})
			h.dispatched.touch(worker) // one Sync is bounded: there may be more
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
	note := jsonrpc.Request{Method: method, Params: params}
	body, err := note.Encode()
	if err != nil {
		done(err)
		return
	}
	h.Post(wire.Message{
		To: to, From: h.Name(), Conversation: conversation,
		Type: wire.TypeJSON, Payload: [][]byte{body},
	}, router.PostOptions{Write: router.WriteNow}, done)
}

// NoteSync remembers what a session at home here was told by an answer of
// sync_parts.
func (h *Home) NoteSync(session string, todo wire.SyncedParts) {
	h.dispatched.note(session, todo.Run, todo.Cancel)
}
