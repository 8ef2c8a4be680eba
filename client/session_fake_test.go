package client_test

import (
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

// town is a cluster small enough to read: coordinators on connections in memory, which share one truth at once. Its tests
// run on fake time.
type town struct {
	t     *testing.T
	lease time.Duration

	mu     sync.Mutex
	sites  []*site
	rows   map[string]*row // by full name
	index  uint64
	events []wire.Event
	// attempt is the last that was numbered.
	attempt uint64
	wg      sync.WaitGroup
}

// row is one session.
type row struct {
	home *site
	at   *visitor // nil while it has no connection
}

// site is one coordinator; the fields are guarded by the town's mu.
type site struct {
	town      *town
	addr      string
	down      bool          // takes no connection
	mute      bool          // takes everything and says nothing
	late      time.Duration // until a ping or a sign-out is answered
	strangers int           // messages answered "sign in first"
	attempts  []uint64      // of the sign-ins asked for
	refuse    *wire.Error   // what the next sign-in is answered
	keys      []string      // of the sign-ins asked for
	visitors  map[*visitor]bool
}

// visitor is one connection.
type visitor struct {
	site         *site
	conn         net.Conn
	out          chan []byte
	full         string
	conversation [16]byte // of the subscription
	chunks       wire.Reassembler
	told         uint64 // the index it was told of
}

func newTown(t *testing.T, lease time.Duration, addrs ...string) *town {
	w := &town{t: t, lease: lease, rows: map[string]*row{}, index: 100}
	for _, a := range addrs {
		w.sites = append(w.sites, &site{town: w, addr: a, visitors: map[*visitor]bool{}})
	}
	return w
}

// change changes the state of a site.
func (w *town) change(addr string, do func(*site)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(w.site(addr))
}

func (w *town) site(addr string) *site {
	return w.sites[slices.IndexFunc(w.sites, func(s *site) bool { return s.addr == addr })]
}

// kill ends a site as kill -9 does.
func (w *town) kill(addr string) {
	w.change(addr, func(s *site) {
		s.down = true
		for v := range s.visitors {
			v.conn.Close()
		}
	})
}

// kick ends the connections of a site.
func (w *town) kick(addr string) {
	w.change(addr, func(s *site) {
		for v := range s.visitors {
			v.conn.Close()
		}
	})
}

// forget has a component's sign-in forgotten, but not its session.
func (w *town) forget(full string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows[full].at.forget()
}

// stop waits for everything; the components are closed before.
func (w *town) stop() {
	for _, s := range w.sites {
		w.kill(s.addr)
	}
	w.wg.Wait()
}

func (w *town) dial(_ context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.site(addr)
	if s.down {
		return nil, errors.New("connection refused")
	}
	in, out := net.Pipe()
	v := &visitor{site: s, conn: in, out: make(chan []byte, 4096)}
	s.visitors[v] = true
	w.wg.Go(v.serve)
	return out, nil
}

// signIn signs a component in, at the first address that takes it.
func (w *town) signIn(name string, c client.Component) *client.Session {
	w.t.Helper()
	for _, s := range w.sites {
		c.Addrs = append(c.Addrs, s.addr)
	}
	c.SignIn.Name, c.Dialer = name, w.dial
	n, err := client.Dial(w.t.Context(), c)
	if err != nil {
		w.t.Fatalf("sign in %s: %v", name, err)
	}
	return n
}

func (v *visitor) serve() {
	w := v.site.town
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
		delete(v.site.visitors, v)
		if r := w.rows[v.full]; r != nil && r.at == v {
			r.at = nil
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
			v.say(hello.Append(nil))
		}
		v.take(&m)
		w.mu.Unlock()
	}
}

// say and what follows is called with mu held.
func (v *visitor) say(b []byte) {
	if !v.site.mute {
		v.out <- b
	}
}

// later does something after the time the site takes for it.
func (v *visitor) later(do func()) {
	if v.site.late == 0 {
		do()
		return
	}
	time.AfterFunc(v.site.late, func() {
		v.site.town.mu.Lock()
		defer v.site.town.mu.Unlock()
		do()
	})
}

func (v *visitor) message(m wire.Message) {
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		panic(err)
	}
	v.say(b)
}

// coordinator says something in a conversation.
func (v *visitor) coordinator(conversation [16]byte, id uint32, content map[string]any) {
	content["jsonrpc"] = "2.0"
	b, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	v.message(wire.Message{To: "n1.x", From: "n1.COORDINATOR", Conversation: conversation, ID: id, Type: wire.TypeJSON, Payload: [][]byte{b}})
}

func (v *visitor) take(m *wire.Message) {
	w := v.site.town
	if m.To == "" {
		if m.Type == wire.TypeChunk {
			whole, ok, err := v.chunks.Add(m)
			if err != nil {
				w.t.Error(err)
			}
			if ok {
				v.take(&whole)
			}
		}
		if m.Type == wire.TypePing {
			v.later(func() { v.say(wire.AppendControlFrame(nil, wire.TypePong, m.Payload[0])) })
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
		v.site.strangers++
		v.coordinator(m.Conversation, m.ID, map[string]any{"id": nil, "error": map[string]any{"code": jsonrpc.CodeNotSignedIn, "message": "sign in first"}})
		return
	}
	if e := v.site.refuse; e != nil && rq.Method == "sign_in" {
		var in wire.Hello
		_ = json.Unmarshal(rq.Params, &in)
		v.site.attempts, v.site.keys = append(v.site.attempts, in.Attempt), append(v.site.keys, in.Key)
		v.site.refuse = nil
		v.coordinator(m.Conversation, 0, map[string]any{"id": 1, "error": map[string]any{"code": -32000, "message": e.Message, "data": e}})
		return
	}
	if m.To == wire.Coordinator {
		result := v.answer(m, rq.Method, rq.Params)
		answer := func() {
			v.coordinator(m.Conversation, 0, map[string]any{"id": 1, "result": result})
			v.tell()
		}
		if rq.Method == "sign_out" {
			v.later(answer)
		} else {
			answer()
		}
		return
	}
	to := m.To
	if !strings.Contains(to, ".") {
		to = "n1." + to
	}
	r := w.rows[to]
	if r == nil || r.at == nil {
		v.coordinator(m.Conversation, m.ID, map[string]any{"id": nil, "error": map[string]any{"code": jsonrpc.CodeReceiverUnknown, "message": "nobody"}})
		return
	}
	r.at.message(wire.Message{To: to, From: v.full, Conversation: m.Conversation, Type: m.Type, Payload: m.Payload})
	if m.ID != 0 {
		v.say(wire.AppendControlFrame(nil, wire.TypeReceipt, []byte{byte(m.ID >> 16), byte(m.ID >> 8), byte(m.ID)}))
	}
}

// forget has nobody signed in on a connection.
func (v *visitor) forget() {
	if r := v.site.town.rows[v.full]; r != nil {
		r.at = nil
	}
	v.full, v.conversation = "", [16]byte{}
}

func (v *visitor) answer(m *wire.Message, method string, params json.RawMessage) any {
	w := v.site.town
	switch method {
	case "sign_in":
		var in wire.Hello
		if err := json.Unmarshal(params, &in); err != nil {
			w.t.Error(err)
		}
		v.site.attempts, v.site.keys = append(v.site.attempts, in.Attempt), append(v.site.keys, in.Key)
		w.attempt = max(w.attempt, in.Attempt)
		v.full = "n1." + in.Name
		before := w.rows[v.full]
		w.rows[v.full] = &row{home: v.site, at: v}
		if before == nil {
			w.news("signed_in", v.full)
		}
		out := wire.Welcome{Resumed: before != nil && before.home == v.site, SignedIn: wire.SignedIn{
			FullName: v.full, Session: "s-" + in.Name, Secret: "secret", Namespace: "n1", Home: v.site.addr, Lease: wire.Duration(w.lease), Index: w.index, Attempt: w.attempt,
		}}
		for _, s := range append([]*site{v.site}, w.sites...) {
			if !s.down && (s != v.site || len(out.Coordinators) == 0) {
				out.Coordinators = append(out.Coordinators, wire.Door{ID: s.addr, Namespace: s.addr, Address: s.addr})
			}
		}
		return out
	case "sign_out":
		full := v.full
		v.forget()
		delete(w.rows, full)
		w.news("signed_out", full)
	case "subscribe":
		var in struct{ After string }
		if err := json.Unmarshal(params, &in); err != nil {
			w.t.Error(err)
		}
		from := w.index
		if in.After != "" {
			_, _ = fmt.Sscanf(in.After, "%d", &from)
		}
		v.conversation, v.told = m.Conversation, from
		return map[string]string{"at": fmt.Sprintf("%d.0", from)}
	case "unsubscribe":
		v.conversation = [16]byte{}
	}
	return nil
}

func (w *town) news(kind, full string) {
	w.index++
	w.events = append(w.events, wire.Event{Index: w.index, Topic: wire.TopicComponent, Kind: kind, Key: full})
	for _, s := range w.sites {
		for v := range s.visitors {
			v.tell()
		}
	}
}

// tell tells a subscriber what it has not been told.
func (v *visitor) tell() {
	for _, e := range v.site.town.events {
		if v.conversation != ([16]byte{}) && e.Index > v.told {
			v.told = e.Index
			v.coordinator(v.conversation, 0, map[string]any{"method": "event", "params": e})
		}
	}
}
