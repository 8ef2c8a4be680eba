package leco

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// node is one foreign coordinator. A link between two is two connections: each
// sends on the one it dialled and is told on the one it accepted. It exists as
// long as there is either.
type node struct {
	d         *Door
	namespace string
	heard     atomic.Int64 // when a message of it came last (flow.Now)

	// Guarded by the door's mu.
	in         *guest     // it dialled
	out        *zmtp.Conn // we dialled; set once signed in there
	address    string     // of out
	components []string
}

// linked returns the foreign coordinator of a namespace, if there is a way to
// it.
func (d *Door) linked(namespace string) *sender {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if n := d.nodes[namespace]; n != nil && n.out != nil {
		return &sender{n.out}
	}
	return nil
}

// sender is the way to a foreign coordinator.
type sender struct{ conn *zmtp.Conn }

// send queues a message and never waits.
func (s *sender) send(m *wire.Message) error { return s.conn.Send(encode(m)...) }

// send is sender's, for as long as there is a way.
func (n *node) send(m *wire.Message) error {
	n.d.mu.RLock()
	out := n.out
	n.d.mu.RUnlock()
	if out == nil {
		return zmtp.ErrClosed
	}
	return out.Send(encode(m)...)
}

// toNode sends a message of ours to a foreign namespace, if there is a way.
func (d *Door) toNode(namespace string, m *wire.Message) {
	if n := d.linked(namespace); n == nil || n.send(m) != nil {
		d.counts.add(cUnheard)
	}
}

// nodeOf returns the node of a namespace, new if need be; mu is held.
func (d *Door) nodeOf(namespace string) *node {
	n := d.nodes[namespace]
	if n == nil {
		n = &node{d: d, namespace: namespace}
		d.nodes[namespace] = n
		if err := d.cfg.Egress.Register(namespace, d.egress); err != nil {
			d.log.Warn("components cannot send to a foreign LECO namespace", "namespace", namespace, "reason", err)
		}
	}
	n.heard.Store(int64(flow.Now()))
	return n
}

// partLocked takes the connection that a node dialled from it; mu is held.
func (d *Door) partLocked(n *node, g *guest) {
	g.node = nil
	if n.in == g {
		n.in = nil
	}
	d.forgetLocked(n)
}

// forgetLocked forgets a node without connections, and its names with it.
func (d *Door) forgetLocked(n *node) {
	if n.in == nil && n.out == nil && d.nodes[n.namespace] == n {
		delete(d.nodes, n.namespace)
		d.cfg.Egress.Unregister(n.namespace)
		d.log.Info("a foreign LECO coordinator is gone", "namespace", n.namespace)
	}
}

// drop ends both connections of a node.
func (d *Door) drop(n *node) {
	d.mu.Lock()
	in, out := n.in, n.out
	n.out = nil
	if in != nil {
		d.partLocked(n, in)
	}
	d.forgetLocked(n)
	d.mu.Unlock()
	if in != nil {
		in.conn.Close()
	}
	if out != nil {
		out.Close()
	}
}

// coordinatorSignIn takes a connection for that of the sender's namespace. A
// namespace whose connection lives is taken; one whose connection is lost or
// does not answer is not.
func (d *Door) coordinatorSignIn(w speaker, _ *wire.Message) (any, error) {
	if w.name != wire.Coordinator || w.namespace == d.namespace {
		return nil, notSignedIn()
	}
	if err := registry.CheckName("namespace", w.namespace); err != nil {
		return nil, invalidRequest(err.Error())
	}
	if d.inCluster(w.namespace) {
		d.counts.add(cDuplicate)
		return nil, duplicateName("a coordinator of this cluster presides over " + w.namespace)
	}
	d.mu.Lock()
	if _, here := d.guests[w.g]; !here || w.g.node != nil && w.g.node.namespace != w.namespace {
		d.mu.Unlock()
		return nil, notSignedIn()
	}
	n := d.nodes[w.namespace]
	if n != nil && n.in != nil && n.in != w.g {
		if n.in.conn.Lively(d.cfg.Stale) {
			d.mu.Unlock()
			d.counts.add(cDuplicate)
			return nil, duplicateName(nil)
		}
		old := n.in
		old.node = nil
		defer old.conn.Close()
	}
	if n == nil && len(d.nodes) >= maxLinks {
		d.mu.Unlock()
		return nil, jsonrpc.NewError(jsonrpc.CodeServer, "Too many coordinators are linked.", maxLinks)
	}
	n = d.nodeOf(w.namespace)
	n.in, w.g.node = w.g, n
	d.mu.Unlock()
	d.log.Info("a foreign LECO coordinator signed in", "namespace", w.namespace, "from", w.g.conn.RemoteAddr())
	return nil, nil
}

// coordinatorSignOut forgets a coordinator and signs out there in turn.
func (d *Door) coordinatorSignOut(w speaker, _ *wire.Message) (any, error) {
	if w.name != wire.Coordinator {
		return nil, notSignedIn()
	}
	d.mu.Lock()
	n := d.nodes[w.namespace]
	if n == nil {
		d.mu.Unlock()
		return nil, nil // nothing to forget
	}
	if n.in != w.g {
		d.mu.Unlock()
		return nil, internalError("ValueError: Identities do not match: You are not you!")
	}
	out := n.out
	n.out = nil
	d.partLocked(n, w.g)
	d.mu.Unlock()
	if out != nil {
		_ = out.Send(encode(d.ask(registry.FullName(w.namespace, wire.Coordinator), encodeRequest(100, "coordinator_sign_out", nil)))...)
		d.own(func() { out.End(flushTime) })
	}
	return nil, nil
}

// signOutFromNodes signs out from every foreign coordinator.
func (d *Door) signOutFromNodes() {
	type way struct {
		namespace string
		out       *zmtp.Conn
	}
	var ways []way
	d.mu.Lock()
	for _, n := range d.nodes {
		if n.out != nil {
			ways = append(ways, way{n.namespace, n.out})
		}
		n.out = nil
	}
	for _, l := range d.links {
		l.stop()
	}
	d.mu.Unlock()
	for _, w := range ways {
		_ = w.out.Send(encode(d.ask(registry.FullName(w.namespace, wire.Coordinator), encodeRequest(1, "coordinator_sign_out", nil)))...)
		d.own(func() { w.out.End(flushTime) })
	}
}

// addNodes links to every coordinator that is not known yet.
func (d *Door) addNodes(_ speaker, nodes map[string]string) error {
	if len(nodes) > maxNodes {
		return badParams("at most %d nodes at a time", maxNodes)
	}
	for namespace, address := range nodes {
		at, ok := withPort(address)
		if !ok || namespace == d.namespace || at == d.cfg.Advertise || at == d.Addr() || d.inCluster(namespace) {
			continue
		}
		d.mu.RLock()
		n := d.nodes[namespace]
		known := n != nil && n.out != nil
		d.mu.RUnlock()
		if !known {
			d.dial(at, false)
		}
	}
	return nil
}

// recordComponents keeps the names of a foreign namespace; those of our own
// are not told by others.
func (d *Door) recordComponents(w speaker, names []string) error {
	if len(names) > maxComponents {
		return badParams("at most %d components", maxComponents)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.node != nil {
		w.node.components = validNames(names)
	}
	return nil
}

// news has the foreign coordinators told of names and nodes, soon.
func (d *Door) news() { rouse(d.changed) }

// settleTime gathers changes that come together.
const settleTime = 10 * time.Millisecond

// publish tells the foreign coordinators the whole state whenever the names
// changed, and at every cleaning: a lost update heals by itself.
func (d *Door) publish() {
	var last []string
	for {
		changed := d.cluster.Changed()
		always := false
		select {
		case <-d.changed:
			always = true
		case <-changed:
		case <-d.ctx.Done():
			return
		}
		ways := d.ways()
		if len(ways) == 0 {
			last = nil
			if !d.wait(settleTime) {
				return
			}
			continue
		}
		names := d.localNames()
		if !always && last != nil && slices.Equal(names, last) {
			continue
		}
		last = names
		body := d.state(names, 5)
		for namespace, way := range ways {
			_ = way.send(d.ask(registry.FullName(namespace, wire.Coordinator), body))
		}
		if !d.wait(settleTime) {
			return
		}
	}
}

func (d *Door) ways() map[string]*sender {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ways := make(map[string]*sender, len(d.nodes))
	for _, n := range d.nodes {
		if n.out != nil {
			ways[n.namespace] = &sender{n.out}
		}
	}
	return ways
}

// state is the batch that tells nodes and names: requests from the id on, or
// notifications when it is negative.
func (d *Door) state(names []string, id int) []byte {
	next := id
	if id >= 0 {
		next = id + 1
	}
	return fmt.Appendf(nil, "[%s,%s]",
		encodeRequest(id, "add_nodes", map[string]json.Marshaler{"nodes": d.nodeBook()}),
		encodeRequest(next, "record_components", map[string][]string{"components": names}))
}
