package router

import (
	"maps"
	"strings"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/wire"
)

// Egress is the table of namespaces outside this cluster: whoever has a
// connection to one registers the handler that sends messages there. The zero
// value is an empty table; its methods are safe for concurrent use.
type Egress struct {
	mu       lockorder.Mutex[lockorder.Leaf] // serializes changes
	handlers atomic.Pointer[map[string]EgressHandler]
}

// EgressHandler sends one message to its namespace and does not block. The
// payload is the caller's again when it returns. handled is false, and nothing
// was sent, when the namespace cannot be reached this way now, or belongs to
// the cluster: the message then goes where the directory says. A refusal of nil
// means that the message was handed over.
type EgressHandler func(m wire.Message) (handled bool, refusal *wire.Error)

// Register has messages to a namespace pass through h. A namespace that has a
// handler already keeps it, and the error is a conflict.
func (e *Egress) Register(namespace string, h EgressHandler) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all()
	if all[namespace] != nil {
		return wire.Refuse(wire.CodeConflict, "messages to namespace %s have another egress already: unregister that one first", namespace)
	}
	all = maps.Clone(all)
	if all == nil {
		all = make(map[string]EgressHandler)
	}
	all[namespace] = h
	e.handlers.Store(&all)
	return nil
}

// Unregister removes the handler of a namespace, if there is one. A message
// that is being posted meanwhile may still reach it.
func (e *Egress) Unregister(namespace string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := maps.Clone(e.all())
	delete(all, namespace)
	if len(all) == 0 {
		e.handlers.Store(nil)
		return
	}
	e.handlers.Store(&all)
}

func (e *Egress) all() map[string]EgressHandler {
	if p := e.handlers.Load(); p != nil {
		return *p
	}
	return nil
}

// handler returns the one for a full name; nil is none. It takes no lock.
func (e *Egress) handler(to string) EgressHandler {
	p := e.handlers.Load()
	if p == nil {
		return nil
	}
	namespace, _, ok := strings.Cut(to, ".")
	if !ok {
		return nil
	}
	return (*p)[namespace]
}

// leaves offers a message to the handler of its namespace and answers its sender
// if that has handled it. Such outcomes are not counted in Stats: they are not
// about this cluster's mailboxes and links.
func (e *Egress) leaves(m *wire.Message, to reply) bool {
	if e == nil {
		return false
	}
	h := e.handler(m.To)
	if h == nil {
		return false
	}
	handled, refusal := h(*m)
	if handled {
		to.resolve(refusal)
	}
	return handled
}
