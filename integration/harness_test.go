package integration_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// patience is how long a test waits for something that must come about. It is
// long since two cores may run everything at once; nothing waits it out.
const patience = 60 * time.Second

// cluster is coordinators as processes, with disks of their own. Close is
// automatic; every test that leaves it healthy ends in equal fingerprints.
type cluster struct {
	t     *testing.T
	dir   string
	nodes []*process
}

// process is one program under test.
type process struct {
	t               *testing.T
	name            string
	program         string
	build           string // the directory of the program; "" is bin
	args            []string
	openFiles       int      // that it may have; 0 is as many as the test
	wrap            []string // a command that runs the program, which is added to it
	http, peer, ops string
	component       string // native sessions; the same at every start, as a coordinator's row has it
	data            string
	token           string      // that its clients send; "" is none
	tls             *tls.Config // of its clients; nil is plain text
	before          use         // what it took before it was abused
	log             *logFile
	cmd             *exec.Cmd
	done            chan struct{}
	err             error // of Wait, after done
}

// logFile keeps what a process says, in memory, and looks for races in it.
type logFile struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() < 8<<20 {
		l.buf.Write(p)
	}
	return len(p), nil
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// ports returns n ports of loopback that nobody listened on a moment ago. They
// are below the range from which the kernel takes ports for outgoing
// connections, so that none of those takes them before their process does.
func ports(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for tries := 0; len(addrs) < n; tries++ {
		if tries > 1000 {
			t.Fatalf("no free ports")
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+(int64(os.Getpid())*97+nextPort.Add(1))%20_000))
		if err != nil {
			continue
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// nextPort counts the ports tried; where the count begins is up to the process,
// for two may run at once.
var nextPort atomic.Int64

// startCluster starts n coordinators n1..nN with fresh disks and waits until
// all are voters that count on each other.
func startCluster(t *testing.T, n int, extra ...string) *cluster {
	t.Helper()
	c := newCluster(t, n, extra...)
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(n)
	return c
}

// steadyLeader are flags for tests that fail when another leader is elected: a busy machine is no reason for one.
var steadyLeader = []string{"--heartbeat-timeout", "5s", "--election-timeout", "5s"}

// newCluster prepares n coordinators without starting them.
func newCluster(t *testing.T, n int, extra ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3*n)
	peers := strings.Join(free[n:2*n], ",")
	for i := range n {
		p := c.prepare(fmt.Sprintf("n%d", i+1), free[i], free[n+i], free[2*n+i])
		p.args = append(p.args, "--join", peers, "--bootstrap-expect", fmt.Sprint(n))
		p.args = append(p.args, extra...)
	}
	return c
}

// prepare adds a coordinator to the cluster without starting it.
func (c *cluster) prepare(id, http, peer, ops string, extra ...string) *process {
	c.t.Helper()
	p := &process{
		t: c.t, name: id, program: "coordinator", http: http, peer: peer, ops: ops, component: ports(c.t, 1)[0], data: filepath.Join(c.dir, id), log: &logFile{},
	}
	p.args = append([]string{
		"serve", "--id", id, "--data-dir", p.data, "--log-format", "text", "--log-level", "info",
		"--http-addr", http, "--peer-addr", peer, "--ops-addr", ops,
		"--component-addr", p.component,
	}, extra...)
	c.nodes = append(c.nodes, p)
	c.t.Cleanup(p.end)
	return p
}

// operatorToken may do everything at a coordinator that asks for it.
const operatorToken = "operator-0123456789abcdef0123456789abcdef0123456789abcdef"

// asksForToken has a coordinator that is not started yet ask for one of these tokens, by a file of its own. Its clients
// send the first.
func (p *process) asksForToken(tokens ...string) (file string) {
	p.t.Helper()
	file = filepath.Join(p.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("# the operator's\n"+strings.Join(tokens, "\n")+"\n"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.token = tokens[0]
	p.args = append(p.args, "--token-file", file)
	return file
}

// worker starts a worker process that signs in at the given coordinators.
func (c *cluster) worker(name string, slots int, at ...*process) *process {
	c.t.Helper()
	var addrs []string
	for _, p := range at {
		addrs = append(addrs, p.http)
	}
	p := &process{
		t: c.t, name: name, program: "worker", log: &logFile{},
		args: []string{"--addr", strings.Join(addrs, ","), "--name", name, "--slots", fmt.Sprint(slots)},
	}
	c.t.Cleanup(p.end)
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(cmp.Or(p.build, bin), p.program), p.args...)
	if p.openFiles > 0 {
		limited := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, p.openFiles)
		p.cmd = exec.Command("sh", append([]string{"-c", limited, p.cmd.Path}, p.args...)...)
	}
	if len(p.wrap) > 0 {
		p.cmd = exec.Command(p.wrap[0], slices.Concat(p.wrap[1:], []string{p.cmd.Path}, p.args)...)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = cleanEnv()
	if p.program == "coordinator" {
		p.cmd.Env = append(p.cmd.Env, anyDisk...)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		p.err = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
}

// anyDisk has a coordinator run on a volume however full others make it; flags come before it.
var anyDisk = []string{"FOLKMOOT_DISK_LOW=3MiB", "FOLKMOOT_DISK_FULL=2MiB", "FOLKMOOT_DISK_CRITICAL=1MiB"}

func cleanEnv() (env []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "FOLKMOOT_") {
			env = append(env, e)
		}
	}
	return append(env, "GORACE=halt_on_error=1 exitcode=66")
}

func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9, waited for.
func (p *process) kill() {
	if p.running() {
		p.cmd.Process.Kill()
		<-p.done
	}
}

// signal sends a signal to the process.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
}

// wait waits for the end of the process and returns its exit status.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end\n%s", p.name, p.tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop is SIGTERM, waited for; the exit status must be 0.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		p.t.Errorf("%s ended with %d after SIGTERM\n%s", p.name, code, p.tail())
	}
}

// end cleans up after a test: kills what runs, fails the test if the process
// raced or panicked, and shows its log if the test failed.
func (p *process) end() {
	figures := ""
	if p.t.Failed() && p.ops != "" && p.running() {
		figures = p.figures()
	}
	p.kill()
	text := p.log.String()
	for _, sign := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(text, sign) {
			p.t.Errorf("%s said %q:\n%s", p.name, sign, around(text, sign))
		}
	}
	if p.t.Failed() {
		p.t.Logf("log of %s:\n%s%s", p.name, p.tail(), figures)
	}
}

// figures are the metrics of a coordinator that tell what became of messages and writes.
func (p *process) figures() string {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Get("http://" + p.ops + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	var told strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "folkmoot_") && !strings.HasSuffix(line, " 0\n") && !strings.Contains(line, "_bucket") {
			told.WriteString(line)
		}
	}
	return told.String()
}

func around(text, sign string) string {
	i := strings.Index(text, sign)
	return text[max(0, i-200):min(len(text), i+6000)]
}

func (p *process) tail() string {
	text := p.log.String()
	return text[max(0, len(text)-6000):]
}

// api is a client of this coordinator alone.
func (p *process) api() *client.Client {
	p.t.Helper()
	return apiOf(p.t, p)
}

func apiOf(t *testing.T, at ...*process) *client.Client {
	t.Helper()
	var addrs []string
	for _, p := range at {
		addrs = append(addrs, p.http)
	}
	c, err := client.New(client.Config{Addrs: addrs, Token: at[0].token, TLS: at[0].tls, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// api is a client of all coordinators, tried in turn.
func (c *cluster) api() *client.Client {
	c.t.Helper()
	return apiOf(c.t, c.nodes...)
}

// node returns a coordinator by id.
func (c *cluster) node(id string) *process {
	c.t.Helper()
	for _, p := range c.nodes {
		if p.name == id {
			return p
		}
	}
	c.t.Fatalf("no coordinator %s", id)
	return nil
}

// others lists the coordinators besides one.
func (c *cluster) others(not *process) (out []*process) {
	for _, p := range c.nodes {
		if p != not {
			out = append(out, p)
		}
	}
	return out
}

// eventually asks again and again until ok returns nil.
func eventually(t *testing.T, what string, ok func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		try, done := context.WithTimeout(ctx, 5*time.Second)
		err := ok(try)
		done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// leader waits until the running coordinators agree on a leader among them.
func (c *cluster) leader() *process {
	c.t.Helper()
	var found *process
	eventually(c.t, "a leader all agree on", func(ctx context.Context) error {
		found = nil
		for _, p := range c.nodes {
			if !p.running() {
				continue
			}
			l, _, err := p.api().Leader(ctx)
			if err != nil {
				return err
			}
			q := c.node(l.ID)
			if found != nil && q != found || !q.running() {
				return fmt.Errorf("%s names %s", p.name, l.ID)
			}
			found = q
		}
		if found == nil {
			return errors.New("nobody runs")
		}
		return nil
	})
	return found
}

// waitHealthy waits until every running coordinator is ready and sees n
// voters, all alive.
func (c *cluster) waitHealthy(voters int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d healthy voters", voters), func(ctx context.Context) error {
		for _, p := range c.nodes {
			if p.done == nil {
				continue
			}
			if !p.running() {
				return fmt.Errorf("%s has ended: %s", p.name, p.tail())
			}
			st, _, err := p.api().Status(ctx)
			if err != nil {
				return err
			}
			if !st.Ready {
				return fmt.Errorf("%s is not ready: %s", p.name, st.ReadyReason)
			}
			m, _, err := p.api().Members(ctx, client.Read{Consistency: "stale"})
			if err != nil {
				return err
			}
			good := 0
			for _, x := range m.Members {
				if x.Suffrage == "voter" && x.Alive && x.HTTPAddress != "" {
					good++
				}
			}
			if good != voters {
				return fmt.Errorf("%s sees %d of %d voters", p.name, good, voters)
			}
		}
		return nil
	})
}

// agree waits until all running coordinators have the same fingerprint.
func (c *cluster) agree() wire.Digest {
	c.t.Helper()
	var first wire.Digest
	eventually(c.t, "equal fingerprints", func(ctx context.Context) error {
		first = wire.Digest{}
		for _, p := range c.nodes {
			if !p.running() {
				continue
			}
			d, _, err := p.api().Digest(ctx, 0)
			if err != nil {
				return fmt.Errorf("ask %s: %w", p.name, err)
			}
			if first.Digest == "" {
				first = d
			}
			if d != first {
				return fmt.Errorf("%s has %v, another %v", p.name, d, first)
			}
		}
		return nil
	})
	return first
}

// signIn signs a component in at one coordinator.
func (c *cluster) signIn(at *process, name string, lease time.Duration) wire.SignedIn {
	c.t.Helper()
	in, _, err := at.api().SignIn(c.t.Context(), wire.SignIn{Name: name, Lease: wire.Duration(lease)}, "")
	if err != nil {
		c.t.Fatalf("sign %s in at %s: %v", name, at.name, err)
	}
	return in
}

// has checks that all running coordinators know a component, with its home.
func (c *cluster) has(full, home string) {
	c.t.Helper()
	for _, p := range c.nodes {
		if !p.running() {
			continue
		}
		got, _, err := p.api().Component(c.t.Context(), full, client.Read{Consistency: "strict"})
		if err != nil {
			c.t.Errorf("%s does not know %s: %v", p.name, full, err)
		} else if got.Home != home {
			c.t.Errorf("%s says %s is at home at %s, want %s", p.name, full, got.Home, home)
		}
	}
}

// raftctl runs the operator's tool and returns what it printed and its exit
// status.
func (c *cluster) raftctl(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var addrs []string
	for _, p := range c.nodes {
		addrs = append(addrs, p.http)
	}
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(bin, "raftctl"), args...)
	cmd.Env = append(cleanEnv(), "FOLKMOOT_ADDR="+strings.Join(addrs, ","), "HOME="+c.dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("raftctl %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
