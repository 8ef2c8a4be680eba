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

// peerConn is one connection: a component, or a foreign coordinator's DEALER. Who
// speaks on it is proven by it.
type peerConn struct {
	door  *Door
	conn  *zmtp.Conn
	spoke atomic.Bool

	names   wire.Names               // owned by serve
	senders map[string]*registration // owned by serve: sender frame -> the registration it means here
	routes  map[string]destination   // owned by serve: receiver frame -> where to

	// Guarded by the door's mu.
	registrations map[string]*registration // by plain name
	node          *node                    // whose connection it is
	stranger      bool                     // it is in the door's strangers
}

// sender is who sent one message, after it was authenticated.
type sender struct {
	conn            *peerConn
	namespace, name string
	frame           string // the sender frame as it stood
	full            string
	reg             *registration // nil for one that is signing in or out, and for foreign ones
	node            *node         // of a foreign one
	refusal         error         // why its message is not delivered, whatever the receiver; nil: nothing is wrong
}

// maxCached bounds what a connection remembers of names.
const maxCached = 4096

// serve has the connection until it ends.
func (d *Door) serve(conn *zmtp.Conn) {
	c := &peerConn{door: d, conn: conn, registrations: map[string]*registration{}, senders: map[string]*registration{}, routes: map[string]destination{}}
	d.mu.Lock()
	d.conns[c] = struct{}{}
	d.judgeStranger(c)
	d.mu.Unlock()
	defer d.closeConn(c)
	nudge := time.AfterFunc(d.cfg.Nudge, c.nudge)
	defer nudge.Stop()
	for {
		frames, err := conn.Receive()
		var large *zmtp.TooLarge
		if errors.As(err, &large) {
			d.counts.add(cTooLarge)
			frames, err = partialFrames(large), wire.Refuse(wire.CodeTooLarge, "%v", err)
		} else if err != nil {
			d.log.Debug("a LECO connection ended", "from", conn.RemoteAddr(), "error", err)
			return
		}
		c.spoke.Store(true)
		d.counts.add(cMessages)
		c.handleMessage(frames, err)
	}
}

// judgeStranger notes whether nobody is signed in on a connection. When there are too many of
// those, one is closed: they keep no component out, however long they stay. mu is held.
func (d *Door) judgeStranger(c *peerConn) {
	_, open := d.conns[c]
	stranger := open && len(c.registrations) == 0 && c.node == nil
	if stranger == c.stranger {
		return
	}
	c.stranger = stranger
	if !stranger {
		d.strangers.Remove(c)
		return
	}
	if evicted, full := d.strangers.Add(c, c.conn.RemoteAddr()); full {
		evicted.stranger = false
		d.counts.add(cDisplaced)
		d.spawn(evicted.conn.Close) // Close waits for the writer
	}
}

// nudge sends a connection on which nothing was received that it is not signed in: a
// client that lost its coordinator and is connected again signs in at once,
// instead of at its next heartbeat.
func (c *peerConn) nudge() {
	if c.spoke.Load() {
		return
	}
	c.door.counts.add(cNudges)
	c.sendError("", notSignedIn())
}

// sendError sends an error that answers no message.
func (c *peerConn) sendError(to string, f *jsonrpc.Error) {
	c.send(&wire.Message{To: to, From: c.door.full, Conversation: newConversation(), Type: wire.TypeJSON, Payload: [][]byte{encodeResponse(nil, nil, f)}})
}

// send queues a message; one that finds no room is counted and lost: the peer
// does not read.
func (c *peerConn) send(m *wire.Message) {
	if c.conn.Send(encode(m)...) != nil {
		c.door.counts.add(cQueueFull)
	}
}

// sendWait is send for the goroutine of the connection itself: it blocks until
// there is room, and so delays its own peer only.
func (c *peerConn) sendWait(m *wire.Message) {
	if c.conn.AddWait(c.door.ctx, encode(m)...) != nil {
		c.door.counts.add(cQueueFull)
	}
	c.conn.Flush()
}

// sendAnswer is sendWait for an answer that may be the one to a sign-in: it comes
// before anything else that goes to the registration, and whoever has read it finds that
// open.
func (c *peerConn) sendAnswer(m *wire.Message, reg *registration) {
	if reg == nil || reg.mailAllowed() {
		c.sendWait(m)
		return
	}
	c.door.mu.Lock() // handOver waits
	added := c.conn.Add(encode(m)...) == nil
	if added {
		reg.allowMail()
	}
	c.door.mu.Unlock()
	if !added { // there is no room: a peer that does not read
		c.sendWait(m)
		reg.allowMail()
		return
	}
	c.conn.Flush()
}

// responseTo is the answer to m from COORDINATOR.
func (d *Door) responseTo(m *wire.Message, to string, body []byte) *wire.Message {
	return &wire.Message{To: to, From: d.full, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{body}}
}

// refuse answers m on this connection.
func (c *peerConn) refuse(m *wire.Message, f *jsonrpc.Error) {
	switch f.Code {
	case jsonrpc.CodeNotSignedIn:
		c.door.counts.add(cNotSignedIn)
	case jsonrpc.CodeDuplicateName:
		c.door.counts.add(cDuplicate)
	}
	c.sendWait(c.door.responseTo(m, m.From, encodeResponse(nil, nil, f)))
}

// handleMessage authenticates and routes one message (LECO control protocol; the
// order is that of its decision list). refusal is why it is not delivered; nil
// for most.
func (c *peerConn) handleMessage(frames [][]byte, refusal error) {
	d := c.door
	m, ok := decode(frames, &c.names)
	if !ok {
		d.counts.add(cMalformed)
		if refusal != nil {
			d.warnLimited("a LECO message above the limits was dropped", "from", c.conn.RemoteAddr(), "reason", refusal)
		}
		return
	}
	if reg := c.senders[m.From]; reg != nil && !reg.ended.Load() {
		reg.lastSeen.Store(int64(flow.Now()))
		c.route(sender{conn: c, namespace: d.namespace, name: reg.name, frame: m.From, full: reg.full, reg: reg, refusal: refusal}, m)
		return
	}
	namespace, name, ok := splitName(m.From)
	if !ok {
		d.counts.add(cMalformed)
		c.refuse(&m, invalidRequest("the sender is name or namespace.name"))
		return
	}
	from := sender{conn: c, namespace: namespace, name: name, frame: m.From, full: m.From, refusal: refusal}
	if namespace == "" || namespace == d.namespace {
		from.namespace, from.full = d.namespace, registry.FullName(d.namespace, name)
		c.handleLocal(from, m)
		return
	}
	c.handleForeign(from, m)
}

// handleLocal authenticates a sender of the local namespace.
func (c *peerConn) handleLocal(from sender, m wire.Message) {
	d := c.door
	d.mu.RLock()
	reg := d.registrations[from.name]
	d.mu.RUnlock()
	switch {
	case reg != nil && reg.conn == c:
		reg.lastSeen.Store(int64(flow.Now()))
		if len(c.senders) >= maxCached {
			clear(c.senders)
		}
		c.senders[from.frame], from.reg = reg, reg
		c.route(from, m)
	case d.requestsMethod(&m, "sign_in") || reg == nil && d.requestsMethod(&m, "sign_out"):
		d.handleCommand(from, &m)
	case reg != nil:
		c.refuse(&m, duplicateName(nil))
	default:
		c.refuse(&m, notSignedIn())
	}
}

// handleForeign authenticates a sender of another namespace: the message must come from
// that namespace's coordinator.
func (c *peerConn) handleForeign(from sender, m wire.Message) {
	d := c.door
	d.mu.RLock()
	n := c.node
	d.mu.RUnlock()
	switch {
	case n != nil && n.namespace == from.namespace:
		n.lastSeen.Store(int64(flow.Now()))
		from.node = n
		c.route(from, m)
	case from.name == wire.Coordinator && d.requestsMethod(&m, "coordinator_sign_in", "coordinator_sign_out"):
		d.handleCommand(from, &m)
	default:
		if n != nil {
			d.counts.add(cForeign)
		}
		c.refuse(&m, notSignedIn())
	}
}

// requestsMethod reports whether a message to this coordinator is one request of these
// methods; it is parsed, not searched for a word.
func (d *Door) requestsMethod(m *wire.Message, methods ...string) bool {
	if m.To != wire.Coordinator && m.To != d.full || len(m.Payload) == 0 || m.Type != wire.TypeJSON {
		return false
	}
	c := parse(m.Payload[0])
	return c.requestsMethod(methods...)
}

// closeConn ends what hangs on the connection.
func (d *Door) closeConn(c *peerConn) {
	d.mu.Lock()
	delete(d.conns, c)
	d.judgeStranger(c)
	var fences []registry.Fence
	for _, reg := range c.registrations {
		if reg.fence.Session != "" {
			fences = append(fences, reg.fence)
		}
		d.unregister(reg)
	}
	n := c.node
	if n != nil {
		d.detachLocked(n, c)
	}
	d.mu.Unlock()
	d.reaper.add("its connection was lost", fences...)
}
