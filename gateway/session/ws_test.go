package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/gateway/ws"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// wsClient is a client of the WebSocket door.
type wsClient struct {
	t      testing.TB
	conn   *websocket.Conn
	chunks wire.Reassembler
}

// serveWS opens the node's door for WebSockets and returns its address.
func (s *testNode) serveWS(t testing.TB) string {
	t.Helper()
	door := ws.New(s.hub)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := new(control.Authenticator).Authenticate(control.Credentials{Remote: r.RemoteAddr})
		if err != nil {
			t.Error(err)
		}
		door.Serve(w, r, who)
	}))
	t.Cleanup(func() {
		s.end() // the connections end with the hub
		server.Close()
	})
	return server.URL
}

func dialWS(t testing.TB, url string) *wsClient {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{ws.Protocol}})
	must(t, err)
	t.Cleanup(func() { conn.CloseNow() })
	if conn.Subprotocol() != ws.Protocol {
		t.Errorf("the sub-protocol is %q", conn.Subprotocol())
	}
	conn.SetReadLimit(128 << 20)
	return &wsClient{t: t, conn: conn}
}

func (p *wsClient) writeText(text string) {
	p.t.Helper()
	must(p.t, p.conn.Write(p.t.Context(), websocket.MessageText, []byte(text)))
}

func (p *wsClient) write(b []byte) {
	p.t.Helper()
	must(p.t, p.conn.Write(p.t.Context(), websocket.MessageBinary, b))
}

// read returns what came; an error is the end of the connection.
func (p *wsClient) read() (websocket.MessageType, []byte, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	return p.conn.Read(ctx)
}

// textMessage is one text message.
type textMessage struct {
	To, From string
	ID       uint32
	Type     *int
	Content  json.RawMessage
	Payload  [][]byte
	Receipt  []uint32
	Bye      *wire.Error
}

func (p *wsClient) receive() (s textMessage) {
	p.t.Helper()
	kind, b, err := p.read()
	must(p.t, err)
	if kind != websocket.MessageText {
		p.t.Fatalf("a text session got a message of kind %v", kind)
	}
	must(p.t, json.Unmarshal(b, &s))
	return s
}

// bye waits for the bye, as text or as a frame, and the close code.
func (p *wsClient) bye() (why wire.Error, code websocket.StatusCode) {
	p.t.Helper()
	for {
		kind, b, err := p.read()
		if err != nil {
			return why, websocket.CloseStatus(err)
		}
		var s textMessage
		if kind == websocket.MessageText && json.Unmarshal(b, &s) == nil && s.Bye != nil {
			why = *s.Bye
		}
		if m, _, err := wire.ParseFrame(b, nil); kind == websocket.MessageBinary && err == nil && m.To == "" && m.Type == wire.TypeBye {
			must(p.t, json.Unmarshal(m.Payload[0], &why))
		}
	}
}

func (p *wsClient) signIn(name string, more string) wire.Welcome {
	p.t.Helper()
	p.writeText(`{"to":"COORDINATOR","content":{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"` + name + `"` + more + `}}}`)
	var a reply
	var in wire.Welcome
	must(p.t, json.Unmarshal(p.receive().Content, &a))
	if a.Error != nil {
		p.t.Fatalf("sign in %s: %+v", name, a.Error)
	}
	must(p.t, json.Unmarshal(a.Result, &in))
	return in
}

// A page speaks JSON: the same messages, outcomes and methods as on TCP.
func TestTextSession(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	laser := w.nodes["n2"].signIn(t, "laser")
	p := dialWS(t, w.nodes["n1"].serveWS(t))
	if in := p.signIn("gui", `,"lease":"5s"`); in.FullName != "n1.gui" || in.Home != "n1" || len(in.Coordinators) != 2 {
		t.Errorf("the welcome is %+v", in)
	}
	p.writeText(`{"to":"n2.laser","id":7,"content":{"jsonrpc":"2.0","id":3,"method":"pong"},"payload":["aGVsbG8="]}`)
	m := laser.message()
	if m.From != "n1.gui" || m.Type != wire.TypeJSON || len(m.Payload) != 2 || string(m.Payload[1]) != "hello" || decodeReply(t, m).Method != "pong" {
		t.Errorf("it came as %+v", m)
	}
	if s := p.receive(); len(s.Receipt) != 1 || s.Receipt[0] != 7 {
		t.Errorf("the outcome is %+v, want a receipt of 7", s)
	}
	laser.send(wire.Message{To: "n1.gui", Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{[]byte(`{"jsonrpc":"2.0","id":3,"result":null}`)}})
	if s := p.receive(); s.From != "n2.laser" || s.To != "n1.gui" || !strings.Contains(string(s.Content), `"result":null`) {
		t.Errorf("the answer came as %+v", s)
	}
	laser.send(text("n1.gui", "bytes \x00\xff", 0))
	if s := p.receive(); len(s.Payload) != 1 || string(s.Payload[0]) != "bytes \x00\xff" || s.Content != nil {
		t.Errorf("bytes came as %+v", s)
	}
	long := make([]byte, 300<<10)
	laser.send(wire.Message{To: "n1.gui", Conversation: [16]byte{5}, Payload: [][]byte{long}})
	if s := p.receive(); len(s.Payload) != 1 || len(s.Payload[0]) != len(long) {
		t.Errorf("a long message came with %d frames", len(s.Payload))
	}
	p.writeText(`{"to":"n2.nobody","id":8,"payload":[""]}`)
	var a reply
	if s := p.receive(); json.Unmarshal(s.Content, &a) != nil || s.ID != 8 || a.code() != wire.CodeNotFound {
		t.Errorf("a message to nobody ended as %+v: %s", s, s.Content)
	}
	p.writeText(`{"to":"n2.laser","from":"n1.boss","id":9,"payload":[""]}`)
	if s := p.receive(); json.Unmarshal(s.Content, &a) != nil || s.ID != 9 || a.code() != wire.CodeForbidden {
		t.Errorf("a forged sender ended as %+v: %s", s, s.Content)
	}
	p.writeText(`{"to":"COORDINATOR","content":{"jsonrpc":"2.0","id":4,"method":"subscribe"}}`)
	p.receive()
	must(t, laser.call("sign_out", struct{}{}, nil))
	if s := p.receive(); !strings.Contains(string(s.Content), `"signed_out"`) {
		t.Errorf("the news came as %s", s.Content)
	}
	w.apply(t, registry.KindRemove, registry.Remove{FullName: "n1.gui", Reason: "removed by an operator"})
	if why, code := p.bye(); why.Code != wire.CodeNotFound || code != websocket.StatusPolicyViolation {
		t.Errorf("a removed session got %+v and closed with %v", why, code)
	}
}

// Whoever signs in by a frame gets frames, long ones in chunks, and may cut its own.
func TestBinarySession(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	laser := n1.signIn(t, "laser")
	p := dialWS(t, n1.serveWS(t))
	frameOf := func(m wire.Message) []byte {
		b, err := wire.AppendFrame(nil, &m)
		must(t, err)
		return b
	}
	next := func() wire.Message {
		t.Helper()
		for {
			kind, b, err := p.read()
			must(t, err)
			m, n, err := wire.ParseFrame(b, nil)
			must(t, err)
			if kind != websocket.MessageBinary || n != len(b) {
				t.Fatalf("a message of kind %v with %d bytes, %d of them a frame", kind, len(b), n)
			}
			if m.To != "" || m.Type != wire.TypeChunk {
				return m
			}
			whole, ok, err := p.chunks.Add(&m)
			must(t, err)
			if ok {
				return whole
			}
		}
	}
	p.write(frameOf(wire.Message{To: "COORDINATOR", Conversation: [16]byte{1}, Type: wire.TypeJSON, Payload: [][]byte{requestOf(t, "sign_in", wire.Hello{SignIn: wire.SignIn{Name: "gui"}})}}))
	if a := decodeReply(t, next()); a.Error != nil {
		t.Fatalf("sign in: %+v", a.Error)
	}
	long := wire.Message{To: "laser", Conversation: [16]byte{2}, ID: 3, Payload: [][]byte{make([]byte, 200<<10)}}
	whole := frameOf(long)
	for at := 0; at < len(whole); {
		var b []byte
		b, at = wire.AppendChunk(nil, 9, whole, at)
		p.write(b)
	}
	if m := laser.message(); len(m.Payload[0]) != 200<<10 || m.From != "n1.gui" {
		t.Errorf("a cut message came from %s with %d bytes", m.From, len(m.Payload[0]))
	}
	if m := next(); m.Type != wire.TypeReceipt || len(m.Payload[0]) != 3 || m.Payload[0][2] != 3 {
		t.Errorf("got %+v, want a receipt of 3", m)
	}
	laser.send(wire.Message{To: "gui", Conversation: [16]byte{4}, Payload: [][]byte{make([]byte, 1<<20)}})
	if m := next(); len(m.Payload[0]) != 1<<20 {
		t.Errorf("a long message came with %d bytes", len(m.Payload[0]))
	}
	p.write(wire.AppendControlFrame(nil, wire.TypePing, []byte("now")))
	if m := next(); m.Type != wire.TypePong || string(m.Payload[0]) != "now" {
		t.Errorf("a ping was answered by %+v", m)
	}
	must(t, p.conn.Close(websocket.StatusNormalClosure, ""))
}

// A broken rule ends the connection with its reason and a code of its own.
func TestWebSocketRules(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	url := w.nodes["n1"].serveWS(t)
	frame, err := wire.AppendFrame(nil, &wire.Message{To: "x", Payload: [][]byte{{1}}})
	must(t, err)
	for i, c := range []struct {
		what string
		do   func(*wsClient)
		code wire.Code
		with websocket.StatusCode
	}{
		{"a frame in a text session", func(p *wsClient) { p.write(frame) }, wire.CodeInvalid, websocket.StatusPolicyViolation},
		{"no JSON", func(p *wsClient) { p.writeText("hello") }, wire.CodeInvalid, websocket.StatusPolicyViolation},
		{"more than 1 MiB", func(p *wsClient) { p.writeText(`{"to":"x","payload":["` + strings.Repeat("AAAA", 300_000) + `"]}`) }, wire.CodeTooLarge, websocket.StatusMessageTooBig},
	} {
		p := dialWS(t, url)
		p.signIn(fmt.Sprintf("c%d", i), "")
		c.do(p)
		if why, code := p.bye(); why.Code != c.code || code != c.with {
			t.Errorf("%s: got %+v and closed with %v, want %s and %v", c.what, why, code, c.code, c.with)
		}
	}
	p := dialWS(t, url)
	p.write(append(frame, frame...))
	if why, code := p.bye(); why.Code != wire.CodeInvalid || code != websocket.StatusPolicyViolation {
		t.Errorf("two frames in one message: got %+v and closed with %v", why, code)
	}
	p = dialWS(t, url)
	p.writeText(`{"to":"c0","id":5,"payload":[""]}`)
	var a reply
	if s := p.receive(); json.Unmarshal(s.Content, &a) != nil || s.ID != 5 || a.Error == nil || a.Error.Code != jsonrpc.CodeNotSignedIn {
		t.Errorf("a message before the sign-in was answered by %+v: %s", s, s.Content)
	}
	p.signIn("late", "")
}

// A connection may sign in again after a sign-out, however long it has been open.
func TestWebSocketSignsInAgain(t *testing.T) {
	w := newTestCluster(t, settings{limits: session.Limits{SignIn: 100 * time.Millisecond}}, "n1")
	p := dialWS(t, w.nodes["n1"].serveWS(t))
	p.signIn("first", "")
	late := time.After(200 * time.Millisecond)
	p.writeText(`{"to":"COORDINATOR","content":{"jsonrpc":"2.0","id":1,"method":"sign_out"}}`)
	p.receive()
	<-late
	if in := p.signIn("second", ""); in.FullName != "n1.second" {
		t.Errorf("signed in again as %+v", in)
	}
}

// Silence before the sign-in and more connections than there is room for are turned away.
func TestWebSocketStrangers(t *testing.T) {
	w := newTestCluster(t, settings{limits: session.Limits{SignIn: 200 * time.Millisecond, Connections: 1}}, "n1")
	n1 := w.nodes["n1"]
	url := n1.serveWS(t)
	if _, code := dialWS(t, url).bye(); code != websocket.StatusPolicyViolation {
		t.Errorf("a silent connection was closed with %v", code)
	}
	p := dialWS(t, url)
	p.writeText(`{"to":"n1.x","id":1,"payload":[""]}`) // no sign-in
	p.receive()
	if why, code := p.bye(); why.Code != wire.CodeUnauthorized || code != websocket.StatusPolicyViolation {
		t.Errorf("one who did not sign in got %+v and closed with %v", why, code)
	}
	for n1.hub.Counts()["connections"] > 0 {
		time.Sleep(time.Millisecond) // a page hears of its end before the hub does
	}
	p = dialWS(t, url)
	p.signIn("first", "")
	second := dialWS(t, url)
	second.writeText(`{"to":"COORDINATOR","content":{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"second"}}}`)
	if why, code := second.bye(); why.Code != wire.CodeUnavailable || code != websocket.StatusGoingAway {
		t.Errorf("one connection too many got %+v and closed with %v", why, code)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { _ = n1.hub.Close(ctx) }()
	if why, code := p.bye(); why.Code != wire.CodeUnavailable || code != websocket.StatusGoingAway {
		t.Errorf("a coordinator that stops said %+v and closed with %v", why, code)
	}
}

// The answers to WebSocket pings keep the lease, and a page that gives none is gone in seconds.
func TestWebSocketPings(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	url := n1.serveWS(t)
	alive, dead := dialWS(t, url), dialWS(t, url)
	session := alive.signIn("alive", `,"lease":"6s"`).Session
	dead.signIn("dead", `,"lease":"8s"`) // the connection ends first
	begun := time.Now()
	heard := make(chan textMessage, 1)
	go func() { heard <- alive.receive() }() // reading answers pings; nobody reads for the other
	for n1.hub.Counts()["dead"] == 0 {
		if time.Since(begun) > time.Minute {
			t.Fatal("a page that answers no pings was kept")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, ok := n1.machine.View().Registry.Session("n1.dead"); ok; _, ok = n1.machine.View().Registry.Session("n1.dead") {
		if time.Since(begun) > time.Minute {
			t.Fatal("the session of a page that is gone did not end")
		}
		time.Sleep(10 * time.Millisecond)
	}
	row, ok := n1.machine.View().Registry.Session("n1.alive")
	if !ok || row.ID != session {
		t.Errorf("after %v without a message the page's session is %+v", time.Since(begun), row)
	}
	n1.signIn(t, "gui").send(text("alive", "hello", 0))
	if s := <-heard; len(s.Payload) != 1 || string(s.Payload[0]) != "hello" {
		t.Errorf("it heard %+v", s)
	}
}
