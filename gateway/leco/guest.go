package leco

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// guest is one connection: a component, or a foreign coordinator's DEALER. Who
// speaks on it is proven by it.
type guest struct {
	d     *Door
	conn  *zmtp.Conn
	spoke atomic.Bool

	names  wire.Names          // owned by serve
	known  map[string]*seat    // owned by serve: sender frame -> the seat it means here
	routes map[string]receiver // owned by serve: receiver frame -> where to

	// Guarded by the door's mu.
	seats map[string]*seat // by plain name
	node  *node            // whose connection it is
}

// speaker is who sent one message, after it was authenticated.
type speaker struct {
	g               *guest
	namespace, name string
	frame           string // the sender frame as it stood
	full            string
	seat            *seat // nil for one that is signing in or out, and for foreign ones
	node            *node // of a foreign one
	refusal         error // why its message goes nowhere, whoever it is for; nil: nothing is wrong
}

// maxCached bounds what a connection remembers of names.
const maxCached = 4096

// serve has the connection until it ends.
func (d *Door) serve(conn *zmtp.Conn) {
	g := &guest{d: d, conn: conn, seats: map[string]*seat{}, known: map[string]*seat{}, routes: map[string]receiver{}}
	d.mu.Lock()
	d.guests[g] = struct{}{}
	d.mu.Unlock()
	defer d.leave(g)
	nudge := time.AfterFunc(d.cfg.Nudge, g.nudge)
	defer nudge.Stop()
	for {
		frames, err := conn.Receive()
		var large *zmtp.TooLarge
		if errors.As(err, &large) {
			d.counts.add(cTooLarge)
			frames, err = start(large), wire.Refuse(wire.CodeTooLarge, "%v", err)
		} else if err != nil {
			d.log.Debug("a LECO connection ended", "from", conn.RemoteAddr(), "error", err)
			return
		}
		g.spoke.Store(true)
		d.counts.add(cMessages)
		g.hear(frames, err)
	}
}

// nudge tells a connection that never said a word that it is not signed in: a
// client that lost its coordinator and is connected again signs in at once,
// instead of at its next heartbeat.
func (g *guest) nudge() {
	if g.spoke.Load() {
		return
	}
	g.d.counts.add(cNudges)
	g.push("", notSignedIn())
}

// push sends an error that answers no message.
func (g *guest) push(to string, f *jsonrpc.Error) {
	g.send(&wire.Message{To: to, From: g.d.full, Conversation: conversation(), Type: wire.TypeJSON, Payload: [][]byte{encodeResponse(nil, nil, f)}})
}

// send queues a message; one that finds no room is counted and lost: the peer
// does not read.
func (g *guest) send(m *wire.Message) {
	if g.conn.Send(encode(m)...) != nil {
		g.d.counts.add(cUnheard)
	}
}

// say is send for the connection's own goroutine: it waits for room, and so
// for its own peer only.
func (g *guest) say(m *wire.Message) {
	if g.conn.AddWait(g.d.ctx, encode(m)...) != nil {
		g.d.counts.add(cUnheard)
	}
	g.conn.Flush()
}

// welcome is say for an answer that may be the one to a sign-in: it comes before
// anything else that goes to the seat, and whoever has read it finds the seat
// open.
func (g *guest) welcome(m *wire.Message, s *seat) {
	if s == nil || s.opened() {
		g.say(m)
		return
	}
	g.d.mu.Lock() // handOver waits
	added := g.conn.Add(encode(m)...) == nil
	if added {
		s.open()
	}
	g.d.mu.Unlock()
	if !added { // there is no room: a peer that does not read
		g.say(m)
		s.open()
		return
	}
	g.conn.Flush()
}

// reply is the answer to m from COORDINATOR.
func (d *Door) reply(m *wire.Message, to string, body []byte) *wire.Message {
	return &wire.Message{To: to, From: d.full, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{body}}
}

// refuse answers m on this connection.
func (g *guest) refuse(m *wire.Message, f *jsonrpc.Error) {
	switch f.Code {
	case jsonrpc.CodeNotSignedIn:
		g.d.counts.add(cNotSignedIn)
	case jsonrpc.CodeDuplicateName:
		g.d.counts.add(cDuplicate)
	}
	g.say(g.d.reply(m, m.From, encodeResponse(nil, nil, f)))
}

// hear takes one message: who is it, may it, where to (LECO control protocol;
// the order is that of its decision list). refusal is why it goes nowhere; nil
// for most.
func (g *guest) hear(frames [][]byte, refusal error) {
	d := g.d
	m, ok := decode(frames, &g.names)
	if !ok {
		d.counts.add(cMalformed)
		if refusal != nil {
			d.complain("a LECO message above the limits was dropped", "from", g.conn.RemoteAddr(), "reason", refusal)
		}
		return
	}
	if s := g.known[m.From]; s != nil && !s.over.Load() {
		s.heard.Store(int64(flow.Now()))
		g.route(speaker{g: g, namespace: d.namespace, name: s.name, frame: m.From, full: s.full, seat: s, refusal: refusal}, m)
		return
	}
	namespace, name, ok := split(m.From)
	if !ok {
		d.counts.add(cMalformed)
		g.refuse(&m, invalidRequest("the sender is name or namespace.name"))
		return
	}
	w := speaker{g: g, namespace: namespace, name: name, frame: m.From, full: m.From, refusal: refusal}
	if namespace == "" || namespace == d.namespace {
		w.namespace, w.full = d.namespace, registry.FullName(d.namespace, name)
		g.local(w, m)
		return
	}
	g.foreign(w, m)
}

// local judges a sender of the own namespace.
func (g *guest) local(w speaker, m wire.Message) {
	d := g.d
	d.mu.RLock()
	s := d.seats[w.name]
	d.mu.RUnlock()
	switch {
	case s != nil && s.guest == g:
		s.heard.Store(int64(flow.Now()))
		if len(g.known) >= maxCached {
			clear(g.known)
		}
		g.known[w.frame], w.seat = s, s
		g.route(w, m)
	case d.asks(&m, "sign_in") || s == nil && d.asks(&m, "sign_out"):
		d.command(w, &m)
	case s != nil:
		g.refuse(&m, duplicateName(nil))
	default:
		g.refuse(&m, notSignedIn())
	}
}

// foreign judges a sender of another namespace: the message must come from
// that namespace's coordinator.
func (g *guest) foreign(w speaker, m wire.Message) {
	d := g.d
	d.mu.RLock()
	n := g.node
	d.mu.RUnlock()
	switch {
	case n != nil && n.namespace == w.namespace:
		n.heard.Store(int64(flow.Now()))
		w.node = n
		g.route(w, m)
	case w.name == wire.Coordinator && d.asks(&m, "coordinator_sign_in", "coordinator_sign_out"):
		d.command(w, &m)
	default:
		if n != nil {
			d.counts.add(cForeign)
		}
		g.refuse(&m, notSignedIn())
	}
}

// asks tells whether a message to this coordinator is one request of these
// methods; it is parsed, not searched for a word.
func (d *Door) asks(m *wire.Message, methods ...string) bool {
	if m.To != wire.Coordinator && m.To != d.full || len(m.Payload) == 0 || m.Type != wire.TypeJSON {
		return false
	}
	c := parse(m.Payload[0])
	return c.asks(methods...)
}

// leave ends what hangs on the connection.
func (d *Door) leave(g *guest) {
	d.mu.Lock()
	delete(d.guests, g)
	var fences []registry.Fence
	for _, s := range g.seats {
		if s.fence.Session != "" {
			fences = append(fences, s.fence)
		}
		d.unseat(s)
	}
	n := g.node
	if n != nil {
		d.partLocked(n, g)
	}
	d.mu.Unlock()
	d.reaper.add("its connection was lost", fences...)
}
