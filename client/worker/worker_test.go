package worker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/client/sessiontest"
	"github.com/folkmoot/folkmoot/client/worker"
	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is what the coordinators of a test share: one worker's session, and its parts.
type cluster struct {
	mu       sync.Mutex
	home     string
	dead     string // a coordinator that answers nothing any more
	ended    string
	signIns  int
	moves    int
	signOuts int
	waiting  []wire.RunPart // given by sync_parts until they are done
	done     []wire.PartDone
	deaf     bool // finish_parts is not carried out
	tried    int  // reports that came meanwhile
	story    []string
	changed  chan struct{} // closed at every change
	inbox    chan *wire.Message
	hangUps  map[string]context.CancelFunc // of each coordinator: ends its connection
	serving  sync.WaitGroup
}

func newCluster() *cluster {
	return &cluster{changed: make(chan struct{}), inbox: make(chan *wire.Message, 8), hangUps: map[string]context.CancelFunc{}}
}

// update changes the state and wakes whoever waits for it.
func (c *cluster) update(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	close(c.changed)
	c.changed = make(chan struct{})
}

// until waits until the state is as wanted.
func (c *cluster) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		c.mu.Lock()
		ok, changed := holds(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func (c *cluster) coordinator(t *testing.T, id string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(t, id, w, r) }))
	t.Cleanup(func() {
		c.hangUp(id)
		s.Close()
		c.serving.Wait()
	})
	return s
}

// kill lets a coordinator answer nothing any more, on whatever connection.
func (c *cluster) kill(id string) {
	c.update(func() { c.dead = id })
	c.hangUp(id)
}

// hangUp ends the connection of a coordinator.
func (c *cluster) hangUp(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := c.hangUps[id]; end != nil {
		end()
	}
}

// serve answers REST.
func (c *cluster) serve(t *testing.T, id string, w http.ResponseWriter, r *http.Request) {
	c.serving.Add(1)
	defer c.serving.Done()
	c.mu.Lock()
	dead := c.dead == id
	c.mu.Unlock()
	if dead {
		panic(http.ErrAbortHandler)
	}
	say := func(status int, v any) {
		w.Header().Set("X-Index", "9")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	op := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1")
	method, call := strings.CutPrefix(op, "POST /call/COORDINATOR/")
	switch {
	case op == "GET /session":
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c.mu.Lock()
		c.hangUps[id] = cancel
		c.mu.Unlock()
		sessiontest.Serve(ctx, t, w, r, sessiontest.Handler{
			Name:     "n1.w",
			Call:     func(method string, params json.RawMessage) (any, *wire.Error) { return c.answer(id, method, params) },
			SignedIn: c.deliver,
		})
	case op == "DELETE /components/n1.w":
		method, call = "sign_out", true
		fallthrough
	case call:
		body, _ := io.ReadAll(r.Body)
		if out, refused := c.answer(id, method, body); refused != nil {
			say(503, wire.Problem{Status: 503, Code: refused.Code, Detail: refused.Message})
		} else {
			say(200, out)
		}
	default:
		t.Errorf("REST was asked: %s", op)
	}
}

// deliver writes what comes for the worker, and why its session ends.
func (c *cluster) deliver(ctx context.Context, conn *sessiontest.Conn) {
	for {
		c.mu.Lock()
		ended, changed := c.ended, c.changed
		c.mu.Unlock()
		if ended != "" {
			conn.End(wire.Refuse(wire.CodeForbidden, "%s", ended))
			return
		}
		select {
		case m := <-c.inbox:
			conn.Send(*m)
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// answer carries out a method of COORDINATOR at one coordinator.
func (c *cluster) answer(id, method string, params json.RawMessage) (any, *wire.Error) {
	switch method {
	case "sign_in":
		var in wire.Hello
		json.Unmarshal(params, &in)
		c.mu.Lock()
		ended := c.ended
		c.mu.Unlock()
		if ended != "" && in.Session != "" || in.Name == "taken" {
			return nil, wire.Refuse(wire.CodeForbidden, "%s", ended)
		}
		c.update(func() {
			c.home, c.ended = id, ""
			c.signIns++
			if in.Session != "" {
				c.moves++
				c.story = append(c.story, "take over")
			} else {
				c.story = append(c.story, "sign in")
			}
		})
		return wire.Welcome{SignedIn: wire.SignedIn{FullName: "n1." + in.Name, Session: "s", Secret: "secret", Namespace: "n1", Home: id, Lease: in.Lease, Index: 9}}, nil
	case "sign_out":
		c.update(func() {
			c.signOuts++
			c.story = append(c.story, "sign out")
			for i := range c.waiting { // taken back
				c.waiting[i].Attempt++
			}
		})
	case "sync_parts":
		c.mu.Lock()
		defer c.mu.Unlock()
		return wire.SyncedParts{Run: slices.Clone(c.waiting), Cancel: []wire.PartRef{}}, nil
	case "start_parts":
		var in wire.PartRefs
		json.Unmarshal(params, &in)
		return wire.PartVerdicts{Parts: accepted(in.Parts)}, nil
	case "finish_parts":
		var in wire.FinishParts
		json.Unmarshal(params, &in)
		return c.finish(in.Parts)
	}
	return struct{}{}, nil
}

func (c *cluster) finish(parts []wire.PartDone) (any, *wire.Error) {
	c.mu.Lock()
	deaf := c.deaf
	c.mu.Unlock()
	if deaf {
		c.update(func() { c.tried++ })
		return nil, wire.NotTried("no leader")
	}
	var refs []wire.PartRef
	for _, p := range parts {
		refs = append(refs, p.PartRef)
	}
	c.update(func() {
		c.done = append(c.done, parts...)
		for _, p := range refs {
			c.story = append(c.story, fmt.Sprintf("part %d attempt %d", p.Part, p.Attempt))
			c.waiting = slices.DeleteFunc(c.waiting, func(r wire.RunPart) bool { return r.PartRef == p })
		}
	})
	return wire.PartVerdicts{Parts: accepted(refs)}, nil
}

func accepted(refs []wire.PartRef) []wire.PartVerdict {
	var out []wire.PartVerdict
	for _, r := range refs {
		out = append(out, wire.PartVerdict{PartRef: r})
	}
	return out
}

func part(n int, script string) wire.RunPart {
	return wire.RunPart{
		PartRef: wire.PartRef{Job: "j1", Part: n, Attempt: 1}, Runtime: "sh", Script: script,
		Item: json.RawMessage(`7`), PartTimeout: wire.Duration(20 * time.Second),
	}
}

func note(from, method string, params any) *wire.Message {
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
	return &wire.Message{To: "n1.w", From: from, Type: wire.TypeJSON, Payload: [][]byte{body}}
}

// start runs a worker called name; stop ends it and gives what Run returned.
func start(t *testing.T, name string, addrs ...string) (stop func() error, ended <-chan error) {
	t.Helper()
	cl, err := client.New(client.Config{Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan error, 1)
	go func() {
		defer cl.Close()
		out <- worker.Run(ctx, worker.Config{
			Client: cl, Name: name, Lease: 3 * time.Second, Runtimes: shell(),
			Slots: 2, Dir: t.TempDir(),
		})
	}()
	t.Cleanup(cancel)
	return func() error { cancel(); return <-out }, out
}

// A worker runs what it is told by a message and what it finds by asking, and signs out at its end.
func TestWorkerRunsParts(t *testing.T) {
	c := newCluster()
	c.waiting = []wire.RunPart{part(0, "cat")}
	stop, _ := start(t, "w", c.coordinator(t, "a").URL)
	c.until(t, "the part given by sync_parts is done", func() bool { return len(c.done) == 1 })
	c.inbox <- note("n1.COORDINATOR", "run_parts", wire.RunParts{Parts: []wire.RunPart{part(1, "echo $ITEM")}})
	c.until(t, "the part given by a message is done", func() bool { return len(c.done) == 2 })
	for _, d := range c.done {
		if !d.OK || string(d.Result) != "7" {
			t.Errorf("part %d: got ok=%v result=%s error=%q, want 7", d.Part, d.OK, d.Result, d.Error)
		}
	}
	if err := stop(); err != nil || c.signOuts != 1 {
		t.Errorf("at the end: got %v and %d sign-outs, want none and 1", err, c.signOuts)
	}
}

// Parts are programs: they are taken from coordinators only, whatever other components send.
func TestOnlyCoordinatorsGiveWork(t *testing.T) {
	c := newCluster()
	stop, _ := start(t, "w", c.coordinator(t, "a").URL)
	c.inbox <- note("n1.mallory", "run_parts", wire.RunParts{Parts: []wire.RunPart{part(0, "echo evil")}})
	c.inbox <- note("n1.COORDINATOR", "run_parts", wire.RunParts{Parts: []wire.RunPart{part(1, "echo good")}})
	c.until(t, "the coordinator's part is done", func() bool { return len(c.done) > 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(c.done) != 1 || c.done[0].Part != 1 {
		t.Errorf("done: got %+v, want part 1 alone", c.done)
	}
}

// When its coordinator dies a worker takes its name to the next and goes on with what it was at.
func TestWorkerMoves(t *testing.T) {
	c := newCluster()
	dir := t.TempDir()
	c.waiting = []wire.RunPart{part(0, "touch "+dir+"/begun; while [ ! -e "+dir+"/go ]; do sleep 0.05; done; echo through")}
	a, b := c.coordinator(t, "a"), c.coordinator(t, "b")
	stop, _ := start(t, "w", a.URL, b.URL)
	poll(t, dir+"/begun") // the worker has heard of its session: one that has not signs in elsewhere and does not move
	c.kill("a")
	c.until(t, "moved to b", func() bool { return c.home == "b" && c.moves == 1 })
	if err := touch(dir + "/go"); err != nil {
		t.Fatal(err)
	}
	c.until(t, "the part is done", func() bool { return len(c.done) == 1 })
	if string(c.done[0].Result) != `"through"` {
		t.Errorf("result: got %s, want \"through\"", c.done[0].Result)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// A worker whose lease ends while nobody is reached stops what it runs. Before it signs in again it reports what had
// ended, and gives the rest back, so that nothing is run twice as one attempt.
func TestWhatWasGivenUpIsGivenBackFirst(t *testing.T) {
	c := newCluster()
	dir := t.TempDir()
	c.deaf = true
	c.waiting = []wire.RunPart{
		part(0, "echo $FOLKMOOT_ATTEMPT >> "+dir+"/ran0; trap 'touch "+dir+"/stopped; exit 1' TERM; while [ ! -e "+dir+"/go ]; do sleep 0.05; done"),
		part(1, "echo $FOLKMOOT_ATTEMPT >> "+dir+"/ran1; echo 1"),
	}
	stop, _ := start(t, "w", c.coordinator(t, "a").URL)
	poll(t, dir+"/ran0")
	c.until(t, "the result of part 1 is offered", func() bool { return c.tried > 0 })
	c.kill("a")
	poll(t, dir+"/stopped")
	if err := touch(dir + "/go"); err != nil {
		t.Fatal(err)
	}
	c.update(func() { c.dead, c.tried = "", 0 })
	c.until(t, "the result is offered after the end of the session", func() bool { return c.tried > 2 })
	c.update(func() { c.deaf = false })
	c.until(t, "both parts are done", func() bool { return len(c.done) == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(c.story[:min(5, len(c.story))], ", "), "sign in, part 1 attempt 1, sign out, sign in, part 0 attempt 2"; got != want {
		t.Errorf("the coordinator heard: %s; want %s", got, want)
	}
	for name, want := range map[string]string{"ran0": "1\n2\n", "ran1": "1\n"} {
		if b, _ := os.ReadFile(dir + "/" + name); string(b) != want {
			t.Errorf("%s: attempts %q, want %q", name, b, want)
		}
	}
}

// A worker that reaches nobody says so soon, and whom it asks.
func TestNoCoordinatorToSignInAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := client.New(client.Config{Addrs: []string{"n1:7380", "n2:7380"}, HTTPClient: &http.Client{Transport: nobody{}}})
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if err := worker.Run(ctx, worker.Config{Client: c, Name: "w", Logger: slog.New(slog.NewTextHandler(&said, nil))}); err != nil {
			t.Errorf("told to end before it had signed in: %v", err)
		}
		synctest.Wait()
		if s := said.String(); strings.Count(s, "level=WARN") != 1 || !strings.Contains(s, "n1:7380") || !strings.Contains(s, "n2:7380") {
			t.Errorf("after 4 s without an answer it has said %q, want one warning that names both addresses", s)
		}
	})
}

// nobody refuses every connection.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("connection refused: %w", client.ErrNotSent)
}

// Told to end, a worker lets the part under way finish within the grace.
func TestWorkerFinishesWithinItsGrace(t *testing.T) {
	c := newCluster()
	dir := t.TempDir()
	c.waiting = []wire.RunPart{part(0, "touch "+dir+"/begun; while [ ! -e "+dir+"/go ]; do sleep 0.05; done; echo 1")}
	stop, _ := start(t, "w", c.coordinator(t, "a").URL)
	poll(t, dir+"/begun")
	result := make(chan error)
	go func() { result <- stop() }()
	if err := touch(dir + "/go"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if len(c.done) != 1 || !c.done[0].OK || c.signOuts != 1 {
		t.Errorf("at the end: got %+v and %d sign-outs, want the part done and 1", c.done, c.signOuts)
	}
}

// A worker removed by an operator does not come back; one whose sign-in is refused does not start.
func TestRefusedWorkers(t *testing.T) {
	c := newCluster()
	a := c.coordinator(t, "a")
	_, ended := start(t, "w", a.URL)
	c.until(t, "signed in", func() bool { return c.signIns == 1 })
	c.update(func() { c.ended = "removed by an operator: spare" })
	if err := <-ended; !client.Removed(err) {
		t.Errorf("removed: got %v, want a refusal", err)
	}
	_, ended = start(t, "taken", a.URL)
	if err := <-ended; wire.CodeOf(err) != wire.CodeForbidden {
		t.Errorf("refused: got %v, want forbidden", err)
	}
}

func shell() []work.Runtime {
	found, _ := work.Offered([]string{"sh"})
	return found
}

// journal is a log that tests look into while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// line is the first line that has all of the words, "" if there is none.
func (j *journal) line(words ...string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return line
		}
	}
	return ""
}

// A worker that reaches nobody says soon what keeps it from it.
func TestNobodyReachedSaysWhy(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	secure := httptest.NewTLSServer(nil)
	t.Cleanup(secure.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "upstream is away", http.StatusServiceUnavailable)
	}))
	t.Cleanup(proxy.Close)
	for addr, why := range map[string]string{closed.URL: "connection refused", secure.URL: "certificate", proxy.URL: "upstream is away"} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			cl, err := client.New(client.Config{Addrs: []string{addr}, TLS: &tls.Config{}})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			log := &journal{}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- worker.Run(ctx, worker.Config{Client: cl, Name: "w", Runtimes: shell(), Logger: slog.New(slog.NewTextHandler(log, nil))})
			}()
			late := time.After(20 * time.Second)
			for log.line("no coordinator has taken the sign-in yet", why) == "" {
				select {
				case <-time.After(10 * time.Millisecond):
				case err := <-ended:
					t.Fatalf("it ended: %v\n%s", err, log.line())
				case <-late:
					t.Fatalf("not within 20 s: %q; it says %q", why, log.line("no coordinator"))
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("told to end: %v", err)
			}
		})
	}
}
