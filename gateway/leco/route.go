package leco

import (
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// destination is where a receiver frame leads.
type destination struct {
	kind      int
	namespace string
	full      string
}

const (
	destCoordinator = iota // COORDINATOR
	destLocal              // a component of the local namespace
	destForeign            // of another one
	destInvalid            // no name at all
)

func (c *peerConn) resolve(frame string) destination {
	dst, ok := c.routes[frame]
	if ok {
		return dst
	}
	d := c.door
	namespace, name, ok := splitName(frame)
	switch {
	case frame == wire.Coordinator || frame == d.full:
		dst = destination{kind: destCoordinator, namespace: d.namespace, full: d.full}
	case !ok:
		dst = destination{kind: destInvalid}
	case namespace == "" || namespace == d.namespace:
		dst = destination{kind: destLocal, namespace: d.namespace, full: registry.FullName(d.namespace, name)}
	default:
		dst = destination{kind: destForeign, namespace: namespace, full: frame}
	}
	if len(c.routes) >= maxCached {
		clear(c.routes)
	}
	c.routes[frame] = dst
	return dst
}

// route sends an authenticated message to its receiver. Only missing namespaces
// are added to it.
func (c *peerConn) route(from sender, m wire.Message) {
	d := c.door
	dst := c.resolve(m.To)
	frame := m.To
	if from.refusal != nil {
		d.refuseTooLarge(from, &m, dst, from.refusal)
		return
	}
	switch dst.kind {
	case destCoordinator:
		d.handleCommand(from, &m)
		return
	case destInvalid:
		d.reportFailure(from, &m, frame, receiverUnknown(frame))
		return
	}
	m.From, m.To = from.full, dst.full
	if err := m.Check(); err != nil {
		m.To = frame
		d.counts.add(cTooLarge)
		d.refuseTooLarge(from, &m, dst, err)
		return
	}
	if dst.kind == destForeign && !d.inCluster(dst.namespace) {
		if n := d.outboundTo(dst.namespace); n != nil {
			if n.send(&m) != nil {
				d.reportFailure(from, &m, frame, jsonrpc.NewError(jsonrpc.CodeServer, "The way to the node is full or has just been lost.", dst.namespace))
			}
			return
		}
	}
	if dst.kind == destForeign && from.node != nil {
		// A message between two other namespaces takes their own link.
		d.reportFailure(from, &m, frame, nodeUnknown(dst.namespace))
		return
	}
	if dst.kind == destLocal && d.deliverPending(&m) {
		return
	}
	if from.reg != nil {
		if f := d.awaitRegistration(from.reg, dst.full); f != nil {
			d.reportFailure(from, &m, frame, f)
			return
		}
	}
	head := wire.Message{From: m.From, Conversation: m.Conversation}
	o := router.PostOptions{LinkWait: linkWait, Borrowed: true, Write: router.WriteMode(!c.conn.Buffered())}
	d.cluster.Post(m, o, func(err error) {
		if err != nil {
			d.reportUndelivered(from, &head, frame, dst, err)
		}
	})
}

// deliverPending gives a message to a component whose sign-in is granted but not
// written yet: the directory does not know it, the door does.
func (d *Door) deliverPending(m *wire.Message) bool {
	d.mu.RLock()
	var c *peerConn
	if d.pendingRegistrations > 0 {
		if reg := d.registrations[m.To[len(d.namespace)+1:]]; reg != nil && reg.session == "" && reg.mailAllowed() {
			c = reg.conn
		}
	}
	d.mu.RUnlock()
	if c == nil {
		return false
	}
	c.send(m)
	return true
}

// awaitRegistration holds a message, and those of its sender behind it, until the
// sender's sign-in is written: before, the name may become another's, and the directory
// does not know whom the receiver answers. Components of this door are answered without
// it: see deliverPending. The error is why the message is not sent: the sign-in was
// refused, has ended, or takes too long.
func (d *Door) awaitRegistration(reg *registration, to string) *jsonrpc.Error {
	select {
	case <-reg.decided:
	default:
		if row, ok := d.cluster.State().Registry.Session(to); ok && d.isOurs(row) {
			return nil
		}
		limit := time.NewTimer(d.cfg.Provisional / 3)
		defer limit.Stop()
		select {
		case <-reg.decided:
		case <-limit.C:
			return errorOf(signInUnderWay(reg))
		case <-reg.ctx.Done():
			return notSignedIn()
		}
	}
	switch {
	case reg.refusal != nil: // which was set before decided was closed
		return reg.refusal
	case reg.ended.Load():
		return notSignedIn()
	}
	return nil
}

// signInUnderWay is why nothing was done for a component whose sign-in is not written.
func signInUnderWay(reg *registration) error {
	return wire.NotTried("the sign-in of %s is under way: repeat", reg.full)
}

// linkWait is how long a message waits for a coordinator that cannot be dialled.
// pyleco waits 0.1 to 1 s for an answer: an error that comes later helps nobody.
const linkWait = 30 * time.Millisecond

// reportUndelivered says in LECO's words why a message was not delivered. It must not
// wait.
func (d *Door) reportUndelivered(from sender, m *wire.Message, frame string, dst destination, err error) {
	f := errorOf(err)
	switch code := wire.CodeOf(err); {
	case code == wire.CodeUnavailable: // certainly not sent: the receiver is unreachable for the sender
		f = receiverUnknown(frame)
		f.Message = err.Error()
	case code == wire.CodeNotFound:
		f = receiverUnknown(frame)
		if dst.kind == destForeign && !d.inCluster(dst.namespace) {
			f = nodeUnknown(dst.namespace)
		}
	case code == wire.CodeForbidden && from.reg != nil:
		f = d.dropStale(from.reg)
	}
	d.reportFailure(from, m, frame, f)
}

// dropStale is for a message of a component whom the receiver's home, by a fresh
// view, does not know as at home here: its session ended and this coordinator
// does not know yet, since it was stopped for a while, say. Its registration goes,
// so that the sign-in with which it answers begins another session.
func (d *Door) dropStale(reg *registration) *jsonrpc.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if reg.session == "" { // not written yet
		return errorOf(signInUnderWay(reg))
	}
	d.unregister(reg)
	d.reaper.add("it is not at home here any more", reg.fence) // changes nothing if that is so
	return notSignedIn()
}

// reportFailure answers a message that was not delivered, on the connection of its
// sender or, for a foreign one, on the link to it. A coordinator is not answered,
// so that no two talk in circles.
func (d *Door) reportFailure(from sender, m *wire.Message, frame string, f *jsonrpc.Error) {
	switch f.Code {
	case jsonrpc.CodeNodeUnknown:
		d.counts.add(cNodeUnknown)
	case jsonrpc.CodeReceiverUnknown:
		d.counts.add(cUnknown)
	default:
		d.counts.add(cUndelivered)
	}
	if from.name == wire.Coordinator {
		return
	}
	answer := d.responseTo(m, from.frame, encodeResponse(nil, nil, f))
	if from.node == nil {
		from.conn.send(answer)
		return
	}
	d.sendToNode(from.namespace, answer)
}

// egress sends a message of a component that is not LECO's to a foreign
// namespace; it is the router's handler for each that is linked. A coordinator of
// this cluster that presides over the namespace goes before.
func (d *Door) egress(m wire.Message) (handled bool, refusal *wire.Error) {
	namespace, _, _ := strings.Cut(m.To, ".")
	n := d.outboundTo(namespace)
	if n == nil || d.inCluster(namespace) {
		return false, nil
	}
	if n.send(&m) != nil {
		return true, wire.Refuse(wire.CodeBusy, "the way to namespace %s is full", namespace)
	}
	return true, nil
}
