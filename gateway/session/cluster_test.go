package session_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/usecases"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/gateway/tcp"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCluster is a few coordinators with real doors, routers and links over one log
// that never fails.
type testCluster struct {
	t     testing.TB
	mu    sync.Mutex
	index uint64
	nodes map[string]*testNode

	cutOff map[string]bool // coordinators that are out of touch with the log
}

type testNode struct {
	id      string
	cluster *testCluster
	machine *fsm.Machine
	router  *router.Router
	control *usecases.UseCases
	hub     *session.Hub
	addr    string // of the TCP door
	links   net.Listener
	end     func()
}

// settings change the doors of a cluster.
type settings struct {
	limits session.Limits
	router router.Limits
	tokens []string
	tls    *tls.Config
	// unfinished bounds what comes at once.
	unfinished *unfinished.Budget
}

func newTestCluster(t testing.TB, s settings, ids ...string) *testCluster {
	t.Helper()
	w := &testCluster{t: t, cutOff: map[string]bool{}, nodes: map[string]*testNode{}}
	for _, id := range ids {
		links, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		w.nodes[id] = &testNode{id: id, cluster: w, machine: fsm.New(), links: links}
	}
	for _, id := range ids {
		w.nodes[id].open(s)
	}
	t.Cleanup(func() {
		for _, s := range w.nodes {
			s.end()
		}
	})
	return w
}

func (s *testNode) open(set settings) {
	t := s.cluster.t
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.addr = l.Addr().String()
	self := registry.Coordinator{ID: s.id, ServerID: s.id + "/1", Namespace: s.id, PeerAddr: s.links.Addr().String(), ComponentAddr: s.addr, Level: 1, Version: "test"}
	s.cluster.apply(t, registry.KindAnnounce, registry.Announce{Coordinator: self})
	s.router = router.Open(router.Config{Self: s.id, Namespace: s.id, Directory: control.NewDirectory(s.machine, replica{s}), Dialer: links{s}, Limits: set.router})
	known, err := control.NewAuthenticator(set.tokens)
	must(t, err)
	s.control, err = usecases.New(usecases.Config{Authenticator: known, Machine: s.machine, Replica: replica{s}, Mail: home.MailOf(s.router), Self: self})
	must(t, err)
	running := make(chan error, 1)
	go func() { running <- s.control.Run(context.Background()) }()
	s.hub = session.New(session.Config{Control: s.control, Limits: set.limits, Unfinished: set.unfinished})
	door := tcp.New(tcp.Config{Hub: s.hub, TLS: set.tls})
	served := make(chan error, 1)
	go func() { served <- door.Serve(l) }()
	s.end = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.hub.Close(ctx); err != nil {
			t.Errorf("close the hub of %s: %v", s.id, err)
		}
		door.Close()
		if err := <-served; err != nil {
			t.Errorf("the door of %s ended with %v", s.id, err)
		}
		s.control.Close()
		if err := <-running; err != nil {
			t.Errorf("control of %s ended with %v", s.id, err)
		}
		s.router.Close()
		s.links.Close()
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *testCluster) apply(t testing.TB, kind string, body any) wire.Result {
	t.Helper()
	command, err := fsm.Encode(kind, time.Now(), fsm.Author{By: "test"}, body)
	must(t, err)
	return w.commit("", command)
}

func (w *testCluster) outOfTouch(id string, out bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutOff[id] = out
}

func (w *testCluster) commit(at string, command []byte) (answer wire.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	for id, s := range w.nodes {
		if r := s.machine.Apply(w.index, [][]byte{command})[0]; id == at || at == "" {
			answer = r
		}
	}
	return answer
}

// replica is a node's control.Replica.
type replica struct{ *testNode }

func (s replica) Propose(_ context.Context, command []byte) (uint64, any, error) {
	r := s.cluster.commit(s.id, command)
	if r.Err != nil {
		return 0, nil, r.Err
	}
	return s.machine.View().Index, r.Value, nil
}

func (s replica) Ready(ctx context.Context, c raftnode.Consistency, index uint64) (raftnode.Freshness, error) {
	return raftnode.Freshness{Consistency: c, Leader: "n1/1"}, s.machine.Wait(ctx, index)
}

func (s replica) LeaderInfo() (string, string, string, uint64) { return "n1", "n1/1", "", 1 }
func (s replica) Health() (bool, string)                       { return true, "" }
func (s replica) Alive(string) (bool, time.Time)               { return true, time.Now() }

// InTouch is as the test has it.
func (s replica) InTouch() bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return !s.cluster.cutOff[s.id]
}

func (s replica) WaitInTouch(context.Context) error {
	if !s.InTouch() {
		return wire.NotTried("%s is out of touch", s.id)
	}
	return nil
}

func (s replica) Status() raftnode.Status                                { return raftnode.Status{} }
func (s replica) Members(context.Context) ([]raftnode.MemberInfo, error) { return nil, nil }
func (s replica) ConfigIndex() uint64                                    { return 0 }
func (s replica) Autopilot() raftnode.AutopilotSettings                  { return raftnode.AutopilotSettings{} }

func (s replica) RemoveMember(context.Context, string, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{}, errors.ErrUnsupported
}

func (s replica) Promote(context.Context, string, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{}, errors.ErrUnsupported
}

func (s replica) Demote(context.Context, string, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{}, errors.ErrUnsupported
}

func (s replica) Transfer(context.Context, string) (uint64, error) {
	return 0, errors.ErrUnsupported
}

func (s replica) AddMember(context.Context, string, bool, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{}, errors.ErrUnsupported
}

var (
	_ control.Replica = replica{}
	_                 = peer.Hello{}
)

// links are a node's router.Dialer: the dialling side says its name first.
type links struct{ *testNode }

func (s links) DialLink(ctx context.Context, addr, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = conn.Write([]byte{s.id[0], s.id[1]})
	return conn, err
}

func (s links) AcceptLink() (net.Conn, string, error) {
	conn, err := s.links.Accept()
	if err != nil {
		return nil, "", err
	}
	name := make([]byte, 2)
	_, err = io.ReadFull(conn, name)
	return conn, string(name), err
}

// testClient is a client written from docs/protocol.md.
type testClient struct {
	t             testing.TB
	conn          net.Conn
	raw           *bufio.Reader // under in
	in            *wire.FrameReader
	chunks        wire.Reassembler
	welcome       wire.Welcome
	conversations byte
}

// dial connects and exchanges preambles; ping 0 is the default.
func (s *testNode) dial(t testing.TB, ping time.Duration) *testClient {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	must(t, err)
	return s.handshake(t, conn, ping)
}

// handshake exchanges preambles on a connection.
func (s *testNode) handshake(t testing.TB, conn net.Conn, ping time.Duration) *testClient {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	_, err := conn.Write(wire.Preamble{Version: 1, Ping: ping}.Append(nil))
	must(t, err)
	g := &testClient{t: t, conn: conn}
	r := bufio.NewReaderSize(conn, 64<<10)
	var b [wire.PreambleSize]byte
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = io.ReadFull(r, b[:])
	must(t, err)
	p, err := wire.ParsePreamble(b[:])
	must(t, err)
	if p.Version != 1 {
		t.Fatalf("the coordinator speaks version %d, want 1", p.Version)
	}
	g.raw, g.in = r, wire.NewFrameReader(r)
	return g
}

// signIn dials and signs in.
func (s *testNode) signIn(t testing.TB, name string) *testClient {
	t.Helper()
	g := s.dial(t, 0)
	g.signIn(wire.Hello{SignIn: wire.SignIn{Name: name}})
	return g
}

func (g *testClient) signIn(h wire.Hello) {
	g.t.Helper()
	must(g.t, g.call("sign_in", h, &g.welcome))
}

func (g *testClient) write(b []byte) {
	g.t.Helper()
	_ = g.conn.SetWriteDeadline(time.Now().Add(time.Minute))
	_, err := g.conn.Write(b)
	must(g.t, err)
}

func (g *testClient) send(m wire.Message) {
	g.t.Helper()
	b, err := wire.AppendFrame(nil, &m)
	must(g.t, err)
	g.write(b)
}

// next returns the next frame; chunks are put together.
func (g *testClient) next() (wire.Message, error) {
	g.t.Helper()
	_ = g.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		m, err := g.in.Next()
		if err != nil || m.To != "" || m.Type != wire.TypeChunk {
			return m, err
		}
		whole, ok, err := g.chunks.Add(&m)
		if err != nil || ok {
			return whole, err
		}
	}
}

// message returns the next message, whatever comes about the connection.
func (g *testClient) message() wire.Message {
	g.t.Helper()
	for {
		m, err := g.next()
		must(g.t, err)
		if m.To != "" {
			return m
		}
		if m.Type == wire.TypeBye {
			g.t.Fatalf("bye: %s", m.Payload[0])
		}
	}
}

// bye waits for the end of the connection and returns its reason.
func (g *testClient) bye() (why wire.Error) {
	g.t.Helper()
	for {
		m, err := g.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				g.t.Logf("the connection ended with %v", err)
			}
			return why
		}
		if m.To == "" && m.Type == wire.TypeBye {
			must(g.t, json.Unmarshal(m.Payload[0], &why))
		}
	}
}

type reply struct {
	Result json.RawMessage
	Error  *struct {
		Code    int
		Message string
		Data    json.RawMessage
	}
	Method string
	Params json.RawMessage
}

// code is the word of ours in an error answer.
func (a reply) code() wire.Code {
	if a.Error == nil {
		return ""
	}
	var d struct{ Code wire.Code }
	_ = json.Unmarshal(a.Error.Data, &d)
	return d.Code
}

func decodeReply(t testing.TB, m wire.Message) (a reply) {
	t.Helper()
	if len(m.Payload) == 0 {
		t.Fatalf("message from %s without content", m.From)
	}
	if err := json.Unmarshal(m.Payload[0], &a); err != nil {
		t.Fatalf("message from %s: %.200q: %v", m.From, m.Payload[0], err)
	}
	return a
}

func (g *testClient) conversation() (id [16]byte) {
	g.conversations++
	id[0], id[15] = 1, g.conversations
	return id
}

func requestOf(t testing.TB, method string, params any) []byte {
	t.Helper()
	raw, err := json.Marshal(params)
	must(t, err)
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": json.RawMessage(raw)})
	must(t, err)
	return b
}

// call asks COORDINATOR and waits for its answer; other messages are dropped.
func (g *testClient) call(method string, params, out any) error {
	g.t.Helper()
	id := g.conversation()
	g.send(wire.Message{To: "COORDINATOR", Conversation: id, Type: wire.TypeJSON, Payload: [][]byte{requestOf(g.t, method, params)}})
	for {
		m := g.message()
		if m.Conversation != id {
			continue
		}
		a := decodeReply(g.t, m)
		if a.Error != nil {
			return &wire.Error{Code: a.code(), Message: a.Error.Message}
		}
		if out != nil {
			must(g.t, json.Unmarshal(a.Result, out))
		}
		return nil
	}
}

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }
