package control

import (
	"maps"
	"slices"
	"sync"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// given is what the workers homed here were told. It only saves messages: a
// worker that missed one learns the same from sync_parts.
type given struct {
	mu      sync.Mutex
	parts   map[string]map[wire.PartRef]bool // by session: what it was told to run
	touched map[string]bool                  // workers to compare with the view
	failed  map[string]bool                  // workers to touch again later
}

func (g *given) touch(worker string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if worker != "" {
		mark(&g.touched, worker)
	}
}

// fail takes back what could not be delivered; it is tried again.
func (g *given) fail(worker, session string, refs []wire.PartRef) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range refs {
		delete(g.parts[session], r)
	}
	mark(&g.failed, worker)
}

func (g *given) retry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for worker := range g.failed {
		mark(&g.touched, worker)
	}
	clear(g.failed)
}

func (g *given) next() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.touched) == 0 {
		return nil // as after most news
	}
	workers := slices.Sorted(maps.Keys(g.touched))
	clear(g.touched)
	return workers
}

func (g *given) to(session string) []wire.PartRef {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.parts[session]))
}

// note is for sessions at home here only. It remembers what a session was told to run, and that it knows it need not
// run other parts.
func (g *given) note(session string, run []wire.RunPart, gone []wire.PartRef) {
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

func (g *given) forget(session string) {
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
func (c *Control) deliver() {
	for _, worker := range c.given.next() {
		session, here := c.homed.session(worker)
		if !here {
			continue
		}
		table := c.machine.View().Jobs
		todo := jobs.Sync(table, session, c.given.to(session))
		c.given.note(session, todo.Run, todo.Cancel)
		cancel := slices.DeleteFunc(todo.Cancel, func(r wire.PartRef) bool {
			// Its own report ended this one: there is nothing to drop.
			p, ok := table.Part(r.Job, r.Part)
			return ok && p.Attempt == r.Attempt && (p.State == jobs.Done || p.State == jobs.Failed)
		})
		if len(cancel) > 0 {
			c.tell(worker, "cancel_parts", wire.PartRefs{Parts: cancel}, func(error) {})
		}
		if len(todo.Run) > 0 {
			c.tell(worker, "run_parts", wire.RunParts{Parts: todo.Run}, func(err error) {
				if err == nil {
					return
				}
				refs := make([]wire.PartRef, len(todo.Run))
				for i, r := range todo.Run {
					refs[i] = r.PartRef
				}
				c.given.fail(worker, session, refs)
			})
			c.given.touch(worker) // one Sync is bounded: there may be more
		}
	}
}

// tell posts a JSON-RPC notification from COORDINATOR.
func (c *Control) tell(to, method string, params any, done func(error)) {
	conversation, err := c.conversation()
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
	c.mail.Post(wire.Message{
		To: to, From: c.Name(), Conversation: conversation,
		Type: wire.TypeJSON, Payload: [][]byte{body},
	}, false, done)
}
