package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/gateway/pyenv"
)

// lecoCluster starts n coordinators with a LECO door each; the addresses come
// back in the order of the nodes.
func lecoCluster(t *testing.T, n int, extra ...string) (*cluster, []string) {
	t.Helper()
	c := newCluster(t, n, extra...)
	doors := ports(t, n)
	for i, p := range c.nodes {
		p.args = append(p.args, "--leco-addr", doors[i])
		p.start()
	}
	c.waitHealthy(n)
	return c, doors
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// pyleco is a real pyleco client that reads lines and answers each with one.
type pyleco struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	errs *logFile
}

// prelude reads a line of Python, carries it out and prints what it returns,
// or the code of the error it raised, as JSON.
const prelude = `
import json, sys, time, logging
from pyleco.utils.communicator import Communicator
from pyleco.utils.listener import Listener
from pyleco.utils.data_publisher import DataPublisher
from pyleco.directors.director import Director
from pyleco.directors.coordinator_director import CoordinatorDirector
from pyleco.actors.actor import Actor
from pyleco.json_utils.errors import JSONRPCError
from pyleco.core.message import Message, MessageTypes
import threading, zmq

class Device:
    voltage = 1.5
    def double(self, x): return 2 * x

def actor(name, port):
    stop = threading.Event()
    a = Actor(name=name, device_class=Device, port=port)
    a.connect()
    threading.Thread(target=a.listen, args=(stop,), daemon=True).start()
    return a

def within(seconds, f):
    end = time.monotonic() + seconds
    while True:
        try:
            v = f()
            if v: return v
        except Exception as e:
            v = repr(e)
        if time.monotonic() > end: return "not within %s s: %s" % (seconds, v)
        time.sleep(0.02)

def code(f):
    try: f()
    except JSONRPCError as e: return e.rpc_error.code
    return 0

names = globals()
for line in sys.stdin:
    try:
        try: v = eval(line, names)
        except SyntaxError: v = exec(line, names)
        json.dumps(v)
    except JSONRPCError as e: v = {"code": e.rpc_error.code}; print(e.rpc_error, file=sys.stderr, flush=True)
    except TypeError: v = str(v)
    except BaseException as e: v = {"raised": type(e).__name__ + ": " + str(e)}
    print(json.dumps(v), flush=True)
`

func startPyleco(t *testing.T, define ...string) *pyleco {
	t.Helper()
	return startPython(t, exec.Command(pyenv.Python(t, pyenv.LECO...), "-c", prelude), define...)
}

// startPython starts a Python that reads lines as prelude does.
func startPython(t *testing.T, cmd *exec.Cmd, define ...string) *pyleco {
	t.Helper()
	p := &pyleco{t: t, cmd: cmd, errs: &logFile{}}
	p.cmd.Stderr = p.errs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 16<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	for _, line := range define {
		if got := p.do(line); strings.HasPrefix(got, `{"raised"`) {
			t.Fatalf("%s: %s", line, got)
		}
	}
	return p
}

func (p *pyleco) kill() {
	p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	if p.t.Failed() {
		p.t.Logf("python said: %s", p.errs.String())
	}
}

// do carries out a line and returns what came of it, as JSON.
func (p *pyleco) do(line string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("%s: %v: %s", line, err, p.errs.String())
	}
	if !p.out.Scan() {
		p.t.Fatalf("%s: python ended: %s", line, p.errs.String())
	}
	return p.out.Text()
}

// gives fails the test unless the line gives this value.
func (p *pyleco) gives(want, line string) {
	p.t.Helper()
	if got := p.do(line); got != want {
		p.t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
	}
}

// Unmodified pyleco clients work with one coordinator: Communicator, Listener,
// Director, Actor, lists, and errors by their codes.
func TestPylecoAtOneCoordinator(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 1)
	py := startPyleco(t, "port = "+portOf(doors[0]))
	py.gives("null", `c = Communicator(name="CA", port=port); c.sign_in()`)
	py.gives(`"n1.CA"`, `c.full_name`)
	py.gives(`["CA"]`, `c.ask_rpc("COORDINATOR", "send_local_components")`)
	py.gives("null", `a = actor("act", port)`)
	py.gives(`true`, `within(5, lambda: "act" in c.ask_rpc("COORDINATOR", "send_local_components"))`)
	py.gives("null", `d = Director(actor="act", communicator=c)`)
	py.gives(`{"voltage": 1.5}`, `d.get_parameters(["voltage"])`)
	py.gives("null", `d.set_parameters({"voltage": 2.5})`)
	py.gives(`{"voltage": 2.5}`, `d.get_parameters(["voltage"])`)
	py.gives(`42`, `d.call_action("double", 21)`)
	py.gives("null", `cd = CoordinatorDirector(communicator=c)`)
	py.gives(`{"n1": ["CA", "act"]}`, `cd.get_global_components()`)
	py.gives(fmt.Sprintf(`{"n1": %q}`, doors[0]), `cd.get_nodes()`)
	py.gives(`"n1.COORDINATOR"`, `c.get_capabilities("COORDINATOR")["info"]["title"]`)
	for call, code := range map[string]string{
		`"nobody", "pong"`: "-32093", `"n9.x", "pong"`: "-32092", `"COORDINATOR", "fly"`: "-32601",
		`"COORDINATOR", "set_log_level", level="LOUD"`: "-32602",
	} {
		py.gives(`{"code": `+code+`}`, `c.ask_rpc(`+call+`, timeout=5)`)
	}
	py.gives(`{"raised": "ConnectionRefusedError: Sign in failed."}`, `Communicator(name="CA", port=port).sign_in()`)
	py.gives("null", `l = Listener(name="li", port=port); l.start_listen()`)
	py.gives(`true`, `within(5, lambda: "li" in cd.get_local_components())`)
	py.gives("null", `l.communicator.ask_rpc("act", "pong")`)
	py.gives("null", `l.stop_listen()`)
	py.gives(`["CA", "act"]`, `cd.get_local_components()`)

	// REST sees them, and a request of its own reaches an actor.
	got, _, err := c.nodes[0].api().Component(t.Context(), "n1.act", client.Read{})
	if err != nil || got.Kind != "leco" || got.Home != "n1" {
		t.Errorf("REST knows of the actor %+v, %v", got, err)
	}
	// The coordinator says more from now on, as it was asked to.
	py.gives("null", `cd.ask_rpc("set_log_level", level="DEBUG")`)
	// A component that dies frees its name.
	other := startPyleco(t, "port = "+portOf(doors[0]), `c = Communicator(name="CB", port=port); c.sign_in()`)
	py.gives(`true`, `within(5, lambda: "CB" in cd.get_local_components())`)
	other.kill()
	py.gives(`true`, `within(10, lambda: "CB" not in cd.get_local_components())`)
	c.nodes[0].says(`level=DEBUG msg="a LECO connection ended"`)
	py.gives("null", `cd.ask_rpc("shut_down")`)
	if code := c.nodes[0].wait(); code != 0 {
		t.Errorf("after shut_down the coordinator ended with %d\n%s", code, c.nodes[0].tail())
	}
}

// Components at two coordinators of one cluster work with each other.
func TestPylecoThroughTwoCoordinators(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 3)
	far := startPyleco(t, "port = "+portOf(doors[1]), `a = actor("act", port)`)
	py := startPyleco(t, "port = "+portOf(doors[0]), `c = Communicator(name="CA", port=port, timeout=5); c.sign_in()`, `cd = CoordinatorDirector(communicator=c)`)
	py.gives(`true`, `within(5, lambda: "act" in cd.get_global_components().get("n2", []))`)
	py.gives("null", `d = Director(actor="n2.act", communicator=c)`)
	py.gives(`42`, `d.call_action("double", 21)`)
	py.gives(`{"n1": ["CA"], "n2": ["act"], "n3": []}`, `cd.get_global_components()`)
	py.gives(`["act"]`, `c.ask_rpc("n2.COORDINATOR", "send_local_components")`)
	py.gives(`{"code": -32093}`, `c.ask_rpc("n2.nobody", "pong")`)
	py.gives("[\"n1\", \"n2\", \"n3\"]", `sorted(cd.get_nodes())`)
	c.has("n2.act", "n2")
	far.gives("null", `c = Communicator(name="CB", port=port); c.sign_in()`)
	far.gives("null", `c.ask_rpc("act", "pong")`)
	c.agree()
}

// pyleco's components, native ones and those of REST see and call each other,
// at one coordinator and at two.
func TestPylecoAmongOthers(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 3)
	double := client.Component{Methods: map[string]client.Method{"double": func(_ context.Context, r *client.Request) (any, error) {
		var in struct{ X int }
		err := json.Unmarshal(r.Params, &in)
		return 2 * in.X, err
	}}}
	native := map[string]*client.Session{}
	for i, name := range []string{"near", "far"} {
		at := c.nodes[i].args
		native[name] = c.component(name, at[slices.Index(at, "--component-addr")+1:][:1], double)
	}
	rest := c.signIn(c.nodes[2], "rest", 10*time.Minute)
	py := startPyleco(t, "port = "+portOf(doors[0]), `a = actor("act", port)`, `c = Communicator(name="CA", port=port, timeout=10); c.sign_in()`)
	py.gives(`true`, `within(20, lambda: {n: sorted(l) for n, l in c.ask_rpc("COORDINATOR", "send_global_components").items()} == {"n1": ["CA", "act", "near"], "n2": ["far"], "n3": ["rest"]})`)
	py.gives("42", `c.ask_rpc("near", "double", X=21)`)
	py.gives("42", `c.ask_rpc("n2.far", "double", X=21)`)
	py.gives(`{"code": -32601}`, `c.ask_rpc("n2.far", "fly")`)
	action := map[string]any{"action": "double", "args": []int{21}}
	var got int
	for name, n := range native {
		if err := n.Call(t.Context(), "n1.act", "call_action", action, &got); err != nil || got != 42 {
			t.Errorf("%s calls a pyleco actor: got %d, %v", name, got, err)
		}
		got = 0
	}
	if _, err := c.nodes[2].api().Call(t.Context(), "n1.act", "call_action", action, &got, client.CallOptions{Secret: rest.Secret, Timeout: patience}); err != nil || got != 42 {
		t.Errorf("a REST component calls a pyleco actor: got %d, %v", got, err)
	}
	c.has("n1.act", "n1")
}

// After kill -9 and a restart at the same address, components are signed in
// again within moments; meanwhile others' names stand.
func TestPylecoAfterARestart(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 3)
	py := startPyleco(t, "port = "+portOf(doors[0]), `l = Listener(name="li", port=port); l.start_listen()`)
	asker := startPyleco(t, "port = "+portOf(doors[1]), `c = Communicator(name="CA", port=port, timeout=1); c.sign_in()`)
	asker.gives("true", `within(5, lambda: c.ask_rpc("n1.li", "pong") is None)`)
	c.nodes[0].kill()
	c.nodes[0].start()
	start := time.Now()
	asker.gives("true", `within(30, lambda: c.ask_rpc("n1.li", "pong") is None)`)
	t.Logf("the listener was back after %v; with pyleco's own coordinator it takes 9s", time.Since(start))
	py.gives(`"n1.li"`, `l.communicator.full_name if hasattr(l.communicator, "full_name") else l.full_name`)
	c.waitHealthy(3)
	c.agree()
}

// A sign-in is answered within pyleco's 100 ms while a leader is elected, be
// the old one killed or only standing still.
func TestPylecoSignsInDuringAnElection(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) { t.Parallel(); signInWithoutLeader(t, syscall.SIGKILL) })
	t.Run("stopped", func(t *testing.T) { t.Parallel(); signInWithoutLeader(t, syscall.SIGSTOP) })
}

func signInWithoutLeader(t *testing.T, how syscall.Signal) {
	c, doors := lecoCluster(t, 3)
	leader := c.leader()
	follower, other := c.others(leader)[0], c.others(leader)[1]
	door := doors[slices.Index(c.nodes, follower)]
	py := startPyleco(t, "port = "+portOf(door), `cs = [Communicator(name="C%d" % i, port=port, timeout=1) for i in range(20)]; time.sleep(0.1)`)
	if leader.signal(how); how == syscall.SIGSTOP {
		t.Cleanup(func() { leader.signal(syscall.SIGCONT) })
	} else {
		leader.kill() // and wait for its end
	}
	py.gives("null", `[x.sign_in() for x in cs] and None`)
	py.gives("null", `cs[0].ask_rpc("`+other.name+`.COORDINATOR", "pong", timeout=20)`) // it waits for the sign-in
	py.gives("20", `len([x for x in cs if x.namespace])`)
	eventually(t, "all are written", func(ctx context.Context) error {
		list, _, err := follower.api().Components(ctx, client.Components{})
		if err == nil && len(list.Components) != 20 {
			err = fmt.Errorf("%d components", len(list.Components))
		}
		return err
	})
	py.gives("null", `cs[0].ask_rpc("COORDINATOR", "pong")`)
}

// A pyleco coordinator and ours link both ways; when it dies and comes back it
// is linked again, though it never would by itself.
func TestPylecoCoordinatorAsPeer(t *testing.T) {
	t.Parallel()
	foreign := ports(t, 1)[0]
	coordinator := func() *pyleco {
		return startPyleco(t, `from pyleco.coordinators.coordinator import Coordinator`,
			`co = Coordinator(namespace="NP", host="127.0.0.1", port=`+portOf(foreign)+`)`,
			`threading.Thread(target=co.routing, daemon=True).start()`,
			`a = actor("act", `+portOf(foreign)+`)`)
	}
	there := coordinator() // first, so that nobody else is given its port
	_, doors := lecoCluster(t, 1, "--leco-peers", foreign)
	py := startPyleco(t, "port = "+portOf(doors[0]), `c = Communicator(name="CA", port=port, timeout=1); c.sign_in()`,
		`cd = CoordinatorDirector(communicator=c)`, `d = Director(actor="NP.act", communicator=c)`)
	py.gives("42", `within(30, lambda: d.call_action("double", 21))`)
	py.gives(`true`, `within(10, lambda: cd.get_global_components() == {"n1": ["CA"], "NP": ["act"]})`)
	there.gives("null", `c = Communicator(name="CB", port=`+portOf(foreign)+`, timeout=1); c.sign_in()`)
	there.gives("null", `c.ask_rpc("n1.COORDINATOR", "pong")`)
	there.gives(`true`, `within(10, lambda: c.ask_rpc("COORDINATOR", "send_global_components").get("n1") == ["CA"])`)
	there.gives(`{"code": -32093}`, `c.ask_rpc("n1.nobody", "pong")`)
	there.kill()
	py.gives(`true`, `within(10, lambda: "NP" not in cd.get_global_components())`)
	coordinator()
	start := time.Now()
	py.gives("42", `within(60, lambda: d.call_action("double", 21))`)
	t.Logf("linked again after %v", time.Since(start))
}

// A coordinator stopped for good and started again: all kinds of pyleco
// components at it go on, and its own end costs the others nothing.
func TestPylecoThroughARestart(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 3)
	here := startPyleco(t, "port = "+portOf(doors[0]), `a = actor("act", port)`, `l = Listener(name="li", port=port); l.start_listen()`,
		`c = Communicator(name="CA", port=port, timeout=1); c.sign_in()`, `d = Director(actor="act", communicator=c)`)
	here.gives("42", `within(10, lambda: d.call_action("double", 21))`)
	there := startPyleco(t, "port = "+portOf(doors[1]), `c = Communicator(name="CB", port=port, timeout=1); c.sign_in()`, `d = Director(actor="n1.act", communicator=c)`)
	there.gives("42", `within(10, lambda: d.call_action("double", 21))`)
	c.nodes[0].stop()
	there.gives(`{"code": -32093}`, `c.ask_rpc("n1.act", "pong", timeout=20)`)
	there.gives(`{"code": -32093}`, `c.ask_rpc("n1.COORDINATOR", "pong", timeout=2)`) // it is known and away
	there.gives(`true`, `within(10, lambda: c.ask_rpc("COORDINATOR", "send_global_components")["n1"] == [])`)
	c.nodes[0].start()
	c.waitHealthy(3)
	begun := time.Now()
	there.gives("42", `within(30, lambda: d.call_action("double", 21))`)
	here.gives("42", `within(30, lambda: d.call_action("double", 21))`) // its Communicator signs in again by itself
	here.gives("true", `within(30, lambda: c.ask_rpc("li", "pong") is None)`)
	t.Logf("all were back %v after the coordinator", time.Since(begun))
	if nudges, err := c.nodes[0].metric(t.Context(), `folkmoot_leco_total{what="nudges"}`); err != nil || nudges < 2 {
		t.Errorf("%v nudges, %v; the actor and the listener came back silent", nudges, err)
	}
	c.agree()
}

// A coordinator that is killed and stays away takes its own components along:
// whoever asks for them gets an answer, and the rest of the cluster works.
func TestPylecoCoordinatorKilled(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 3, "--grace", "2s")
	startPyleco(t, "port = "+portOf(doors[0]), `a = actor("act", port)`)
	far := startPyleco(t, "port = "+portOf(doors[2]), `a = actor("act", port)`)
	py := startPyleco(t, "port = "+portOf(doors[1]), `c = Communicator(name="CA", port=port, timeout=20); c.sign_in()`)
	py.gives("true", `within(20, lambda: c.ask_rpc("n1.act", "pong") is None)`)
	c.nodes[0].kill()
	py.gives("true", `code(lambda: c.ask_rpc("n1.act", "pong")) in (-32000, -32093)`) // not silence
	py.gives(`{"code": -32093}`, `c.ask_rpc("n1.act", "pong", timeout=2)`)
	py.gives("null", `c.ask_rpc("n3.act", "pong")`)
	py.gives(`true`, `within(30, lambda: "act" not in c.ask_rpc("COORDINATOR", "send_global_components").get("n1", []))`)
	py.gives(`{"code": -32093}`, `c.ask_rpc("n1.act", "pong")`)
	far.gives("null", `c = Communicator(name="CB", port=port, timeout=20); c.sign_in()`)
	far.gives("null", `c.ask_rpc("act", "pong")`)
}

// A Communicator that was idle for longer than the nudge takes signs in and
// asks as if nothing had come.
func TestPylecoAfterANudge(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 1)
	py := startPyleco(t, `c = Communicator(name="CA", port=`+portOf(doors[0])+`)`)
	eventually(t, "the nudge", func(ctx context.Context) error {
		if n, err := c.nodes[0].metric(ctx, `folkmoot_leco_total{what="nudges"}`); err != nil || n < 1 {
			return fmt.Errorf("%v nudges, %w", n, err)
		}
		return nil
	})
	py.gives("null", `c.sign_in()`)
	py.gives(`["CA"]`, `c.ask_rpc("COORDINATOR", "send_local_components")`)
}

// A component that stands still, and one behind a cable that is cut, lose their
// names in about two seconds; one that goes on is signed in again.
func TestPylecoComponentStopsOrIsCutOff(t *testing.T) {
	t.Parallel()
	_, doors := lecoCluster(t, 1)
	cable := newCable(t, doors[0])
	py := startPyleco(t, "port = "+portOf(doors[0]), `c = Communicator(name="CA", port=port, timeout=5); c.sign_in()`)
	stopped := startPyleco(t, `l = Listener(name="stopped", port=`+portOf(doors[0])+`); l.start_listen()`)
	startPyleco(t, `l = Listener(name="cut", port=`+portOf(cable.addr)+`); l.start_listen()`)
	py.do(`def there(name): return name in c.ask_rpc("COORDINATOR", "send_local_components")`)
	py.gives(`true`, `within(20, lambda: there("stopped") and there("cut"))`)
	// A PING tells who has stopped once an earlier one has shown that nothing is unread; one that stops before that, right
	// after its sign-in, looks like a slow reader. It is stopped again until it was quiet first.
	for try := 1; ; try++ {
		if err := stopped.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if py.do(`within(10, lambda: not there("stopped"))`) == "true" {
			break
		}
		if try == 5 {
			t.Fatal("a component that was stopped while nothing was unread keeps its name")
		}
		if err := stopped.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		py.do(`time.sleep(3)`)
	}
	cable.cut()
	py.gives(`true`, `within(20, lambda: not there("cut"))`)
	if err := stopped.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	py.gives(`true`, `within(30, lambda: there("stopped"))`)
}

// cable carries bytes to an address until it is cut: from then on they stay
// where they are, and nobody is told.
type cable struct {
	addr string
	cut  func()
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards ends
	var ends []net.Conn
	var running sync.WaitGroup
	broken := make(chan struct{})
	carry := func(dst, src net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := src.Read(b)
			select {
			case <-broken:
				return
			default:
			}
			if err != nil {
				dst.Close()
				return
			}
			if _, err := dst.Write(b[:n]); err != nil {
				src.Close()
				return
			}
		}
	}
	running.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			mu.Lock()
			ends = append(ends, a, b)
			mu.Unlock()
			running.Go(func() { carry(a, b) })
			running.Go(func() { carry(b, a) })
		}
	})
	cut := sync.OnceFunc(func() { close(broken) })
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range ends {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return &cable{l.Addr().String(), cut}
}

// A pyleco coordinator that dialled us, and that nobody told us of, is let in
// again when it was killed and comes back.
func TestPylecoCoordinatorDialsUs(t *testing.T) {
	t.Parallel()
	foreign := ports(t, 1)[0]
	_, doors := lecoCluster(t, 2)
	coordinator := func() *pyleco {
		return startPyleco(t, `from pyleco.coordinators.coordinator import Coordinator`,
			`co = Coordinator(namespace="NP", host="127.0.0.1", port=`+portOf(foreign)+`)`,
			`threading.Thread(target=co.routing, kwargs=dict(coordinators=["`+doors[0]+`"]), daemon=True).start()`,
			`a = actor("act", `+portOf(foreign)+`)`,
			`c = Communicator(name="CB", port=`+portOf(foreign)+`, timeout=1)`)
	}
	var pys []*pyleco
	for i, name := range []string{"CA", "CC"} {
		pys = append(pys, startPyleco(t, "port = "+portOf(doors[i]), `c = Communicator(name="`+name+`", port=port, timeout=1); c.sign_in()`,
			`d = Director(actor="NP.act", communicator=c)`))
	}
	for range 2 {
		there := coordinator()
		for _, py := range pys { // the second learns of it by the first's list
			py.gives("42", `within(60, lambda: d.call_action("double", 21))`)
		}
		there.gives(`true`, `within(20, lambda: c.ask_rpc("COORDINATOR", "send_global_components").get("n2") == ["CC"])`)
		there.kill()
		pys[0].gives("true", `within(20, lambda: code(lambda: c.ask_rpc("NP.act", "pong")) == -32092)`)
	}
}

// Our coordinator, killed and started again, is linked again with a pyleco
// coordinator that refuses it until it has forgotten its former life.
func TestPylecoCoordinatorOutlivesOurs(t *testing.T) {
	t.Parallel()
	foreign := ports(t, 1)[0]
	there := startPyleco(t, `from pyleco.coordinators.coordinator import Coordinator`,
		`co = Coordinator(namespace="NP", host="127.0.0.1", port=`+portOf(foreign)+`, cleaning_interval=0.5, expiration_time=4)`,
		`threading.Thread(target=co.routing, daemon=True).start()`,
		`a = actor("act", `+portOf(foreign)+`)`, `c = Communicator(name="CB", port=`+portOf(foreign)+`, timeout=1)`)
	c, doors := lecoCluster(t, 1, "--leco-peers", foreign)
	py := startPyleco(t, "port = "+portOf(doors[0]), `c = Communicator(name="CA", port=port, timeout=1); c.sign_in()`, `d = Director(actor="NP.act", communicator=c)`)
	for range 2 {
		begun := time.Now()
		py.gives("42", `within(60, lambda: d.call_action("double", 21))`)
		there.gives("true", `within(60, lambda: c.ask_rpc("n1.COORDINATOR", "pong") is None)`)
		there.gives("true", `within(60, lambda: c.ask_rpc("COORDINATOR", "send_global_components").get("n1") == ["CA"])`)
		t.Logf("linked after %v", time.Since(begun))
		c.nodes[0].kill()
		c.nodes[0].start()
		c.waitHealthy(1)
	}
}

// Data goes through the proxy from publishers to subscribers of a prefix.
func TestPylecoData(t *testing.T) {
	t.Parallel()
	base := dataPorts(t)
	c := newCluster(t, 1, "--leco-data-addr", fmt.Sprintf("127.0.0.1:%d", base))
	c.nodes[0].start()
	c.waitHealthy(1)
	py := startPyleco(t, fmt.Sprintf("port = %d", base),
		`s = zmq.Context.instance().socket(zmq.SUB); s.connect("tcp://127.0.0.1:%d" % (port - 1)); s.subscribe(b"n1.a"); s.rcvtimeo = 200`,
		`p = DataPublisher(full_name="n1.ab", port=port)`, `q = DataPublisher(full_name="n1.b", port=port)`)
	py.do(`def once(): q.send_data({"x": 0}); p.send_data({"x": 1}); m = s.recv_multipart(); return [m[0].decode(), len(m[1]), json.loads(m[2])]`)
	py.gives(`["n1.ab", 17, {"x": 1}]`, `within(10, once)`)
	py.gives("null", `s.unsubscribe(b"n1.a"); s.subscribe(b"n1.b"); time.sleep(0.3)`)
	py.do(`exec("while s.poll(100): s.recv_multipart()")`)
	py.do(`def once(): q.send_data({"x": 0}); p.send_data({"x": 1}); m = s.recv_multipart(); return [m[0].decode(), len(m[1]), json.loads(m[2])]`)
	py.gives(`["n1.b", 17, {"x": 0}]`, `within(10, once)`)
}

// Log records of pyleco's handler go through the log channel's proxy.
func TestPylecoLog(t *testing.T) {
	t.Parallel()
	port := dataPorts(t)
	c := newCluster(t, 1, "--leco-log-addr", fmt.Sprintf("127.0.0.1:%d", port))
	c.nodes[0].start()
	c.waitHealthy(1)
	py := startPyleco(t, fmt.Sprintf("port = %d", port), `from pyleco.utils.zmq_log_handler import ZmqLogHandler`,
		`s = zmq.Context.instance().socket(zmq.SUB); s.connect("tcp://127.0.0.1:%d" % (port - 1)); s.subscribe(b"n1.CA"); s.rcvtimeo = 200`,
		`log = logging.getLogger("some.part"); log.addHandler(ZmqLogHandler(host="127.0.0.1", port=port, full_name="n1.CA"))`,
		`def once(): log.warning("it is %s", "hot"); m = s.recv_multipart(); return [m[0].decode(), len(m[1]), json.loads(m[2])[1:]]`)
	py.gives(`["n1.CA", 17, ["WARNING", "some.part", "it is hot"]]`, `within(20, once)`)
	eventually(t, "a record that was forwarded is counted", func(ctx ctx) error {
		n, err := c.nodes[0].metric(ctx, `folkmoot_leco_channel_total{channel="log",what="forwarded"}`)
		if err == nil && n < 1 {
			err = fmt.Errorf("%v are", n)
		}
		return err
	})
}

// A subscriber that does not read misses messages, which are counted; the
// others miss none, the publisher does not wait, and nothing piles up.
func TestPylecoSlowSubscriber(t *testing.T) {
	t.Parallel()
	port := dataPorts(t)
	c := newCluster(t, 1, "--leco-data-addr", fmt.Sprintf("127.0.0.1:%d", port))
	n1 := c.nodes[0]
	n1.start()
	c.waitHealthy(1)
	subscribe := fmt.Sprintf(`s = zmq.Context.instance().socket(zmq.SUB); s.connect("tcp://127.0.0.1:%d"); s.subscribe(b"")`, port-1)
	slow := startPyleco(t, subscribe)
	py := startPyleco(t, subscribe+`; s.rcvtimeo = 10000`, fmt.Sprintf(`p = DataPublisher(full_name="n1.ab", host="127.0.0.1", port=%d)`, port),
		`def send(n): p.send_data(str(n), additional_payload=[b"x" * 50000])`,
		`def get(): return int(json.loads(s.recv_multipart()[2]))`,
		`def begin(): send(-1); return s.poll(100) > 0`)
	py.gives("true", `within(20, begin)`)
	slow.gives("true", `within(20, lambda: s.poll(100) > 0)`)
	py.do(`exec("while s.poll(300): s.recv_multipart()")`)
	py.do(`def all(n): [(send(i), got.append(get())) for i in range(n)]`)
	py.gives("null", `got = []; all(3000)`)
	py.gives("true", `got == list(range(3000))`)
	if dropped, err := n1.metric(t.Context(), `folkmoot_leco_channel_total{channel="data",what="dropped"}`); err != nil || dropped < 1 {
		t.Errorf("%v messages were dropped for a subscriber that does not read, %v", dropped, err)
	}
	eventually(t, "the collector to find little in use", func(ctx) error {
		if u := n1.use(); u.heap > maxHeap {
			return fmt.Errorf("the coordinator holds %d MB", u.heap>>20)
		}
		return nil
	})
	slow.do(`exec("while s.poll(1000): last = s.recv_multipart()")`)
	py.gives("null", `send(5000)`)
	slow.gives(`5000`, `s.poll(10000) and json.loads(s.recv_multipart()[2])`) // it is in step again
}

// dataPorts returns a port of loopback that nobody else is given, as nobody is
// given the one below it.
func dataPorts(t *testing.T) (port int) {
	t.Helper()
	for range 100 {
		var below int
		pair := ports(t, 2)
		if _, err := fmt.Sscan(portOf(pair[0])+" "+portOf(pair[1]), &below, &port); err != nil {
			t.Fatal(err)
		}
		if port == below+1 {
			return port
		}
	}
	t.Fatal("no two free ports beside each other")
	return 0
}
