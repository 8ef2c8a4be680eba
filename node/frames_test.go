package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// frame is something that a native session asks for, and the request of REST that asks for the same: both are answered
// alike. SELF is the session's full name, and JOB, FREE and their HIDDEN ones are jobs in default and in lab1.
type frame struct {
	params   string // of a method, or what a message is sent to
	rest     string // method and path; "": there is none
	restBody string
	alone    string // why there is no request of REST, but for the call of the same method
}

// frames has what is asked by each frame of a session: by each method of COORDINATOR, by a message, and by each type of
// frames about the connection. TestEveryFrameAndEveryKindOfToken holds its keys to the product.
var frames = map[string][]frame{
	"pong":                   {{rest: "PUT /components/SELF/heartbeat"}},
	"send_local_components":  {{rest: "GET /namespaces"}},
	"send_global_components": {{rest: "GET /namespaces"}},
	"send_nodes":             {{rest: "GET /leader"}},
	"coordinators":           {{rest: "GET /leader"}},
	"rpc.discover":           {{rest: "GET /openapi.json"}},
	"lookup": {
		{params: `{"name":"n1.nobody"}`, rest: "GET /components/n1.nobody"},
		{params: `{"name":"SELF"}`, rest: "GET /components/SELF"},
		{params: `{"name":"n2.nobody"}`, rest: "GET /components/n2.nobody"},
	},
	"components": {
		{params: `{}`, rest: "GET /components"},
		{params: `{"namespace":"n1"}`, rest: "GET /components?namespace=n1"},
		{params: `{"namespace":"n2"}`, rest: "GET /components?namespace=n2"},
	},
	"jobs.submit": {
		{params: `{"runtime":"none","script":"true"}`, rest: "POST /jobs", restBody: `{"runtime":"none","script":"true"}`},
		{params: `{"runtime":"none","script":"true","namespace":"lab1"}`, rest: "POST /jobs", restBody: `{"runtime":"none","script":"true","namespace":"lab1"}`},
	},
	"jobs.get": {
		{params: `{"id":"JOB"}`, rest: "GET /jobs/JOB"},
		{params: `{"id":"HIDDENJOB"}`, rest: "GET /jobs/HIDDENJOB"},
		{params: `{"id":"nothing"}`, rest: "GET /jobs/nothing"},
	},
	"jobs.results": {
		{params: `{"id":"JOB"}`, rest: "GET /jobs/JOB/results"},
		{params: `{"id":"HIDDENJOB"}`, rest: "GET /jobs/HIDDENJOB/results"},
	},
	"jobs.forget": { // which is no use before the job has ended
		{params: `{"id":"JOB"}`, rest: "DELETE /jobs/JOB?forget=1"},
		{params: `{"id":"HIDDENJOB"}`, rest: "DELETE /jobs/HIDDENJOB?forget=1"},
	},
	"jobs.cancel": {
		{params: `{"id":"FREE"}`, rest: "DELETE /jobs/FREE"},
		{params: `{"id":"HIDDENFREE"}`, rest: "DELETE /jobs/HIDDENFREE"},
		{params: `{"id":"nothing"}`, rest: "DELETE /jobs/nothing"},
	},
	"start_parts":  {{params: `{"parts":[]}`, alone: "workers are sessions"}, {params: `{"parts":[{"job":"JOB","part":0,"attempt":1}]}`, alone: "workers are sessions"}},
	"finish_parts": {{params: `{"parts":[{"job":"JOB","part":0,"attempt":1,"state":"done"}]}`, alone: "workers are sessions"}},
	"append_log":   {{params: `{"job":"JOB","part":0,"attempt":1,"offset":0,"data":""}`, alone: "workers are sessions"}},
	"sync_parts":   {{params: `{"holding":[]}`, alone: "workers are sessions"}},

	"sign_in":     {{params: "n1", rest: "POST /components"}, {params: "n2", rest: "POST /components"}, {params: "elsewhere", rest: "POST /components"}},
	"sign_out":    {{rest: "DELETE /components/SELF"}},
	"subscribe":   {{params: "component", rest: "GET /events?topic=component"}, {params: "job", rest: "GET /events?topic=job"}, {params: "member", rest: "GET /events?topic=member"}},
	"unsubscribe": {{alone: "a stream of REST ends with its connection"}},

	"message":   {{params: "n1.nobody", rest: "POST /messages"}, {params: "n2.nobody", rest: "POST /messages"}, {params: "elsewhere.nobody", rest: "POST /messages"}, {params: "SELF", rest: "POST /messages"}},
	"TypeChunk": {{params: "n1.nobody", rest: "POST /messages"}, {params: "n2.nobody", rest: "POST /messages"}},
	// A sign of life renews the lease of the session, which is there as long as its token.
	"TypePing": {{alone: "it is about the connection"}}, "TypePong": {{alone: "it is about the connection"}},
	"TypeReceipt": {{alone: "only a coordinator sends it"}}, "TypeBye": {{alone: "it ends the connection"}},
}

// productFrames lists what a session can ask for, as the product has it: the methods of COORDINATOR, and the types of
// frames in package wire.
func productFrames(t *testing.T) (names []string) {
	t.Helper()
	names = []string{"rpc.discover", "message"}
	for _, m := range methods.Describe(control.DoorNative) {
		names = append(names, m.Name)
	}
	names = append(names, methods.CarriedOutBy(control.DoorNative)...)
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../wire/session.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Type") {
			names = append(names, spec.Names[0].Name)
		}
		return true
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// answer is what a frame or a request comes to: "ok" or a code, and what a forbidden one needs.
type answer struct {
	Outcome string
	Needs   string
}

func answerOf(err error) answer {
	if err == nil {
		return answer{Outcome: "ok"}
	}
	refusal := (*wire.Error)(nil)
	if !errors.As(err, &refusal) {
		return answer{Outcome: err.Error()}
	}
	return answer{string(refusal.Code), refusal.Needs}
}

// asker asks as one session of one token, by its connection and by REST.
type asker struct {
	*matrix
	by      bearer
	at      node.Addrs
	session *client.Session
	fill    *strings.Replacer
}

// rest asks by REST, with the session's secret.
func (a *asker) rest(line, body, secret string) answer {
	a.t.Helper()
	method, path, _ := strings.Cut(a.fill.Replace(line), " ")
	rs := a.coordinator(a.at.HTTP).ask(method, path, a.by.token, a.fill.Replace(body), "X-Session", secret)
	defer rs.Body.Close()
	if rs.StatusCode < 300 {
		return answer{Outcome: "ok"} // a stream need not end
	}
	var p wire.Problem
	if err := json.NewDecoder(rs.Body).Decode(&p); err != nil {
		a.t.Fatalf("%s: %d, %v", line, rs.StatusCode, err)
	}
	return answer{string(p.Code), p.Needs}
}

// frame asks one frame and the request beside it, and compares.
func (a *asker) frame(name, door string, f frame) {
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	secret := a.session.Welcome().Secret
	params := a.fill.Replace(f.params)
	var got error
	body := f.restBody
	switch name {
	case "message", "TypeChunk":
		content := "1"
		if name == "TypeChunk" {
			content = `"` + strings.Repeat("x", 2*wire.MaxWhole) + `"`
		}
		got = a.session.Send(ctx, wire.Message{To: params, Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}})
		body = fmt.Sprintf(`{"to":%q,"content":%s}`, params, content)
	case "sign_in":
		in := wire.SignIn{Name: "not.a.name", Namespace: params}
		other, err := dialAt(ctx, a.at, door, a.by.token, in)
		if err == nil {
			a.t.Errorf("%s is signed in", other.FullName())
		}
		got, body = err, fmt.Sprintf(`{"name":"not.a.name","namespace":%q}`, params)
	case "sign_out":
		_, plain, _ := strings.Cut(a.session.FullName(), ".")
		other := a.signInByREST(plain + "-too")
		secret, f.rest = other.Secret, "DELETE /components/"+url.PathEscape(other.FullName)
		got = a.session.Coordinator(ctx, name, nil, nil)
	case "subscribe":
		got = a.session.Coordinator(ctx, name, map[string][]string{"topics": {params}}, nil)
	case "TypePing", "TypePong", "TypeReceipt", "TypeBye":
		return
	default:
		if params == "" {
			params = "{}"
		}
		got = a.session.Coordinator(ctx, name, json.RawMessage(params), nil)
		if called := a.rest("POST /call/COORDINATOR/"+name, params, secret); called != answerOf(got) && name != "unsubscribe" { // which has no call
			a.t.Errorf("%s %s as %s by %s at %s: got %+v: %v; want what its call by REST is answered: %+v", name, params, a.by.name, door, a.at.ID, answerOf(got), got, called)
		}
	}
	if f.rest == "" {
		return
	}
	if want := a.rest(f.rest, body, secret); want != answerOf(got) {
		a.t.Errorf("%s %s as %s by %s at %s: got %+v: %v; want what %s is answered: %+v", name, params, a.by.name, door, a.at.ID, answerOf(got), got, f.rest, want)
	}
}

// signInByREST signs in by the same token.
func (a *asker) signInByREST(name string) wire.SignedIn {
	a.t.Helper()
	c, err := client.New(client.Config{Addrs: []string{a.at.HTTP}, Token: a.by.token, Timeout: time.Minute})
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	in, _, err := c.SignIn(a.t.Context(), wire.SignIn{Name: name, Namespace: "n1"}, "")
	if err != nil {
		a.t.Fatal(err)
	}
	return in
}

// dialAt signs in at a door of native sessions.
func dialAt(ctx context.Context, at node.Addrs, door, token string, in wire.SignIn) (*client.Session, error) {
	if door == "native" {
		return client.Dial(ctx, client.Component{Addrs: []string{at.Component}, SignIn: in, Token: token, Timeout: time.Minute})
	}
	c, err := client.New(client.Config{Addrs: []string{at.HTTP}, Token: token})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Dial(ctx, client.Component{SignIn: in, Timeout: time.Minute})
}

// Every frame of a session is answered as the request of REST that asks for the same, to every kind of token, at the leader
// and at a follower, over TCP and WebSocket.
func TestEveryFrameAndEveryKindOfToken(t *testing.T) {
	t.Parallel()
	if got, want := slices.Sorted(maps.Keys(frames)), productFrames(t); !slices.Equal(got, want) {
		t.Fatalf("frames has %q, the product %q: write down what each is asked with", got, want)
	}
	m, nodes, operator := startMatrix(t, nil, nil)
	if _, _, err := operator.RaiseLevel(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	var index uint64
	for id, namespace := range map[string]string{"JOB": "default", "HIDDENJOB": "lab1", "FREE": "default", "HIDDENFREE": "lab1"} {
		_, meta, err := operator.Submit(t.Context(), wire.SubmitJob{ID: id, Namespace: namespace, Runtime: "sh", Script: "true", Items: rawItems("1")})
		if err != nil {
			t.Fatal(err)
		}
		index = max(index, meta.Index)
	}
	bearers, newest := m.frameBearers(operator)
	m.everywhere(max(index, newest))
	for _, n := range nodes {
		for _, door := range []string{"native", "ws"} {
			for i := range bearers {
				m.askFrames(n.Addrs(), door, fmt.Sprintf("%s-%s-%d", n.Addrs().ID, door, i), bearers[i])
			}
		}
		m.askFramesBeforeTheSignIn(n.Addrs())
	}
}

// frameBearers makes tokens by which one may sign in under n1 and, besides, what else is asked for is partly allowed; and
// some by which nobody signs in.
func (m *matrix) frameBearers(operator *client.Client) (all []bearer, newest uint64) {
	m.t.Helper()
	create := func(name string, in wire.NewToken) wire.Token {
		made, meta, err := operator.CreateToken(m.t.Context(), in)
		if err != nil {
			m.t.Fatalf("make %s: %v", name, err)
		}
		newest = max(newest, meta.Index)
		return made
	}
	for _, more := range []string{
		"", "read@lab1", "write@n1", "write@elsewhere", "cluster:write", "read@*", "admin", "messages:send@n2", "jobs:write@lab1", "jobs:work@default",
	} {
		grants := []string{"components:write@n1"}
		if more != "" {
			grants = append(grants, more)
		}
		name := "grants " + strings.Join(grants, " ")
		all = append(all, bearer{name: name, token: create(name, wire.NewToken{Grants: grants}).Token, known: true, grants: grants})
	}
	revoked := create("one to be revoked", wire.NewToken{Grants: []string{"admin"}})
	meta, err := operator.RevokeToken(m.t.Context(), revoked.ID)
	if err != nil {
		m.t.Fatal(err)
	}
	expired := create("one that expires", wire.NewToken{Grants: []string{"admin"}, TTL: wire.Duration(time.Second)})
	time.Sleep(time.Until(*expired.Expires) + time.Millisecond)
	return append(all, bearer{name: "a token of the file", token: hashedToken, known: true, grants: []string{"admin"}},
		bearer{name: "no token"}, bearer{name: "a wrong token", token: "some-other-token-of-no-use-at-all"},
		bearer{name: "a revoked token", token: revoked.Token}, bearer{name: "an expired token", token: expired.Token}), max(newest, meta.Index)
}

// askFrames signs in and asks every frame; who may not sign in asks none.
func (m *matrix) askFrames(at node.Addrs, door, name string, by bearer) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	session, err := dialAt(ctx, at, door, by.token, wire.SignIn{Name: name, Namespace: "n1", Lease: wire.Duration(10 * time.Minute)})
	if !by.known {
		if got := (answer{Outcome: "unauthorized"}); answerOf(err) != got {
			m.t.Errorf("sign in as %s by %s at %s: got %v, want unauthorized", by.name, door, at.ID, err)
		}
		return
	}
	if err != nil {
		m.t.Fatalf("sign in as %s by %s at %s: %v", by.name, door, at.ID, err)
	}
	defer session.Close(ctx)
	a := &asker{matrix: m, by: by, at: at, session: session, fill: strings.NewReplacer("SELF", session.FullName())}
	for _, name := range slices.Sorted(maps.Keys(frames)) {
		if name == "sign_out" {
			continue // the last
		}
		for _, f := range frames[name] {
			a.frame(name, door, f)
		}
	}
	a.frame("sign_out", door, frames["sign_out"][0])
}

// askFramesBeforeTheSignIn asks every method, and sends a message, on a connection on which nobody is signed in: all are
// unauthorized, as their requests are without a token.
func (m *matrix) askFramesBeforeTheSignIn(at node.Addrs) {
	m.t.Helper()
	conn, err := net.Dial("tcp", at.Component)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	out := wire.Preamble{Version: wire.SessionVersion, Ping: wire.DefaultPing}.Append(nil)
	var asked []string
	for _, name := range slices.Sorted(maps.Keys(frames)) {
		to, content := wire.Coordinator, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{}}`, name)
		switch {
		case strings.HasPrefix(name, "Type"):
			continue
		case name == "message":
			to, content = "n1.nobody", "1"
		case name == "sign_in":
			content = `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"somebody"}}`
		}
		asked = append(asked, name)
		if out, err = wire.AppendFrame(out, &wire.Message{To: to, Conversation: [16]byte{1}, ID: uint32(len(asked)), Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}}); err != nil {
			m.t.Fatal(err)
		}
	}
	if _, err := conn.Write(out); err != nil {
		m.t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, wire.PreambleSize)); err != nil {
		m.t.Fatal(err)
	}
	answers := wire.NewFrameReader(conn)
	for _, name := range asked {
		said, err := answers.Next()
		for ; err == nil && said.To == "" && said.Type != wire.TypeBye; said, err = answers.Next() {
		}
		var in struct {
			Error struct{ Data wire.Error }
		}
		if err != nil || len(said.Payload) == 0 || json.Unmarshal(said.Payload[0], &in) != nil || in.Error.Data.Code != wire.CodeUnauthorized {
			m.t.Fatalf("%s before the sign-in at %s is answered %q, %v: want unauthorized", name, at.ID, said.Payload, err)
		}
	}
}
