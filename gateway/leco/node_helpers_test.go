package leco_test

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/usecases"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// patience is how long a test waits for what must come about.
const patience = 10 * time.Second

// testNode is one coordinator with a LECO door: all of it real but the log, which
// is applied at once unless the test holds it.
type testNode struct {
	*usecases.UseCases
	t       *testing.T
	machine *fsm.Machine
	door    *leco.Door
	log     *replica
}

// replica is a log of one.
type replica struct {
	control.Replica // nil: for what no test asks
	machine         *fsm.Machine

	mu    sync.Mutex
	index uint64
	held  chan struct{} // not nil: proposals wait for its end
}

func (r *replica) hold() (release func()) {
	held := make(chan struct{})
	r.mu.Lock()
	r.held = held
	r.mu.Unlock()
	return sync.OnceFunc(func() {
		r.mu.Lock()
		r.held = nil
		r.mu.Unlock()
		close(held)
	})
}

func (r *replica) Propose(ctx context.Context, command []byte) (uint64, any, error) {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return 0, nil, wire.NotTried("there is no leader")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	result := r.machine.Apply(r.index, [][]byte{command})[0]
	if result.Err != nil {
		return r.index, nil, result.Err
	}
	return r.index, result.Value, nil
}

func (r *replica) Ready(context.Context, raftnode.Consistency, uint64) (raftnode.Freshness, error) {
	return raftnode.Freshness{}, nil
}

func (r *replica) WaitInTouch(context.Context) error { return nil }

// restComponent signs n1.rest in by REST, and opens its inbox.
func (s *testNode) restComponent(t *testing.T) (control.Principal, *home.Inbox) {
	t.Helper()
	in, err := s.SignIn(t.Context(), anyone, wire.SignIn{Name: "rest"}, "")
	if err != nil {
		t.Fatal(err)
	}
	box, err := s.Inbox(t.Context(), by(in.Secret), "n1.rest")
	if err != nil {
		t.Fatal(err)
	}
	return by(in.Secret), box
}

// open starts a coordinator of this namespace.
func open(t *testing.T, namespace string, change ...func(*leco.Config)) *testNode {
	t.Helper()
	return openWith(t, namespace, nil, change...)
}

// openWith is open for a coordinator that asks for these tokens.
func openWith(t *testing.T, namespace string, tokens *control.Authenticator, change ...func(*leco.Config)) *testNode {
	t.Helper()
	s := &testNode{t: t, machine: fsm.New()}
	s.log = &replica{machine: s.machine}
	self := registry.Coordinator{ID: namespace, ServerID: namespace + "/1", Namespace: namespace, PeerAddr: "127.0.0.1:1", Level: 1, Version: "test"}
	s.propose(registry.KindAnnounce, registry.Announce{Coordinator: self})
	egress := new(router.Egress)
	mail := router.Open(router.Config{Self: namespace, Directory: control.NewDirectory(s.machine, s.log), Egress: egress})
	t.Cleanup(mail.Close)
	c, err := usecases.New(usecases.Config{Machine: s.machine, Replica: s.log, Mail: home.MailOf(mail), Self: self, Authenticator: tokens})
	if err != nil {
		t.Fatal(err)
	}
	s.UseCases = c
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); c.Close() })
	cfg := leco.Config{Cluster: c, Egress: egress, Listener: listen(t, "127.0.0.1:0")}
	for _, f := range change {
		f(&cfg)
	}
	if s.door, err = leco.Open(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func (s *testNode) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.door.Close(ctx)
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// propose writes a command past the door.
func (s *testNode) propose(kind string, body any) {
	s.t.Helper()
	command, err := fsm.Encode(kind, time.Unix(0, 0), fsm.Author{By: "test"}, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, _, err := s.log.Propose(context.Background(), command); err != nil {
		s.t.Fatal(err)
	}
}

// peer is a LECO component (or coordinator) by hand.
type peer struct {
	t    *testing.T
	conn *zmtp.Conn
	name string // its sender frame
	got  chan message
}

// message is one that came, its content read.
type message struct {
	to, from string
	header   string
	payload  []string
	content  reply
	raw      string
}

type reply struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data"`
	} `json:"error"`
}

func (m message) code() int {
	if m.content.Error == nil {
		return 0
	}
	return m.content.Error.Code
}

func connect(t *testing.T, addr, name string) *peer {
	t.Helper()
	conn, err := zmtp.Dial(t.Context(), addr, zmtp.Config{Socket: "DEALER"})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: conn, name: name, got: make(chan message, 1000)}
	t.Cleanup(conn.Close)
	go p.read()
	return p
}

// component connects and signs in.
func (s *testNode) component(name string) *peer {
	s.t.Helper()
	p := connect(s.t, s.door.Addr(), name)
	if m := p.ask("COORDINATOR", "sign_in", nil); m.code() != 0 {
		s.t.Fatalf("sign %s in: %s", name, m.raw)
	}
	return p
}

func (p *peer) read() {
	defer close(p.got)
	for {
		frames, err := p.conn.Receive()
		if err != nil {
			return
		}
		m := message{to: string(frames[1]), from: string(frames[2]), header: string(frames[3])}
		for _, f := range frames[4:] {
			m.payload = append(m.payload, string(f))
		}
		if len(m.payload) > 0 {
			m.raw = m.payload[0]
			_ = json.Unmarshal([]byte(m.raw), &m.content)
		}
		p.got <- m
	}
}

// header makes a header with this conversation.
func header(conversation string, kind byte) []byte {
	h := make([]byte, 20)
	copy(h, conversation)
	h[19] = kind
	return h
}

// frames sends a message as it stands.
func (p *peer) frames(frames ...string) {
	p.t.Helper()
	list := make([][]byte, len(frames))
	for i, f := range frames {
		list[i] = []byte(f)
	}
	if err := p.conn.SendWait(p.t.Context(), list...); err != nil {
		p.t.Fatal(err)
	}
}

// say sends a JSON content.
func (p *peer) say(to, conversation, content string, more ...string) {
	p.t.Helper()
	p.frames(append([]string{"\x00", to, p.name, string(header(conversation, 1)), content}, more...)...)
}

// next waits for the next message.
func (p *peer) next() message {
	p.t.Helper()
	select {
	case m, ok := <-p.got:
		if !ok {
			p.t.Fatalf("%s: the connection ended: %v", p.name, p.conn.Err())
		}
		return m
	case <-time.After(patience):
		p.t.Fatalf("%s: nothing came", p.name)
	}
	panic("unreachable")
}

// ask sends a request and waits for the answer to it.
func (p *peer) ask(to, method string, params any) message {
	p.t.Helper()
	body := map[string]any{"id": 1, "method": method, "jsonrpc": "2.0"}
	if params != nil {
		body["params"] = params
	}
	b, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	conversation := strings.Repeat(method, 6)[:15] + string('a'+byte(len(to)%20))
	p.say(to, conversation, string(b))
	for {
		if m := p.next(); m.header[:16] == conversation {
			return m
		}
	}
}

// result fails the test unless the answer has this result.
func (p *peer) result(want, to, method string, params any) {
	p.t.Helper()
	m := p.ask(to, method, params)
	if string(m.content.Result) != want || m.content.Error != nil {
		p.t.Errorf("%s asks %s for %s: got %s, want the result %s", p.name, to, method, m.raw, want)
	}
}

// eventually asks again and again until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// names are the components that the coordinator knows.
func (s *testNode) names() string {
	var names []string
	for row := range s.machine.View().Registry.Sessions() {
		names = append(names, row.FullName)
	}
	return strings.Join(names, " ")
}

// anyone presents nothing.
var anyone control.Principal

// by is who presents a session's secret.
func by(secret string) control.Principal {
	who, err := new(control.Authenticator).Authenticate(control.Credentials{Secret: secret})
	if err != nil {
		panic(err)
	}
	return who
}
