package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// fakeCluster is a minimal cluster: coordinators on in-memory connections, which share one state. Its tests
// run on fake time.
type fakeCluster struct {
	t     *testing.T
	lease time.Duration

	mu           sync.Mutex
	coordinators []*fakeCoordinator
	sessions     map[string]*fakeSession // by full name
	index        uint64
	events       []wire.Event
	// attempt is the last that was numbered.
	attempt uint64
	wg      sync.WaitGroup
}

// fakeSession is one session.
type fakeSession struct {
	home *fakeCoordinator
	conn *fakeConn // nil while it has no connection
}

// fakeCoordinator is one coordinator; the fields are guarded by the cluster's mu.
type fakeCoordinator struct {
	cluster         *fakeCluster
	addr            string
	down            bool          // takes no connection
	silent          bool          // reads everything and writes nothing
	delay           time.Duration // until a ping, a sign-out or a subscription is answered
	forbidden       string        // a topic that nobody may watch here
	unauthenticated int           // messages answered "sign in first"
	attempts        []uint64      // of the sign-ins asked for
	refuse          *wire.Error   // what the next sign-in is answered
	keys            []string      // of the sign-ins asked for
	conns           map[*fakeConn]bool
}

// fakeConn is one connection.
type fakeConn struct {
	coordinator  *fakeCoordinator
	conn         net.Conn
	out          chan []byte
	full         string
	conversation [16]byte // of the subscription
	chunks       wire.Reassembler
	notified     uint64 // the index of the last event that was sent
}

func newFakeCluster(t *testing.T, lease time.Duration, addrs ...string) *fakeCluster {
	w := &fakeCluster{t: t, lease: lease, sessions: map[string]*fakeSession{}, index: 100}
	for _, a := range addrs {
		w.coordinators = append(w.coordinators, &fakeCoordinator{cluster: w, addr: a, conns: map[*fakeConn]bool{}})
	}
	return w
}

// change changes the state of a coordinator.
func (w *fakeCluster) change(addr string, do func(*fakeCoordinator)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(w.coordinator(addr))
}

func (w *fakeCluster) coordinator(addr string) *fakeCoordinator {
	return w.coordinators[slices.IndexFunc(w.coordinators, func(s *fakeCoordinator) bool { return s.addr == addr })]
}

// kill ends a coordinator as kill -9 does.
func (w *fakeCluster) kill(addr string) {
	w.change(addr, func(s *fakeCoordinator) {
		s.down = true
		for v := range s.conns {
			v.conn.Close()
		}
	})
}

// kick ends the connections of a coordinator.
func (w *fakeCluster) kick(addr string) {
	w.change(addr, func(s *fakeCoordinator) {
		for v := range s.conns {
			v.conn.Close()
		}
	})
}

// forget has a component's sign-in forgotten, but not its session.
func (w *fakeCluster) forget(full string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions[full].conn.forget()
}

// stop waits for everything; the components are closed before.
func (w *fakeCluster) stop() {
	for _, s := range w.coordinators {
		w.kill(s.addr)
	}
	w.wg.Wait()
}

func (w *fakeCluster) dial(_ context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.coordinator(addr)
	if s.down {
		return nil, errors.New("connection refused")
	}
	in, out := net.Pipe()
	v := &fakeConn{coordinator: s, conn: in, out: make(chan []byte, 4096)}
	s.conns[v] = true
	w.wg.Go(v.serve)
	return out, nil
}

// signIn signs a component in, at the first address that takes it.
func (w *fakeCluster) signIn(name string, c client.Component) *client.Session {
	w.t.Helper()
	for _, s := range w.coordinators {
		c.Addrs = append(c.Addrs, s.addr)
	}
	c.SignIn.Name, c.Dialer = name, w.dial
	n, err := client.Dial(w.t.Context(), c)
	if err != nil {
		w.t.Fatalf("sign in %s: %v", name, err)
	}
	return n
}

func (v *fakeConn) serve() {
	w := v.coordinator.cluster
	gone := make(chan struct{})
	w.wg.Go(func() {
		for {
			select {
			case b := <-v.out:
				if _, err := v.conn.Write(b); err != nil {
					return
				}
			case <-gone:
				return
			}
		}
	})
	defer func() {
		close(gone)
		v.conn.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(v.coordinator.conns, v)
		if r := w.sessions[v.full]; r != nil && r.conn == v {
			r.conn = nil
		}
	}()
	var raw [wire.PreambleSize]byte
	if _, err := io.ReadFull(v.conn, raw[:]); err != nil {
		return
	}
	hello, err := wire.ParsePreamble(raw[:])
	if err != nil {
		w.t.Error(err)
		return
	}
	frames := wire.NewFrameReader(v.conn)
	for first := true; ; first = false {
		m, err := frames.Next()
		if err != nil {
			return
		}
		w.mu.Lock()
		if first {
			v.write(hello.Append(nil))
		}
		v.handle(&m)
		w.mu.Unlock()
	}
}

// write and what follows is called with mu held.
func (v *fakeConn) write(b []byte) {
	if !v.coordinator.silent {
		v.out <- b
	}
}

// delayed does something after the delay of its coordinator.
func (v *fakeConn) delayed(do func()) {
	if v.coordinator.delay == 0 {
		do()
		return
	}
	time.AfterFunc(v.coordinator.delay, func() {
		v.coordinator.cluster.mu.Lock()
		defer v.coordinator.cluster.mu.Unlock()
		do()
	})
}

func (v *fakeConn) send(m wire.Message) {
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		panic(err)
	}
	v.write(b)
}

// sendContent sends a JSON-RPC content in a conversation.
func (v *fakeConn) sendContent(conversation [16]byte, id uint32, content map[string]any) {
	content["jsonrpc"] = "2.0"
	b, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	v.send(wire.Message{To: "n1.x", From: "n1.COORDINATOR", Conversation: conversation, ID: id, Type: wire.TypeJSON, Payload: [][]byte{b}})
}

func (v *fakeConn) handle(m *wire.Message) {
	w := v.coordinator.cluster
	if m.To == "" {
		if m.Type == wire.TypeChunk {
			whole, ok, err := v.chunks.Add(m)
			if err != nil {
				w.t.Error(err)
			}
			if ok {
				v.handle(&whole)
			}
		}
		if m.Type == wire.TypePing {
			v.delayed(func() { v.write(wire.AppendControlFrame(nil, wire.TypePong, m.Payload[0])) })
		}
		return
	}
	var rq struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if m.Type == wire.TypeJSON {
		if err := json.Unmarshal(m.Payload[0], &rq); err != nil {
			w.t.Errorf("%s: %v", m.Payload[0], err)
		}
	}
	if v.full == "" && rq.Method != "sign_in" {
		v.coordinator.unauthenticated++
		v.sendContent(m.Conversation, m.ID, map[string]any{"id": nil, "error": map[string]any{"code": jsonrpc.CodeNotSignedIn, "message": "sign in first"}})
		return
	}
	if e := v.coordinator.refuse; e != nil && rq.Method == "sign_in" {
		var in wire.Hello
		_ = json.Unmarshal(rq.Params, &in)
		v.coordinator.attempts, v.coordinator.keys = append(v.coordinator.attempts, in.Attempt), append(v.coordinator.keys, in.Key)
		v.coordinator.refuse = nil
		v.sendContent(m.Conversation, 0, map[string]any{"id": 1, "error": map[string]any{"code": -32000, "message": e.Message, "data": e}})
		return
	}
	if m.To == wire.Coordinator {
		if topic := v.coordinator.forbidden; topic != "" && rq.Method == "subscribe" && bytes.Contains(rq.Params, []byte(`"`+topic+`"`)) {
			e := wire.Refuse(wire.CodeForbidden, "news of %s are not for you", topic)
			v.sendContent(m.Conversation, 0, map[string]any{"id": 1, "error": map[string]any{"code": -32000, "message": e.Message, "data": e}})
			return
		}
		result := v.call(m, rq.Method, rq.Params)
		answer := func() {
			v.sendContent(m.Conversation, 0, map[string]any{"id": 1, "result": result})
			v.notify()
		}
		if rq.Method == "sign_out" || rq.Method == "subscribe" {
			v.delayed(answer)
		} else {
			answer()
		}
		return
	}
	to := m.To
	if !strings.Contains(to, ".") {
		to = "n1." + to
	}
	r := w.sessions[to]
	if r == nil || r.conn == nil {
		v.sendContent(m.Conversation, m.ID, map[string]any{"id": nil, "error": map[string]any{"code": jsonrpc.CodeReceiverUnknown, "message": "nobody"}})
		return
	}
	r.conn.send(wire.Message{To: to, From: v.full, Conversation: m.Conversation, Type: m.Type, Payload: m.Payload})
	if m.ID != 0 {
		v.write(wire.AppendControlFrame(nil, wire.TypeReceipt, []byte{byte(m.ID >> 16), byte(m.ID >> 8), byte(m.ID)}))
	}
}

// forget has nobody signed in on a connection.
func (v *fakeConn) forget() {
	if r := v.coordinator.cluster.sessions[v.full]; r != nil {
		r.conn = nil
	}
	v.full, v.conversation = "", [16]byte{}
}

func (v *fakeConn) call(m *wire.Message, method string, params json.RawMessage) any {
	w := v.coordinator.cluster
	switch method {
	case "sign_in":
		var in wire.Hello
		if err := json.Unmarshal(params, &in); err != nil {
			w.t.Error(err)
		}
		v.coordinator.attempts, v.coordinator.keys = append(v.coordinator.attempts, in.Attempt), append(v.coordinator.keys, in.Key)
		w.attempt = max(w.attempt, in.Attempt)
		v.full = "n1." + in.Name
		before := w.sessions[v.full]
		w.sessions[v.full] = &fakeSession{home: v.coordinator, conn: v}
		if before == nil {
			w.publish("signed_in", v.full)
		}
		out := wire.Welcome{Resumed: before != nil && before.home == v.coordinator, SignedIn: wire.SignedIn{
			FullName: v.full, Session: "s-" + in.Name, Secret: "secret", Namespace: "n1", Home: v.coordinator.addr, Lease: wire.Duration(w.lease), Index: w.index, Attempt: w.attempt,
		}}
		for _, s := range append([]*fakeCoordinator{v.coordinator}, w.coordinators...) {
			if !s.down && (s != v.coordinator || len(out.Coordinators) == 0) {
				out.Coordinators = append(out.Coordinators, wire.Door{ID: s.addr, Namespace: s.addr, Address: s.addr})
			}
		}
		return out
	case "sign_out":
		full := v.full
		v.forget()
		delete(w.sessions, full)
		w.publish("signed_out", full)
	case "subscribe":
		var in struct{ After string }
		if err := json.Unmarshal(params, &in); err != nil {
			w.t.Error(err)
		}
		from := w.index
		if in.After != "" {
			_, _ = fmt.Sscanf(in.After, "%d", &from)
		}
		v.conversation, v.notified = m.Conversation, from
		return map[string]string{"at": fmt.Sprintf("%d.0", from)}
	case "unsubscribe":
		v.conversation = [16]byte{}
	}
	return nil
}

func (w *fakeCluster) publish(kind, full string) {
	w.index++
	w.events = append(w.events, wire.Event{Index: w.index, Topic: wire.TopicComponent, Kind: kind, Key: full})
	for _, s := range w.coordinators {
		for v := range s.conns {
			v.notify()
		}
	}
}

// notify sends a subscriber the events that it has not received yet.
func (v *fakeConn) notify() {
	for _, e := range v.coordinator.cluster.events {
		if v.conversation != ([16]byte{}) && e.Index > v.notified {
			v.notified = e.Index
			v.sendContent(v.conversation, 0, map[string]any{"method": "event", "params": e})
		}
	}
}
