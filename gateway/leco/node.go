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
// sends on the one it dialled and receives on the one it accepted. It exists as
// long as there is either.
type node struct {
	door      *Door
	namespace string
	lastSeen  atomic.Int64 // when a message of it came last (flow.Now)

	// Guarded by the door's mu.
	in         *peerConn  // it dialled
	out        *zmtp.Conn // we dialled; set once signed in there
	address    string     // of out
	components []string
}

// outboundTo returns the connection to the foreign coordinator of a namespace; nil
// if there is none.
func (d *Door) outboundTo(namespace string) *outbound {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if n := d.nodes[namespace]; n != nil && n.out != nil {
		return &outbound{n.out}
	}
	return nil
}

// outbound is a connection to a foreign coordinator.
type outbound struct{ conn *zmtp.Conn }

// send queues a message and does not block.
func (o *outbound) send(m *wire.Message) error { return o.conn.Send(encode(m)...) }

// send is that of the node's outbound connection, as long as it has one.
func (n *node) send(m *wire.Message) error {
	n.door.mu.RLock()
	out := n.out
	n.door.mu.RUnlock()
	if out == nil {
		return zmtp.ErrClosed
	}
	return out.Send(encode(m)...)
}

// sendToNode sends a message of this coordinator to a foreign namespace, if that is linked.
func (d *Door) sendToNode(namespace string, m *wire.Message) {
	if n := d.outboundTo(namespace); n == nil || n.send(m) != nil {
		d.counts.add(cQueueFull)
	}
}

// nodeFor returns the node of a namespace, new if need be; mu is held.
func (d *Door) nodeFor(namespace string) *node {
	n := d.nodes[namespace]
	if n == nil {
		n = &node{door: d, namespace: namespace}
		d.nodes[namespace] = n
		if err := d.cfg.Egress.Register(namespace, d.egress); err != nil {
			d.log.Warn("components cannot send to a foreign LECO namespace", "namespace", namespace, "reason", err)
		}
	}
	n.lastSeen.Store(int64(flow.Now()))
	return n
}

// detachLocked separates a node from the connection that it dialled; mu is held.
func (d *Door) detachLocked(n *node, c *peerConn) {
	c.node = nil
	d.judgeStranger(c)
	if n.in == c {
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

// disconnect ends both connections of a node.
func (d *Door) disconnect(n *node) {
	d.mu.Lock()
	in, out := n.in, n.out
	n.out = nil
	if in != nil {
		d.detachLocked(n, in)
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

// coordinatorSignIn makes a connection that of the sender's namespace. A
// namespace whose connection is alive is refused; one whose connection is lost or
// does not answer is not.
func (d *Door) coordinatorSignIn(from sender, _ *wire.Message) (any, error) {
	if from.name != wire.Coordinator || from.namespace == d.namespace {
		return nil, notSignedIn()
	}
	if err := registry.CheckName("namespace", from.namespace); err != nil {
		return nil, invalidRequest(err.Error())
	}
	if d.inCluster(from.namespace) {
		d.counts.add(cDuplicate)
		return nil, duplicateName("a coordinator of this cluster presides over " + from.namespace)
	}
	d.mu.Lock()
	if _, here := d.conns[from.conn]; !here || from.conn.node != nil && from.conn.node.namespace != from.namespace {
		d.mu.Unlock()
		return nil, notSignedIn()
	}
	n := d.nodes[from.namespace]
	if n != nil && n.in != nil && n.in != from.conn {
		if n.in.conn.Responsive(d.cfg.Stale) {
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
	n = d.nodeFor(from.namespace)
	n.in, from.conn.node = from.conn, n
	d.judgeStranger(from.conn)
	d.mu.Unlock()
	d.log.Info("a foreign LECO coordinator signed in", "namespace", from.namespace, "from", from.conn.conn.RemoteAddr())
	return nil, nil
}

// coordinatorSignOut forgets a coordinator and signs out there in turn.
func (d *Door) coordinatorSignOut(from sender, _ *wire.Message) (any, error) {
	if from.name != wire.Coordinator {
		return nil, notSignedIn()
	}
	d.mu.Lock()
	n := d.nodes[from.namespace]
	if n == nil {
		d.mu.Unlock()
		return nil, nil // nothing to forget
	}
	if n.in != from.conn {
		d.mu.Unlock()
		return nil, internalError("ValueError: Identities do not match: You are not you!")
	}
	out := n.out
	n.out = nil
	d.detachLocked(n, from.conn)
	d.mu.Unlock()
	if out != nil {
		_ = out.Send(encode(d.requestMessage(registry.FullName(from.namespace, wire.Coordinator), encodeRequest(100, "coordinator_sign_out", nil)))...)
		d.spawn(func() { out.Shutdown(flushTimeout) })
	}
	return nil, nil
}

// signOutFromNodes signs out from every foreign coordinator.
func (d *Door) signOutFromNodes() {
	type way struct {
		namespace string
		out       *zmtp.Conn
	}
	var paths []way
	d.mu.Lock()
	for _, n := range d.nodes {
		if n.out != nil {
			paths = append(paths, way{n.namespace, n.out})
		}
		n.out = nil
	}
	for _, l := range d.links {
		l.stop()
	}
	d.mu.Unlock()
	for _, p := range paths {
		_ = p.out.Send(encode(d.requestMessage(registry.FullName(p.namespace, wire.Coordinator), encodeRequest(1, "coordinator_sign_out", nil)))...)
		d.spawn(func() { p.out.Shutdown(flushTimeout) })
	}
}

// addNodes links to every coordinator that is not known yet.
func (d *Door) addNodes(_ sender, nodes map[string]string) error {
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

// recordComponents stores the names of a foreign namespace; others cannot report
// those of the local one.
func (d *Door) recordComponents(from sender, names []string) error {
	if len(names) > maxComponents {
		return badParams("at most %d components", maxComponents)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if from.node != nil {
		from.node.components = validNames(names)
	}
	return nil
}

// scheduleUpdate has names and nodes sent to the foreign coordinators soon.
func (d *Door) scheduleUpdate() { wake(d.changed) }

// updateDelay gathers changes that come together.
const updateDelay = 10 * time.Millisecond

// publishUpdates sends the whole state to the foreign coordinators whenever the names
// changed, and at every cleaning: a lost update heals by itself.
func (d *Door) publishUpdates() {
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
		ways := d.outbounds()
		if len(ways) == 0 {
			last = nil
			if !d.sleep(updateDelay) {
				return
			}
			continue
		}
		names := d.localNames()
		if !always && last != nil && slices.Equal(names, last) {
			continue
		}
		last = names
		body := d.stateUpdate(names, 5)
		for namespace, way := range ways {
			_ = way.send(d.requestMessage(registry.FullName(namespace, wire.Coordinator), body))
		}
		if !d.sleep(updateDelay) {
			return
		}
	}
}

func (d *Door) outbounds() map[string]*outbound {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ways := make(map[string]*outbound, len(d.nodes))
	for _, n := range d.nodes {
		if n.out != nil {
			ways[n.namespace] = &outbound{n.out}
		}
	}
	return ways
}

// stateUpdate is the batch that reports nodes and names: requests from the id on, or
// notifications when it is negative.
func (d *Door) stateUpdate(names []string, id int) []byte {
	next := id
	if id >= 0 {
		next = id + 1
	}
	return fmt.Appendf(nil, "[%s,%s]",
		encodeRequest(id, "add_nodes", map[string]json.Marshaler{"nodes": d.nodeAddresses()}),
		encodeRequest(next, "record_components", map[string][]string{"components": names}))
}
