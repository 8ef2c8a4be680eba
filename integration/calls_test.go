package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// sdkPrelude is prelude for the Python SDK: sessions with and without asyncio
// that offer call_action, as a pyleco actor does.
const sdkPrelude = `
import asyncio, json, sys, threading
import folkmoot, folkmoot.sync

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
def do(work): return asyncio.run_coroutine_threadsafe(work, loop).result(60)

def methods():
    m = folkmoot.Methods()
    @m.method
    def call_action(action, args): return 2 * args[0]
    return m

async def connect(at, name): return await folkmoot.connect(at, name, methods=methods(), timeout=30)
def open_async(at, name): return do(connect(at, name))
def open_sync(at, name): return folkmoot.sync.connect(at, name, methods=methods(), timeout=30)

def outcome(call):
    try: return call()
    except folkmoot.MethodError as e: return {"code": e.rpc_code}

names = globals()
for line in sys.stdin:
    try:
        try: v = eval(line, names)
        except SyntaxError: v = exec(line, names)
    except BaseException as e: v = {"raised": type(e).__name__ + ": " + str(e)}
    try: line = json.dumps(v)
    except TypeError: line = "null"
    print(line, flush=True)
`

func startSDK(t *testing.T, define ...string) *pyleco {
	t.Helper()
	cmd := exec.Command(python(t)[0], "-c", sdkPrelude)
	sdk, err := filepath.Abs(filepath.Join("..", "sdk", "python"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cleanEnv(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+sdk)
	return startPython(t, cmd, define...)
}

// serveInbox answers what comes into a REST component's inbox, as a program
// would that knows no more than HTTP and JSON-RPC, until the test ends.
func serveInbox(t *testing.T, p *process, in wire.SignedIn) {
	for m, err := range p.api().Inbox(t.Context(), in.FullName, in.Secret) {
		if err != nil {
			return
		}
		var asked struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params struct{ Args []int }
		}
		if json.Unmarshal(m.Content, &asked) != nil || asked.Method == "" {
			continue
		}
		told := map[string]any{"jsonrpc": "2.0", "id": asked.ID}
		if asked.Method == "call_action" && len(asked.Params.Args) == 1 {
			told["result"] = 2 * asked.Params.Args[0]
		} else {
			told["error"] = map[string]any{"code": -32601, "message": "no such method"}
		}
		b, err := json.Marshal(told)
		if err != nil {
			t.Error(err)
			return
		}
		answer := wire.SendMessage{To: m.From, ConversationID: m.ConversationID, Content: b}
		if _, _, err := p.api().Send(t.Context(), in.Secret, answer, ""); err != nil && t.Context().Err() == nil {
			t.Errorf("an answer from the inbox to %s: %v", m.From, err)
		}
	}
}

// Every kind of caller gets an answer from every kind of component, be both at
// one coordinator or at two: the result, and that there is no such method.
func TestEveryCallerReachesEveryComponent(t *testing.T) {
	t.Parallel()
	python(t)
	c, leco := lecoCluster(t, 3)
	native := func(i int) string { return c.nodes[i].component }

	// The components, all at n1.
	c.component("go", []string{native(0)}, client.Component{Methods: map[string]client.Method{
		"call_action": func(_ context.Context, r *client.Request) (any, error) {
			var in struct{ Args []int }
			if err := r.Decode(&in); err != nil {
				return nil, err
			}
			return 2 * in.Args[0], nil
		},
	}})
	startSDK(t, fmt.Sprintf("s = open_async(%q, 'python')", native(0)), fmt.Sprintf("b = open_sync(%q, 'blocking')", native(0)))
	startPyleco(t, "port = "+portOf(leco[0]), `a = actor("leco", port)`)
	inbox := c.signIn(c.nodes[0], "inbox", 10*time.Minute)
	served := make(chan struct{})
	t.Cleanup(func() { <-served })
	go func() {
		defer close(served)
		serveInbox(t, c.nodes[0], inbox)
	}()
	components := []string{"go", "python", "blocking", "leco", "inbox"}

	// The callers, at n1 and n2. Each returns what came of a call, as JSON, or
	// noMethod.
	const noMethod = `{"code": -32601}`
	rest := func(p *process, method string, get bool) func(to, m string) string {
		return func(to, m string) string {
			path, body := "/v1/call/"+to+"/"+m+"?timeout=20s", `{"action":"double","args":[21]}`
			if get {
				path, body = path+"&action=double&args=[21]", ""
			}
			a := p.ask(method, path, body, "Content-Type", "application/json")
			if a.status == 404 && strings.Contains(a.body, "not_found") {
				return noMethod
			}
			return strings.TrimSpace(a.body)
		}
	}
	sdk := startSDK(t, fmt.Sprintf("near = open_async(%q, 'near-async')", native(0)), fmt.Sprintf("far = open_async(%q, 'far-async')", native(1)),
		fmt.Sprintf("nearsync = open_sync(%q, 'near-sync')", native(0)), fmt.Sprintf("farsync = open_sync(%q, 'far-sync')", native(1)))
	params := `{"action": "double", "args": [21]}`
	inPython := func(p *pyleco, format string) func(to, m string) string {
		return func(to, m string) string { return p.do(fmt.Sprintf(format, to, m)) }
	}
	asRPC := func(call func(to, m string, out any) error) func(to, m string) string {
		return func(to, m string) string {
			var out json.RawMessage
			err := call(to, m, &out)
			var rpc *client.RPCError
			switch {
			case errors.As(err, &rpc) && rpc.Code == -32601, wire.CodeOf(err) == wire.CodeNotFound:
				return noMethod
			case err != nil:
				return err.Error()
			}
			return string(out)
		}
	}
	callers := map[string]func(to, method string) string{}
	for i, at := range []string{"near", "far"} {
		n := c.component("caller-go-"+at, []string{native(i)}, client.Component{})
		r := c.signIn(c.nodes[i], "caller-rest-"+at, 10*time.Minute)
		py := startPyleco(t, "port = "+portOf(leco[i]), `c = Communicator(name="caller-leco-`+at+`", port=port, timeout=20); c.sign_in()`)
		in := json.RawMessage(params)
		callers["GET "+at] = rest(c.nodes[i], "GET", true)
		callers["POST "+at] = rest(c.nodes[i], "POST", false)
		callers["REST session "+at] = asRPC(func(to, m string, out any) error {
			_, err := c.nodes[i].api().Call(t.Context(), to, m, in, out, client.CallOptions{Secret: r.Secret, Timeout: patience})
			return err
		})
		callers["Go SDK "+at] = asRPC(func(to, m string, out any) error { return n.Call(t.Context(), to, m, in, out) })
		callers["Python SDK "+at] = inPython(sdk, "outcome(lambda: do("+at+".call(%q, %q, "+params+", timeout=20)))")
		callers["Python SDK, blocking "+at] = inPython(sdk, "outcome(lambda: "+at+"sync.call(%q, %q, "+params+", timeout=20))")
		callers["LECO "+at] = inPython(py, "c.ask_rpc(%q, %q, action='double', args=[21])")
	}
	for _, name := range components {
		c.has("n1."+name, "n1")
	}
	for caller, call := range callers {
		for _, name := range components {
			if got := call("n1."+name, "call_action"); got != "42" {
				t.Errorf("%s calls %s: got %s, want 42", caller, name, got)
			}
			if got := call("n1."+name, "no_such_method"); got != noMethod {
				t.Errorf("%s calls what %s has not: got %s, want %s", caller, name, got, noMethod)
			}
		}
	}
}
