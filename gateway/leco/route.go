package leco

import (
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// receiver is where a receiver frame leads.
type receiver struct {
	kind      int
	namespace string
	full      string
}

const (
	toUs      = iota // COORDINATOR
	toOwn            // a component of the own namespace
	toOther          // of another one
	toNowhere        // no name at all
)

func (g *guest) receiver(frame string) receiver {
	r, ok := g.routes[frame]
	if ok {
		return r
	}
	d := g.d
	namespace, name, ok := split(frame)
	switch {
	case frame == wire.Coordinator || frame == d.full:
		r = receiver{kind: toUs, namespace: d.namespace, full: d.full}
	case !ok:
		r = receiver{kind: toNowhere}
	case namespace == "" || namespace == d.namespace:
		r = receiver{kind: toOwn, namespace: d.namespace, full: registry.FullName(d.namespace, name)}
	default:
		r = receiver{kind: toOther, namespace: namespace, full: frame}
	}
	if len(g.routes) >= maxCached {
		clear(g.routes)
	}
	g.routes[frame] = r
	return r
}

// route brings an authenticated message on its way. Only missing namespaces
// are added to it.
func (g *guest) route(w speaker, m wire.Message) {
	d := g.d
	r := g.receiver(m.To)
	frame := m.To
	if w.refusal != nil {
		d.tooLarge(w, &m, r, w.refusal)
		return
	}
	switch r.kind {
	case toUs:
		d.command(w, &m)
		return
	case toNowhere:
		d.failed(w, &m, frame, receiverUnknown(frame))
		return
	}
	m.From, m.To = w.full, r.full
	if err := m.Check(); err != nil {
		m.To = frame
		d.counts.add(cTooLarge)
		d.tooLarge(w, &m, r, err)
		return
	}
	if r.kind == toOther && !d.inCluster(r.namespace) {
		if n := d.linked(r.namespace); n != nil {
			if n.send(&m) != nil {
				d.failed(w, &m, frame, jsonrpc.NewError(jsonrpc.CodeServer, "The way to the node is full or has just been lost.", r.namespace))
			}
			return
		}
	}
	if r.kind == toOther && w.node != nil {
		// A message between two other namespaces takes their own link.
		d.failed(w, &m, frame, nodeUnknown(r.namespace))
		return
	}
	if r.kind == toOwn && d.handOver(&m) {
		return
	}
	if w.seat != nil {
		d.await(w.seat, r.full)
	}
	head := wire.Message{From: m.From, Conversation: m.Conversation}
	o := router.PostOptions{LinkWait: linkWait, Borrowed: true, Write: router.WriteMode(!g.conn.Buffered())}
	d.cluster.Post(m, o, func(err error) {
		if err != nil {
			d.undelivered(w, &head, frame, r, err)
		}
	})
}

// handOver gives a message to a component whose sign-in is granted but not
// written yet: the directory does not know it, the door does.
func (d *Door) handOver(m *wire.Message) bool {
	d.mu.RLock()
	var g *guest
	if d.pendingSeats > 0 {
		if s := d.seats[m.To[len(d.namespace)+1:]]; s != nil && s.session == "" && s.opened() {
			g = s.guest
		}
	}
	d.mu.RUnlock()
	if g == nil {
		return false
	}
	g.send(m)
	return true
}

// await holds a message, and what its sender says after it, until the sender's
// own sign-in is written: other coordinators would not know it. Receivers at
// home here do not wait.
func (d *Door) await(s *seat, to string) {
	select {
	case <-s.settled:
		return
	default:
	}
	if row, ok := d.cluster.State().Registry.Session(to); ok && row.Home == d.id {
		return
	}
	limit := time.NewTimer(d.cfg.Provisional / 3)
	defer limit.Stop()
	select {
	case <-s.settled:
	case <-limit.C:
	case <-s.ctx.Done():
	}
}

// linkWait is how long a message waits for a coordinator that cannot be dialled.
// pyleco waits 0.1 to 1 s for an answer: an error that comes later helps nobody.
const linkWait = 30 * time.Millisecond

// undelivered says in LECO's words why a message was not delivered. It must not
// wait.
func (d *Door) undelivered(w speaker, m *wire.Message, frame string, r receiver, err error) {
	f := errorOf(err)
	switch code := wire.CodeOf(err); {
	case code == wire.CodeUnavailable: // certainly not sent: whoever it is for, is not there for the sender
		f = receiverUnknown(frame)
		f.Message = err.Error()
	case code == wire.CodeNotFound:
		f = receiverUnknown(frame)
		if r.kind == toOther && !d.inCluster(r.namespace) {
			f = nodeUnknown(r.namespace)
		}
	case code == wire.CodeForbidden && w.seat != nil:
		f = d.disowned(w.seat)
	}
	d.failed(w, m, frame, f)
}

// disowned is for a message of a component whom the receiver's home, by a fresh
// view, does not know as at home here: its session ended and this coordinator
// has not heard of it yet, since it was stopped for a while, say. Its seat goes,
// so that the sign-in with which it answers begins another session.
func (d *Door) disowned(s *seat) *jsonrpc.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.session == "" { // not written yet
		return errorOf(wire.NotTried("the sign-in of %s is under way: repeat", s.full))
	}
	d.unseat(s)
	d.reaper.add("it is not at home here any more", s.fence) // changes nothing if that is so
	return notSignedIn()
}

// failed answers a message that was not delivered, to its sender by the way it
// came or, for a foreign one, by the way to it. A coordinator is not answered,
// so that no two talk in circles.
func (d *Door) failed(w speaker, m *wire.Message, frame string, f *jsonrpc.Error) {
	switch f.Code {
	case jsonrpc.CodeNodeUnknown:
		d.counts.add(cNodeUnknown)
	case jsonrpc.CodeReceiverUnknown:
		d.counts.add(cUnknown)
	default:
		d.counts.add(cUndelivered)
	}
	if w.name == wire.Coordinator {
		return
	}
	answer := d.reply(m, w.frame, encodeResponse(nil, nil, f))
	if w.node == nil {
		w.g.send(answer)
		return
	}
	d.toNode(w.namespace, answer)
}

// egress sends a message of a component that is not LECO's to a foreign
// namespace; it is the router's handler for each that is linked. A coordinator of
// this cluster that presides over the namespace goes before.
func (d *Door) egress(m wire.Message) (handled bool, refusal *wire.Error) {
	namespace, _, _ := strings.Cut(m.To, ".")
	n := d.linked(namespace)
	if n == nil || d.inCluster(namespace) {
		return false, nil
	}
	if n.send(&m) != nil {
		return true, wire.Refuse(wire.CodeBusy, "the way to namespace %s is full", namespace)
	}
	return true, nil
}
