package control_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/usecases"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// testCluster is a few coordinators over one log that fails only when a test says
// so, with mail and peer calls between them in memory.
type testCluster struct {
	t *testing.T

	mu          sync.Mutex
	index       uint64
	proposeErr  error           // of the next proposals
	proposeErrs []error         // of the next proposals, one each, before that
	membersErr  error           // of who asks for the members
	unreachable map[string]bool // coordinators that are not reached
	nodes       map[string]*testNode
	// lagging are coordinators whose view stays as it is until they write or read
	// strictly or by the leader's lease, with what they have not applied.
	lagging map[string][]entry

	lastCommand   []byte                 // the command that was committed last
	authenticator *control.Authenticator // of coordinators that start
	signers       map[string]*testSigner // of coordinators that start, by id; missing: nobody signs there
	trails        map[string]*testTrail  // of coordinators that start, by id; missing: none is kept
	bounds        control.Bounds         // of coordinators that start
	refuses       func() error           // what makes the state grow; nil: nothing is refused
	cutOff        map[string]bool        // coordinators that are out of touch with the log

	leader func() (id string, term uint64) // the leader; nil: n1 in term 3, and none is transferred
}

// entry is one of the log.
type entry struct {
	index   uint64
	command []byte
}

// testNode is one coordinator.
type testNode struct {
	*usecases.UseCases
	id          string
	cluster     *testCluster
	machine     *fsm.Machine
	mail        *fakeMail
	dir         string
	calls       map[string]func(context.Context, peer.Hello, []byte) ([]byte, error)
	stop        func()
	leaderReads int // reads that asked the leader; guarded by the cluster's mu
}

// runCluster runs a test in a synctest bubble with coordinators of these ids, each
// presiding over the namespace of its name.
func runCluster(t *testing.T, play func(t *testing.T, w *testCluster), ids ...string) {
	synctest.Test(t, func(t *testing.T) {
		w := &testCluster{t: t, unreachable: map[string]bool{}, cutOff: map[string]bool{}, nodes: map[string]*testNode{}, lagging: map[string][]entry{}}
		for _, id := range ids {
			w.nodes[id] = &testNode{id: id, cluster: w, machine: fsm.New(), dir: t.TempDir()}
		}
		for _, id := range ids {
			w.apply(registry.KindAnnounce, registry.Announce{Coordinator: w.self(id)})
		}
		for _, id := range ids {
			w.start(id)
		}
		defer func() {
			for _, id := range ids {
				w.nodes[id].stop()
			}
		}()
		synctest.Wait()
		play(t, w)
	})
}

func (w *testCluster) self(id string) registry.Coordinator {
	return registry.Coordinator{ID: id, ServerID: id + "/1", Namespace: id, PeerAddr: id + ":7300", HTTPAddr: id + ":7380", Level: 1, Version: "test"}
}

// start starts a coordinator; after stop it is a restart.
func (w *testCluster) start(id string) {
	w.t.Helper()
	s := w.nodes[id]
	s.mail = &fakeMail{node: s, boxes: map[string]*fakeMailbox{}}
	s.calls = map[string]func(context.Context, peer.Hello, []byte) ([]byte, error){}
	cfg := usecases.Config{
		Machine: s.machine, Replica: replica{s}, Mail: s.mail, Peers: fakePeers{s}, Self: w.self(id), DataDir: s.dir, Bounds: w.bounds, Authenticator: w.authenticator,
		GrowthRefused: func() error {
			if w.refuses == nil {
				return nil
			}
			return w.refuses()
		},
	}
	if signer := w.signers[id]; signer != nil {
		cfg.Signer = signer
	}
	if trail := w.trails[id]; trail != nil {
		cfg.Trail = trail
	}
	c, err := usecases.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	s.UseCases = c
	done := make(chan error, 1)
	go func() { done <- c.Run(context.Background()) }()
	s.stop = sync.OnceFunc(func() {
		c.Close()
		if err := <-done; err != nil {
			w.t.Errorf("%s: Run ended with %v, want nil", id, err)
		}
	})
}

// apply carries one command out everywhere.
func (w *testCluster) apply(kind string, body any) wire.Result {
	w.t.Helper()
	command, err := fsm.Encode(kind, time.Now(), fsm.Author{By: "test"}, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.commit("", command)
}

// commit applies a command to every coordinator's machine and returns what it
// answers at one.
func (w *testCluster) commit(at string, command []byte) (answer wire.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	w.lastCommand = command
	w.catchUp(at)
	for id, s := range w.nodes {
		if _, late := w.lagging[id]; late {
			w.lagging[id] = append(w.lagging[id], entry{w.index, command})
			continue
		}
		r := s.machine.Apply(w.index, [][]byte{command})[0]
		if id == at || at == "" {
			answer = r
		}
	}
	return answer
}

// author is who the last command is by.
func (w *testCluster) author() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var entry struct{ By string }
	if err := json.Unmarshal(w.lastCommand, &entry); err != nil {
		w.t.Fatal(err)
	}
	return entry.By
}

// lag lets a coordinator's view stay as it is until it must be newer.
func (w *testCluster) lag(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lagging[id] = []entry{}
}

// catchUp ends the lag of a coordinator; mu is held.
func (w *testCluster) catchUp(id string) {
	for _, e := range w.lagging[id] {
		w.nodes[id].machine.Apply(e.index, [][]byte{e.command})
	}
	delete(w.lagging, id)
}

func (w *testCluster) failProposals(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proposeErr = err
}

// failNextProposals fails as many proposals as there are errors, each with its own.
func (w *testCluster) failNextProposals(errs ...error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proposeErrs = errs
}

func (w *testCluster) outOfTouch(id string, out bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutOff[id] = out
}

func (w *testCluster) setUnreachable(id string, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unreachable[id] = down
}

func (w *testCluster) reach(addr string) (*testNode, error) {
	id := strings.TrimSuffix(addr, ":7300")
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.nodes[id]; ok && !w.unreachable[id] {
		return s, nil
	}
	return nil, wire.NotTried("dial %s: refused", addr)
}

// replica is a node's control.Replica.
type replica struct{ *testNode }

var _ control.Replica = replica{}

func (s replica) Propose(_ context.Context, command []byte) (uint64, any, error) {
	s.cluster.mu.Lock()
	fail := s.cluster.proposeErr
	if once := s.cluster.proposeErrs; len(once) > 0 {
		fail, s.cluster.proposeErrs = once[0], once[1:]
	}
	s.cluster.mu.Unlock()
	if fail != nil {
		return 0, nil, fail
	}
	r := s.cluster.commit(s.id, command)
	if r.Err != nil {
		return s.machine.View().Index, nil, r.Err
	}
	return s.machine.View().Index, r.Value, nil
}

func (s replica) Ready(ctx context.Context, c raftnode.Consistency, index uint64) (raftnode.Freshness, error) {
	s.cluster.mu.Lock()
	fail := s.cluster.proposeErr
	if fail == nil && c != raftnode.Stale {
		s.cluster.catchUp(s.id)
		s.leaderReads++
	}
	s.cluster.mu.Unlock()
	if fail != nil && c != raftnode.Stale {
		return raftnode.Freshness{}, wire.NotTried("no leader")
	}
	return raftnode.Freshness{Consistency: c, Leader: "n1/1"}, s.machine.Wait(ctx, index)
}

func (s replica) LeaderInfo() (string, string, string, uint64) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if s.cluster.leader == nil {
		return "n1", "n1/1", "n1:7300", 3
	}
	id, term := s.cluster.leader()
	if id == "" {
		return "", "", "", term
	}
	return id, id + "/1", id + ":7300", term
}
func (s replica) Health() (bool, string)         { return true, "" }
func (s replica) Alive(string) (bool, time.Time) { return true, time.Now() }

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

func (s replica) Status() raftnode.Status { return raftnode.Status{} }
func (s replica) Members(context.Context) ([]raftnode.MemberInfo, error) {
	s.cluster.mu.Lock()
	fail := s.cluster.membersErr
	s.cluster.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	return []raftnode.MemberInfo{{ID: "n1", ServerID: "n1/1"}, {ID: "n2", ServerID: "n2/1"}}, nil
}

func (s replica) ConfigIndex() uint64 { return 7 }

func (s replica) Autopilot() raftnode.AutopilotSettings {
	return raftnode.AutopilotSettings{CleanupDead: true, DeadAfter: time.Hour, MinVoters: 3, Stabilize: time.Second, MaxLag: 250}
}

func (s replica) AddMember(context.Context, string, bool, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{Member: raftnode.MemberInfo{ID: "n9", ServerID: "n9/1"}, ConfigIndex: 9}, nil
}

func (s replica) RemoveMember(_ context.Context, id string, on control.MemberChange) (raftnode.MemberChangeResult, error) {
	if id != "n2" {
		return raftnode.MemberChangeResult{}, wire.Refuse(wire.CodeNotFound, "no member %s", id)
	}
	return raftnode.MemberChangeResult{ConfigIndex: on.ConfigIndex + 1}, nil
}

func (s replica) Promote(context.Context, string, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{}, nil
}

func (s replica) Demote(context.Context, string, control.MemberChange) (raftnode.MemberChangeResult, error) {
	return raftnode.MemberChangeResult{}, nil
}

// Transfer gives leadership up in term 3, unless n1, who leads, is named.
func (s replica) Transfer(_ context.Context, to string) (uint64, error) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	switch {
	case s.cluster.leader == nil:
		return 0, wire.Unknown(context.DeadlineExceeded)
	case to == "n1":
		return 2, nil
	}
	return 3, nil
}

// fakePeers are a node's control.Peers.
type fakePeers struct{ *testNode }

var _ control.Peers = fakePeers{}

func (s fakePeers) Handle(method string, h func(context.Context, peer.Hello, []byte) ([]byte, error)) {
	s.calls[method] = h
}

func (s fakePeers) Call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	to, err := s.cluster.reach(addr)
	if err != nil {
		return nil, err
	}
	return to.calls[method](ctx, peer.Hello{ID: s.id}, body)
}

// call is Control.Call without the index, its params written as JSON.
func (s *testNode) call(t *testing.T, secret, method string, params any) (any, error) {
	t.Helper()
	raw, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	if params == nil {
		raw = nil
	}
	value, _, err := s.Call(t.Context(), by(secret), method, raw)
	return value, err
}

// fakeMail is one coordinator's home.Mail.
type fakeMail struct {
	node *testNode

	mu      sync.Mutex
	boxes   map[string]*fakeMailbox // by session
	full    bool                    // refuse everything as busy
	foreign bool                    // refuse everything as of senders that are not at home here
	sent    int
}

type fakeMailbox struct {
	next    uint64
	queue   []home.Mailed
	changed chan struct{}
	gone    bool
}

var _ home.Mail = (*fakeMail)(nil)

func (p *fakeMail) Attach(full, session string, epoch uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.boxes[session] == nil {
		p.boxes[session] = &fakeMailbox{changed: make(chan struct{})}
	}
	return nil
}

func (p *fakeMail) Detach(session, _ string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.boxes[session]; b != nil {
		b.gone = true
		close(b.changed)
		delete(p.boxes, session)
	}
}

func (p *fakeMail) fill(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = full
}

func (p *fakeMail) attached(session string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.boxes[session] != nil
}

func (p *fakeMail) Receive(ctx context.Context, session string, after uint64, limit int) ([]home.Mailed, error) {
	for {
		p.mu.Lock()
		b := p.boxes[session]
		if b == nil {
			p.mu.Unlock()
			return nil, wire.Refuse(wire.CodeNotFound, "no mailbox of %s", session)
		}
		for len(b.queue) > 0 && b.queue[0].Seq <= after {
			b.queue = b.queue[1:]
		}
		got := append([]home.Mailed(nil), b.queue[:min(limit, len(b.queue))]...)
		changed := b.changed
		p.mu.Unlock()
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *fakeMail) Send(_ context.Context, m wire.Message) error {
	if p.foreign {
		return wire.Refuse(wire.CodeForbidden, "the home of %s does not know the sender", m.To)
	}
	at, session, _, ok := control.NewDirectory(p.node.machine, replica{p.node}).Home(m.To)
	if !ok {
		return wire.Refuse(wire.CodeNotFound, "receiver_unknown: %s", m.To)
	}
	to, err := p.node.cluster.reach(at + ":7300")
	if err != nil {
		return wire.Unknown(err)
	}
	to.mail.mu.Lock()
	defer to.mail.mu.Unlock()
	to.mail.sent++
	b := to.mail.boxes[session]
	if b == nil {
		return wire.Refuse(wire.CodeNotFound, "receiver_unknown: %s", m.To)
	}
	if to.mail.full {
		return wire.Refuse(wire.CodeBusy, "the mailbox of %s is full", m.To)
	}
	b.next++
	b.queue = append(b.queue, home.Mailed{Seq: b.next, Message: m})
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (p *fakeMail) PostWith(m wire.Message, _ router.PostOptions, done func(router.Outcome, error)) {
	err := p.Send(context.Background(), m)
	if err != nil {
		done(router.Refused, err)
		return
	}
	done(router.Delivered, nil)
}

func (p *fakeMail) Consume(string, func(router.WriteMode)) (*router.Consumer, error) {
	return nil, wire.NotTried("nobody consumes here")
}

func (p *fakeMail) Links() map[string]string { return nil }

// Steps of the tests.

func (s *testNode) signIn(t *testing.T, name string) wire.SignedIn {
	t.Helper()
	in, err := s.SignIn(t.Context(), named("test"), wire.SignIn{Name: name}, "")
	if err != nil {
		t.Fatalf("sign in %s at %s: %v", name, s.id, err)
	}
	return in
}

func (s *testNode) worker(t *testing.T, name string) wire.SignedIn {
	t.Helper()
	in, err := s.SignIn(t.Context(), anyone, wire.SignIn{Name: name, Slots: 4, Runtimes: []string{"python3", "sh"}, Lease: wire.Duration(time.Hour)}, "")
	if err != nil {
		t.Fatalf("sign in worker %s at %s: %v", name, s.id, err)
	}
	return in
}

// refused checks the code of an error and that its text says something.
func refused(t *testing.T, err error, code wire.Code, says string) {
	t.Helper()
	if wire.CodeOf(err) != code {
		t.Fatalf("got %v (code %q), want code %q", err, wire.CodeOf(err), code)
	}
	if !strings.Contains(err.Error(), says) {
		t.Fatalf("the error is %q, want it to say %q", err, says)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inbox takes what is in a component's inbox, from number after on; it waits
// for one message at least.
func (s *testNode) inbox(t *testing.T, in wire.SignedIn, after uint64) []wire.Received {
	t.Helper()
	b, err := s.Inbox(t.Context(), by(in.Secret), in.FullName)
	noError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := b.Receive(ctx, after, 0)
	noError(t, err)
	return got
}

// submit hands a job of n parts in and returns its id.
func (s *testNode) submit(t *testing.T, id string, n int) string {
	t.Helper()
	j, _, err := s.Submit(t.Context(), named("test"), wire.SubmitJob{
		ID: id, Runtime: "sh", Script: "echo $ITEM", Range: &wire.Range{From: 0, To: int64(n)},
	}, "")
	noError(t, err)
	return j.ID
}

// assign gives a part to a worker as the dispatcher would.
func (w *testCluster) assign(job string, part, attempt int, to wire.SignedIn) wire.PartRef {
	w.t.Helper()
	r := w.apply(jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{{
		Job: job, Part: part, Attempt: attempt, Worker: to.FullName, Session: to.Session, Home: to.Home,
	}}})
	if v := r.Value.([]jobs.Verdict); len(v) != 1 || v[0].Code != "" {
		w.t.Fatalf("assign part %d of %s: %+v", part, job, r)
	}
	return wire.PartRef{Job: job, Part: part, Attempt: attempt}
}

// anyone presents nothing.
var anyone control.Principal

// present is who presents this at a door that asks for no token.
func present(from control.Credentials) control.Principal {
	who, err := new(control.Authenticator).Authenticate(from)
	if err != nil {
		panic(err)
	}
	return who
}

// by is who presents a session's secret.
func by(secret string) control.Principal { return present(control.Credentials{Secret: secret}) }

func named(name string) control.Principal { return present(control.Credentials{Name: name}) }

func native() control.Principal { return present(control.Credentials{Door: control.DoorNative}) }
