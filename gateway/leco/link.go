package leco

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// link keeps one address of a foreign coordinator connected, dialled again and
// again: for ever if it is one of Config.Peers, else until it was not reached
// for three expirations.
type link struct {
	address   string
	permanent bool // guarded by the door's mu
	ctx       context.Context
	stop      context.CancelFunc
}

// dial starts a link to an address, unless there is one.
func (d *Door) dial(address string, forever bool) {
	at, ok := withPort(address)
	if !ok {
		d.log.Warn("that is no address of a LECO coordinator", "address", address)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.links[at]; l != nil {
		l.permanent = l.permanent || forever
		return
	}
	if len(d.links) >= maxLinks {
		return
	}
	l := &link{address: at, permanent: forever}
	l.ctx, l.stop = context.WithCancel(d.ctx)
	if d.spawn(func() { d.maintainLink(l) }) {
		d.links[at] = l
	} else {
		l.stop()
	}
}

// Pauses between two dials.
const (
	minBackoff  = 100 * time.Millisecond
	maxBackoff  = 5 * time.Second
	dialTimeout = 3 * time.Second
)

// maintainLink keeps a link connected until it is stopped or given up.
func (d *Door) maintainLink(l *link) {
	defer func() {
		l.stop()
		d.mu.Lock()
		delete(d.links, l.address)
		d.mu.Unlock()
	}()
	pause, good := minBackoff, time.Now()
	for {
		up, err := d.runLink(l)
		if l.ctx.Err() != nil {
			return
		}
		if up > 0 {
			good = time.Now()
		}
		if up > maxBackoff {
			pause = minBackoff
		}
		d.mu.RLock()
		forever := l.permanent
		d.mu.RUnlock()
		if !forever && (time.Since(good) > 3*d.cfg.Expiration || errors.Is(err, errSameCluster)) {
			d.log.Info("a foreign LECO coordinator is given up", "address", l.address, "error", err)
			return
		}
		d.log.Debug("a link to a foreign LECO coordinator is down", "address", l.address, "error", err)
		if !control.Sleep(l.ctx, time.Duration(rand.Int64N(int64(pause)))+minBackoff/2) {
			return
		}
		pause = min(2*pause, maxBackoff)
	}
}

// errOurs: what answers there is this coordinator, or one of its cluster.
var errSameCluster = errors.New("a coordinator of this cluster answers there")

// errLinked: the namespace that answers there is linked by another address.
var errAlreadyLinked = errors.New("its namespace is linked already")

// runLink dials, signs in and serves the connection until it ends. up is how long
// it was linked.
func (d *Door) runLink(l *link) (up time.Duration, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
	cfg := d.cfg.Transport
	cfg.Socket, cfg.Logger = "DEALER", d.log
	conn, err := zmtp.Dial(ctx, l.address, cfg)
	cancel()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	// A sign-out ends l and must still be written: it closes the connection.
	stop := context.AfterFunc(l.ctx, func() {
		limit := time.AfterFunc(flushTimeout, conn.Close)
		<-conn.Done()
		limit.Stop()
	})
	defer stop()
	namespace, err := d.handshake(conn, l)
	if err != nil {
		return 0, err
	}
	since := time.Now()
	d.log.Info("linked to a foreign LECO coordinator", "namespace", namespace, "address", l.address)
	err = d.listen(conn)
	d.mu.Lock()
	if n := d.nodes[namespace]; n != nil && n.out == conn {
		n.out = nil
		d.forgetLocked(n)
	}
	d.mu.Unlock()
	return time.Since(since), err
}

// handshake signs in over a connection, files it under the namespace that
// answers and sends it nodes and names (LECO control protocol, 2.5).
func (d *Door) handshake(conn *zmtp.Conn, l *link) (namespace string, err error) {
	limit := time.AfterFunc(3*d.cfg.Expiration, conn.Close)
	defer limit.Stop()
	asked := d.requestMessage(wire.Coordinator, encodeRequest(1, "coordinator_sign_in", nil))
	if err := conn.Send(encode(asked)...); err != nil {
		return "", err
	}
	for {
		frames, err := d.receive(conn)
		if err != nil {
			return "", err
		}
		m, ok := decode(frames, nil)
		switch {
		case !ok:
			d.counts.add(cMalformed)
			continue
		case m.Conversation != asked.Conversation:
			continue // a nudge, perhaps
		}
		var content []byte
		if len(m.Payload) > 0 {
			content = m.Payload[0]
		}
		refusal, err := parseAnswer(content)
		if err != nil {
			d.counts.add(cBadContent)
			return "", err
		}
		if refusal != nil {
			return "", fmt.Errorf("it refuses: %w", refusal)
		}
		var name string
		namespace, name, _ = splitName(m.From)
		if err := registry.CheckName("namespace", namespace); err != nil || name != wire.Coordinator {
			d.counts.add(cMalformed)
			return "", fmt.Errorf("its answer is from %.600q, no coordinator", m.From)
		}
		break
	}
	switch {
	case namespace == d.namespace || d.inCluster(namespace):
		return "", errSameCluster
	}
	d.mu.Lock()
	n := d.nodeFor(namespace)
	if n.out != nil {
		d.mu.Unlock()
		return "", errAlreadyLinked
	}
	n.out, n.address = conn, l.address
	d.mu.Unlock()
	err = conn.Send(encode(d.requestMessage(namespace+"."+wire.Coordinator, d.stateUpdate(d.localNames(), -1)))...)
	return namespace, err
}

// receive waits for the next message on a connection we dialled. Nothing that
// the other side sends there is long; what is above the limits is dropped.
func (d *Door) receive(conn *zmtp.Conn) ([][]byte, error) {
	for {
		frames, err := conn.Receive()
		var large *zmtp.TooLarge
		if !errors.As(err, &large) {
			return frames, err
		}
		d.counts.add(cTooLarge)
		d.warnLimited("a message of a foreign LECO coordinator was dropped", "from", conn.RemoteAddr(), "reason", err)
	}
}

// listen reads what little comes on a connection we dialled. An error -32090
// means that the other side does not know us any more.
func (d *Door) listen(conn *zmtp.Conn) error {
	for {
		frames, err := d.receive(conn)
		if err != nil {
			return err
		}
		m, ok := decode(frames, nil)
		if !ok {
			d.counts.add(cMalformed)
			continue
		}
		if len(m.Payload) == 0 {
			continue
		}
		refusal, err := parseAnswer(m.Payload[0])
		switch {
		case err != nil:
			d.counts.add(cBadContent)
		case refusal != nil && refusal.Code == jsonrpc.CodeNotSignedIn:
			return refusal
		}
	}
}

// parseAnswer reads the answer to a single request: the error in it, or nil for a
// result.
func parseAnswer(content []byte) (refusal *jsonrpc.Error, err error) {
	in, err := jsonrpc.ParseReply(content)
	if err != nil {
		return nil, fmt.Errorf("its answer is no JSON-RPC: %w", err)
	}
	if in.Result == nil && in.Error == nil {
		return nil, errors.New("its answer has neither result nor error")
	}
	return in.Error, nil
}
