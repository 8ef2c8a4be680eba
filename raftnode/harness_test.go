package raftnode_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recordingMachine is a machine that remembers every command it was given.
type recordingMachine struct {
	mu    sync.Mutex
	index uint64
	lines []string
	sizes []int         // commands per entry
	gate  chan struct{} // if not nil, every Apply of commands takes one from it
}

func (d *recordingMachine) Apply(index uint64, commands [][]byte) []wire.Result {
	if d.gate != nil && len(commands) > 0 {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index = index
	if len(commands) > 0 {
		d.sizes = append(d.sizes, len(commands))
	}
	results := make([]wire.Result, len(commands))
	for i, c := range commands {
		if strings.HasPrefix(string(c), "refuse") {
			results[i].Err = wire.Refuse(wire.CodeConflict, "refused %s", c)
			continue
		}
		d.lines = append(d.lines, string(c))
		results[i].Value = "did " + string(c)
	}
	return results
}

func (d *recordingMachine) Check(c []byte) error {
	if strings.HasPrefix(string(c), "bad") {
		return wire.Invalid("command", "bad command")
	}
	return nil
}

type frozenMachine struct {
	Index uint64
	Lines []string
}

func (f frozenMachine) WriteTo(w io.Writer) (int64, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

func (d *recordingMachine) Freeze() io.WriterTo {
	d.mu.Lock()
	defer d.mu.Unlock()
	return frozenMachine{d.index, slices.Clone(d.lines)}
}

func (d *recordingMachine) Restore(r io.Reader) error {
	var f frozenMachine
	if err := json.NewDecoder(r).Decode(&f); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index, d.lines = f.Index, f.Lines
	return nil
}

func (d *recordingMachine) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, " ")
}

func (d *recordingMachine) has(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.lines, line)
}

// network is a network without sockets: raft's in-memory transports and calls
// that are plain function calls, both cut at will.
type network struct {
	t  *testing.T
	mu sync.Mutex
	// by address
	transports map[string]*raft.InmemTransport
	calls      map[string]*fakeCalls
	cut        map[[2]string]bool
	seen       map[string]int // calls by method
	// streamClosed is what each server wants to hear of its streams, by its address.
	streamClosed map[string]func(serverID string)
	// refused are the addresses whose machine says that nobody listens, by the
	// address that asks.
	refused map[[2]string]bool
	// cuts are the streams that were not trusted any more: by whom, to whom.
	cuts [][2]string
}

func newNetwork(t *testing.T) *network {
	return &network{
		t: t, transports: map[string]*raft.InmemTransport{}, calls: map[string]*fakeCalls{},
		cut: map[[2]string]bool{}, seen: map[string]int{},
		streamClosed: map[string]func(string){}, refused: map[[2]string]bool{},
	}
}

type handler = func(context.Context, peer.Hello, []byte) ([]byte, error)

type fakeCalls struct {
	network *network
	addr    string
	self    func() peer.Hello
	mu      sync.Mutex
	by      map[string]handler
}

func (c *fakeCalls) Handle(method string, h func(context.Context, peer.Hello, []byte) ([]byte, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[method] = h
}

// Call is a network call: a cut one takes a second to fail.
func (c *fakeCalls) Call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	w := c.network
	w.mu.Lock()
	to, blocked := w.calls[addr], w.cut[[2]string{c.addr, addr}]
	w.seen[method]++
	w.mu.Unlock()
	if to == nil {
		return nil, wire.NotTried("%s refuses connections", addr)
	}
	if blocked {
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		return nil, wire.NotTried("%s is not reached", addr)
	}
	to.mu.Lock()
	h := to.by[method]
	to.mu.Unlock()
	if h == nil {
		return nil, wire.NotTried("nobody handles %s", method)
	}
	time.Sleep(100 * time.Microsecond)
	if own, his := c.self(), to.self(); own.Cluster != "" && his.Cluster != "" && own.Cluster != his.Cluster {
		return nil, wire.NotTried("foreign cluster: %s belongs to cluster %s, %s to %s", own.ServerID, own.Cluster, his.ServerID, his.Cluster)
	}
	out, err := h(ctx, c.self(), slices.Clone(body))
	time.Sleep(100 * time.Microsecond)
	w.mu.Lock()
	blocked = w.cut[[2]string{addr, c.addr}]
	w.mu.Unlock()
	if blocked {
		<-ctx.Done()
		return nil, wire.Unknown(context.Cause(ctx))
	}
	var coded *wire.Error
	if err != nil && !errors.As(err, &coded) {
		err = &wire.Error{Code: wire.CodeInternal, Message: err.Error()}
	}
	return out, err
}

// partition cuts every line between the two groups of addresses.
func (w *network) partition(group, others []string) {
	for _, a := range group {
		for _, b := range others {
			w.setLink(a, b, false)
			w.setLink(b, a, false)
		}
	}
}

// heal mends every line.
func (w *network) heal() {
	for a := range w.transports {
		for b := range w.transports {
			if a != b {
				w.setLink(a, b, true)
			}
		}
	}
}

// setLink opens or cuts the way from one address to another, raft and calls.
func (w *network) setLink(from, to string, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{from, to}] = !open
	w.setRaftLink(from, to, open)
}

func (w *network) setRaftLink(from, to string, open bool) {
	if a, b := w.transports[from], w.transports[to]; a != nil && b != nil && open {
		a.Connect(raft.ServerAddress(to), b)
	} else if a != nil {
		a.Disconnect(raft.ServerAddress(to))
	}
}

// streams is what one server of a network sees of raft's connections.
type streams struct {
	w    *network
	addr string
}

func (s streams) OnStreamClosed(f func(serverID string)) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.streamClosed[s.addr] = f
}

func (s streams) OnStreamOpened(func(serverID string)) {}

func (s streams) CloseStreams(serverID string, _ time.Time) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.cuts = append(s.w.cuts, [2]string{s.addr, serverID})
}

func (s streams) ConnectionRefused(_ context.Context, addr string) bool {
	time.Sleep(100 * time.Microsecond)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.refused[[2]string{s.addr, addr}]
}

// closeStreams ends the streams from one server to another; refused says what its
// machine answers to a new one.
func (w *network) closeStreams(from, to *server, refused bool) {
	w.mu.Lock()
	w.refused[[2]string{to.addr, from.addr}] = refused
	f := w.streamClosed[to.addr]
	w.mu.Unlock()
	if f != nil {
		f(from.ServerID())
	}
}

// server is one coordinator of a network, with what survives its process.
type server struct {
	*raftnode.Node
	w       *network
	cfg     raftnode.Config
	machine *recordingMachine
	logs    *raft.InmemStore
	snaps   raft.SnapshotStore
	files   bool // votes, log and snapshots are in files, not in memory
	addr    string
	fatal   chan error
	wrap    func(*raft.InmemTransport) raft.Transport
	closed  bool
}

type option func(*server)

// quickPromotion makes the waits of membership short.
func quickPromotion(s *server) { s.cfg.Stabilize = 2 * time.Second }

// onFiles keeps votes, log and snapshots in files.
func onFiles(s *server) { s.files = true }

func withConfig(edit func(*raftnode.Config)) option { return func(s *server) { edit(&s.cfg) } }

// addServer makes a server and starts it.
func (w *network) addServer(id string, opts ...option) *server {
	w.t.Helper()
	s := &server{
		w: w, machine: &recordingMachine{}, logs: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore(),
		addr: id + ":1", fatal: make(chan error, 16),
	}
	s.cfg = raftnode.Config{
		ID: id, Dir: w.t.TempDir(), Version: "test", Logger: testLogger(w.t, id),
		Fatal: func(err error) { s.fatal <- err },
	}
	for _, o := range opts {
		o(s)
	}
	s.start()
	return s
}

// kill lets the machine vanish from the network: nobody answers at its address
// any more, not even to refuse.
func (s *server) kill() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for other := range s.w.transports {
		s.w.setRaftLink(other, s.addr, false)
		s.w.setRaftLink(s.addr, other, false)
		s.w.cut[[2]string{s.addr, other}] = true
	}
	delete(s.w.transports, s.addr)
	delete(s.w.calls, s.addr)
}

// exit lets the process end while its machine goes on: its connections are
// closed, and new ones refused.
func (s *server) exit(others []*server) {
	s.kill()
	for _, o := range others {
		s.w.closeStreams(s, o, true)
	}
}

// start opens the node anew over what it left on its disk.
func (s *server) start() {
	s.w.t.Helper()
	if err := s.tryStart(); err != nil {
		s.w.t.Fatalf("open %s: %v", s.cfg.ID, err)
	}
}

func (s *server) tryStart() error {
	id, err := disk.OpenIdentity(s.cfg.Dir, s.cfg.ID)
	if err != nil {
		return err
	}
	_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(s.addr), 500*time.Millisecond)
	calls := &fakeCalls{network: s.w, addr: s.addr, self: func() peer.Hello { return raftnode.PeerHello(id) }, by: map[string]handler{}}
	s.w.mu.Lock()
	s.w.transports[s.addr], s.w.calls[s.addr] = trans, calls
	for other := range s.w.transports {
		if other != s.addr {
			s.w.setRaftLink(s.addr, other, !s.w.cut[[2]string{s.addr, other}])
			s.w.setRaftLink(other, s.addr, !s.w.cut[[2]string{other, s.addr}])
		}
	}
	s.w.mu.Unlock()
	c := s.cfg
	c.Identity, c.Machine = id, s.machine
	c.Inject.Calls, c.Inject.Address, c.Inject.Streams = calls, s.addr, streams{s.w, s.addr}
	c.Inject.Transport = trans
	if s.wrap != nil {
		c.Inject.Transport = s.wrap(trans)
	}
	if c.Inject.Logs == nil && !s.files {
		c.Inject.Logs, c.Inject.Stable = s.logs, s.logs
	}
	if c.Inject.Snapshots == nil && !s.files {
		c.Inject.Snapshots = s.snaps
	}
	c.Inject.Resolve = func(_ context.Context, a string) []string { return strings.Split(a, ",") }
	s.Node, err = raftnode.Open(context.Background(), c)
	s.closed = err != nil
	return err
}

// stop closes the node; its address falls silent.
func (s *server) stop() {
	s.w.t.Helper()
	if s.closed {
		return
	}
	s.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.w.t.Errorf("close %s: %v", s.cfg.ID, err)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	delete(s.w.transports, s.addr)
	delete(s.w.calls, s.addr)
	for other := range s.w.transports {
		s.w.setRaftLink(other, s.addr, false)
	}
}

// startThree starts a cluster of three and waits until it has a leader.
func startThree(w *network, opts ...option) []*server {
	w.t.Helper()
	join := withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n1:1", "n2:1", "n3:1"}, 3 })
	var all []*server
	for i := range 3 {
		all = append(all, w.addServer(fmt.Sprintf("n%d", i+1), append([]option{join}, opts...)...))
	}
	eventually(w.t, "the three are ready", func() bool {
		return !slices.ContainsFunc(all, func(s *server) bool { ok, _ := s.Health(); return !ok })
	})
	return all
}

func stopAll(all []*server) {
	for _, s := range all {
		s.stop()
	}
}

// eventually waits for a condition, in fake or real time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not so after a minute: %s", what)
		}
	}
}

// leaderOf waits for the one leader among the servers and returns the others too.
func leaderOf(t *testing.T, all []*server) (leader *server, others []*server) {
	t.Helper()
	eventually(t, "one leads and the others know it", func() bool {
		leader, others = nil, nil
		for _, s := range all {
			if s.IsLeader() {
				leader = s
			} else {
				others = append(others, s)
			}
		}
		return leader != nil && len(others) == len(all)-1 && !slices.ContainsFunc(others, func(s *server) bool {
			_, id, _, _ := s.LeaderInfo()
			return id != leader.ServerID()
		})
	})
	return leader, others
}

func addrs(servers ...*server) (list []string) {
	for _, s := range servers {
		list = append(list, s.addr)
	}
	return list
}

// write proposes and must succeed.
func write(t *testing.T, s *server, command string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	index, value, err := s.Propose(ctx, []byte(command))
	if err != nil {
		t.Fatalf("propose %q at %s: %v", command, s.cfg.ID, err)
	}
	want := "did " + command
	if raw, ok := value.(json.RawMessage); ok {
		value = strings.Trim(string(raw), `"`)
	}
	if value != want {
		t.Fatalf("propose %q at %s: got %v, want %q", command, s.cfg.ID, value, want)
	}
	return index
}

// writeAgain proposes until it succeeds: on a busy machine a leader over real
// sockets may be lost at any time. The command may be carried out twice.
func writeAgain(t *testing.T, s *server, command string) {
	t.Helper()
	eventually(t, "a write is done", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, err := s.Propose(ctx, []byte(command))
		return err == nil
	})
}

func read(s *server, c raftnode.Consistency, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err := s.Ready(ctx, c, 0)
	return err
}

// requireEqualState waits until all machines hold the same, and returns it.
func requireEqualState(t *testing.T, all []*server) string {
	t.Helper()
	eventually(t, "all machines are alike", func() bool {
		return !slices.ContainsFunc(all, func(s *server) bool { return s.machine.text() != all[0].machine.text() })
	})
	return all[0].machine.text()
}

// synctestNetwork runs a test in fake time.
func synctestNetwork(t *testing.T, f func(t *testing.T, w *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, newNetwork(t))
		// The library does not wait for its own request to take over; the
		// in-memory one gives up after five seconds.
		time.Sleep(time.Minute)
	})
}

func testLogger(t *testing.T, id string) *slog.Logger {
	level := slog.LevelError + 8
	if testing.Verbose() && os.Getenv("FOLKMOOT_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("on", id)
}

// partitionRaft cuts raft's lines only; calls go through.
func (w *network) partitionRaft(group, others []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range group {
		for _, b := range others {
			w.setRaftLink(a, b, false)
			w.setRaftLink(b, a, false)
		}
	}
}

// callCount tells how often a method was called.
func (w *network) callCount(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[method]
}

// dropMessages cuts raft's line to one server from another, not back.
func (w *network) dropMessages(to, from *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setRaftLink(from.addr, to.addr, false)
}

// isolate cuts an address from all others before it exists.
func (w *network) isolate(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range []string{"n1:1", "n2:1", "n3:1", "n4:1"} {
		w.cut[[2]string{addr, other}] = true
		w.cut[[2]string{other, addr}] = true
	}
}

// transferTo hands leadership over, without asking which term that ends.
func (s *server) transferTo(id string) error {
	_, err := s.Transfer(context.Background(), id)
	return err
}

// anyConfig is a change whatever the configuration is by then.
var anyConfig raftnode.MemberChange

func (s *server) AddMember(ctx context.Context, addr string, nonVoter bool) (raftnode.MemberInfo, error) {
	done, err := s.Node.AddMember(ctx, addr, nonVoter, anyConfig)
	return done.Member, err
}

func (s *server) RemoveMember(ctx context.Context, id string) error {
	_, err := s.Node.RemoveMember(ctx, id, anyConfig)
	return err
}

func (s *server) Promote(ctx context.Context, id string) error {
	_, err := s.Node.Promote(ctx, id, anyConfig)
	return err
}

func (s *server) Demote(ctx context.Context, id string) error {
	_, err := s.Node.Demote(ctx, id, anyConfig)
	return err
}
