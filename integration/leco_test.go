package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
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
	p := &pyleco{t: t, cmd: exec.Command(pyenv.Python(t, pyenv.LECO...), "-c", prelude), errs: &logFile{}}
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
	// A component that dies frees its name.
	other := startPyleco(t, "port = "+portOf(doors[0]), `c = Communicator(name="CB", port=port); c.sign_in()`)
	py.gives(`true`, `within(5, lambda: "CB" in cd.get_local_components())`)
	other.kill()
	start := time.Now()
	py.gives(`true`, `within(10, lambda: "CB" not in cd.get_local_components())`)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the name of a dead component was free after %v", took)
	}
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
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("the listener was back after %v; pyleco's own coordinator needs 9s", took)
	} else {
		t.Logf("the listener was back after %v", took)
	}
	py.gives(`"n1.li"`, `l.communicator.full_name if hasattr(l.communicator, "full_name") else l.full_name`)
	c.waitHealthy(3)
	c.agree()
}

// A sign-in is answered within pyleco's 100 ms while a leader is elected.
func TestPylecoSignsInDuringAnElection(t *testing.T) {
	t.Parallel()
	c, doors := lecoCluster(t, 3)
	leader := c.leader()
	follower := c.others(leader)[0]
	door := doors[slices.Index(c.nodes, follower)]
	py := startPyleco(t, "port = "+portOf(door), `cs = [Communicator(name="C%d" % i, port=port) for i in range(20)]; time.sleep(0.1)`)
	leader.kill()
	py.gives("null", `[x.sign_in() for x in cs] and None`)
	other := c.others(leader)[1]
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

// dataPorts returns a free port of loopback whose lower neighbour is free too.
func dataPorts(t *testing.T) (port int) {
	t.Helper()
	for range 100 {
		if _, err := fmt.Sscan(portOf(ports(t, 1)[0]), &port); err != nil {
			t.Fatal(err)
		}
		if isFree(port) && isFree(port-1) {
			return port
		}
	}
	t.Fatal("no two free ports beside each other")
	return 0
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
