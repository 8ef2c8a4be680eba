package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/wire"
)

// The life of a session: in, seen, alive, out.
func TestSession(t *testing.T) {
	t.Parallel()
	d := serve(t)
	var me wire.SignedIn
	a := d.do("POST", "/v1/components", `{"name":"laser","labels":{"host":"lab1"},"place":{"host":"lab1"},"lease":"20s","runtimes":["sh"],"slots":2}`,
		"Idempotency-Key", "0123456789abcdef").wantStatus(201).decode(&me)
	if me.FullName != "n1.laser" || me.Index != 8 || a.header.Get("X-Index") != "8" || a.header.Get("X-Consistency") != "strict" {
		t.Errorf("signed in as %+v with %v", me, a.header)
	}
	if d.fake.lastKey != "0123456789abcdef" || d.fake.lastWho.Door() != "rest" {
		t.Errorf("control saw key %q and %q", d.fake.lastKey, d.fake.lastWho.Door())
	}
	var c wire.Component
	d.do("GET", "/v1/components/n1.laser?consistency=strict", "").wantStatus(200).decode(&c)
	if c.Home != "n1" || c.Slots != 2 || c.Lease != wire.Duration(20*time.Second) || c.Labels["host"] != "lab1" {
		t.Errorf("seen as %+v", c)
	}
	d.do("PUT", "/v1/components/n1.laser/heartbeat", "", "X-Session", me.Secret).wantStatus(200)
	d.do("PUT", "/v1/components/n1.laser/heartbeat", "{}", "X-Session", "wrong").wantProblem(403, wire.CodeForbidden, "")
	d.do("DELETE", "/v1/components/n1.laser?reason=x", "", "X-Session", me.Secret).wantProblem(400, wire.CodeInvalid, "reason")
	d.do("DELETE", "/v1/components/n1.laser", "", "X-Session", "").wantProblem(401, wire.CodeUnauthorized, "")
	if a := d.do("DELETE", "/v1/components/n1.laser", "", "X-Session", me.Secret).wantStatus(200); a.header.Get("X-Index") != "9" {
		t.Errorf("signed out at %s", a.header.Get("X-Index"))
	}
	d.do("GET", "/v1/components/n1.laser", "").wantProblem(404, wire.CodeNotFound, "")
	d.signIn("ghost")
	d.do("DELETE", "/v1/components/n1.ghost?reason=gone", "").wantStatus(200)
	d.do("DELETE", "/v1/components/n1.ghost", "").wantProblem(404, wire.CodeNotFound, "")
}

// Lists come in pages, and filtered ones in full pages.
func TestLists(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for i := range 10 {
		d.do("POST", "/v1/components", fmt.Sprintf(`{"name":"c%d","labels":{"host":"h%d"}}`, i, i%2)).wantStatus(201)
	}
	list := func(query string) (names string, next string) {
		t.Helper()
		var l wire.Components
		d.do("GET", "/v1/components"+query, "").wantStatus(200).decode(&l)
		for _, c := range l.Components {
			names += c.Name
		}
		return names, l.Next
	}
	for _, c := range []struct{ query, names, next string }{
		{"", "c0c1c2c3c4c5c6c7c8c9", ""},
		{"?limit=3", "c0c1c2", "n1.c2"},
		{"?limit=3&after=n1.c8", "c9", ""},
		{"?label=host=h1", "c1c3c5c7c9", ""},
		{`?filter=labels.host+==+h1&limit=2`, "c1c3", "n1.c3"},
		{`?filter=labels.host+==+h1&limit=3&after=n1.c3`, "c5c7c9", ""},
		{`?filter=labels.host+==+h1+and+name+!=+%22c5%22&prefix=n1.c`, "c1c3c7c9", ""},
		{`?filter=home==n2`, "", ""},
	} {
		if names, next := list(c.query); names != c.names || next != c.next {
			t.Errorf("%s: got %s next %q, want %s next %q", c.query, names, next, c.names, c.next)
		}
	}
	d.do("POST", "/v1/jobs", `{"id":"a","runtime":"sh","script":"true"}`).wantStatus(202)
	d.do("POST", "/v1/jobs", `{"id":"b","runtime":"python3","script":"x"}`).wantStatus(202)
	var jobs wire.Jobs
	d.do("GET", "/v1/jobs?filter=runtime==sh&state=queued", "").wantStatus(200).decode(&jobs)
	if len(jobs.Jobs) != 1 || jobs.Jobs[0].ID != "a" {
		t.Errorf("filtered jobs: %+v", jobs)
	}
	d.do("POST", "/v1/jobs", `{"id":"c","runtime":"sh","script":"true","namespace":"lab1"}`).wantStatus(202)
	for query, want := range map[string]string{"?namespace=lab1": "c", "?filter=namespace==lab1": "c", "?filter=namespace==default": "ab", "?namespace=": "abc"} {
		var ids []string
		var jobs wire.Jobs
		d.do("GET", "/v1/jobs"+query, "").wantStatus(200).decode(&jobs)
		for _, j := range jobs.Jobs {
			ids = append(ids, j.ID)
		}
		slices.Sort(ids)
		if got := strings.Join(ids, ""); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// What is read whole is cut by the same parameters, and is whole without them.
func TestPagesOfLists(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, c := range []struct{ path, rows, next string }{
		{"/v1/workers", "n1.w0 n1.w1 n1.w2 n1.w3", ""},
		{"/v1/workers?limit=2", "n1.w0 n1.w1", "n1.w1"},
		{"/v1/workers?limit=2&after=n1.w1", "n1.w2 n1.w3", ""},
		{"/v1/workers?filter=labels.odd==1&limit=1", "n1.w1", "n1.w1"},
		{"/v1/workers?filter=labels.odd==1&limit=1&after=n1.w1", "n1.w3", ""},
		{"/v1/workers?after=n1.w9", "", ""},
		{"/v1/members", "n1 n2", ""},
		{"/v1/members?limit=1", "n1", "n1/1"},
		{"/v1/members?limit=1&after=n1/1", "n2", ""},
		{"/v1/members?filter=state+==+leader+and+alive+==+true", "n1", ""},
	} {
		var list struct {
			Workers []wire.Worker
			Members []wire.Member
			Next    string
		}
		d.do("GET", c.path, "").wantStatus(200).decode(&list)
		var rows []string
		for _, w := range list.Workers {
			rows = append(rows, w.FullName)
		}
		for _, m := range list.Members {
			rows = append(rows, m.ID)
		}
		if got := strings.Join(rows, " "); got != c.rows || list.Next != c.next {
			t.Errorf("%s: got %q next %q, want %q next %q", c.path, got, list.Next, c.rows, c.next)
		}
	}
	d.do("GET", "/v1/workers?limit=0", "").wantProblem(400, wire.CodeInvalid, "limit")
	d.do("GET", "/v1/members?filter=labels.a==b", "").wantProblem(400, wire.CodeInvalid, "filter")
	d.do("POST", "/v1/jobs", `{"id":"j","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	d.do("GET", "/v1/jobs/j/parts?filter=worker==n1.w1&limit=2", "").wantStatus(200)
	d.do("GET", "/v1/jobs/j/parts?filter=item==1", "").wantProblem(400, wire.CodeInvalid, "filter")
}

// The rest of the resources answers in its shape; the contract is checked by ask.
func TestResources(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/namespaces", "", 200},
		{"GET", "/v1/members", "", 200},
		{"POST", "/v1/members", `{"address":"127.0.0.1:9"}`, 201},
		{"DELETE", "/v1/members/n1", "", 200},
		{"DELETE", "/v1/members/n9", "", 404},
		{"POST", "/v1/members/n1/promote", "", 200},
		{"POST", "/v1/members/n1/demote", "", 200},
		{"POST", "/v1/members/n1/demote?cas=41&force=n1", "", 200},
		{"GET", "/v1/autopilot", "", 200},
		{"PUT", "/v1/autopilot", `{"min_voters":5,"dead_after":"1h"}`, 200},
		{"PUT", "/v1/autopilot", `{"min_voters":0}`, 400},
		{"PUT", "/v1/autopilot", `{"minvoters":3}`, 400},
		{"PUT", "/v1/autopilot", `{"dead_after":"soon"}`, 400},
		{"PUT", "/v1/autopilot", ``, 400},
		{"POST", "/v1/members/n1/demote?cas=40", "", 409},
		{"POST", "/v1/members?cas=40", `{"address":"127.0.0.1:9"}`, 409},
		{"DELETE", "/v1/members/n1?cas=x", "", 400},
		{"DELETE", "/v1/members/n1?force=n2", "", 400},
		{"DELETE", "/v1/members/n1?force=", "", 400},
		{"POST", "/v1/members/n1/promote?force=n1", "", 400},
		{"GET", "/v1/leader", "", 200},
		{"POST", "/v1/leader/transfer", "", 200},
		{"POST", "/v1/leader/transfer", `{"to":"n1"}`, 200},
		{"GET", "/v1/level", "", 200},
		{"GET", "/v1/level?index=7", "", 200},
		{"POST", "/v1/level", "", 200},
		{"POST", "/v1/level", `{}`, 200},
		{"POST", "/v1/level", `{"level":2}`, 200},
		{"POST", "/v1/level?level=2", "", 400},
		{"GET", "/v1/status", "", 200},
		{"GET", "/v1/digest?index=7", "", 200},
		{"GET", "/v1/workers?stale", "", 200},
		{"POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1],"timeout":"1m"}`, 202},
		{"GET", "/v1/jobs", "", 200},
		{"GET", "/v1/jobs/j1", "", 200},
		{"GET", "/v1/jobs/j2", "", 404},
		{"GET", "/v1/jobs/j1/parts?limit=1&after=3&state=done", "", 200},
		{"DELETE", "/v1/jobs/j1?reason=enough", "", 200},
		{"DELETE", "/v1/jobs/j1?reason=enough&forget=1", "", 400},
		{"DELETE", "/v1/jobs/j1?forget=perhaps", "", 400},
	} {
		d.do(c.method, c.path, c.body).wantStatus(c.status)
	}
}

// Only who says so forgets a job: who cancels one that was done a moment ago
// keeps its results.
func TestForgetAJob(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	for range 2 {
		d.do("DELETE", "/v1/jobs/j1?reason=enough", "").wantStatus(200)
		d.do("DELETE", "/v1/jobs/j1?forget=false", "").wantStatus(200)
		d.do("GET", "/v1/jobs/j1", "").wantStatus(200)
	}
	if a := d.do("DELETE", "/v1/jobs/j1?forget=1", "").wantStatus(200); !strings.Contains(a.body, `"id":"j1"`) {
		t.Errorf("forgotten: %s", a.body)
	}
	d.do("GET", "/v1/jobs/j1", "").wantStatus(404)
	d.do("DELETE", "/v1/jobs/j1?forget", "").wantStatus(404)
}

// A call carries its params as they are, or from the query; its answer is the
// result.
func TestCall(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, params := range []string{`{"a":1}`, `[1,"x"]`, `7`, ``} {
		d.do("POST", "/v1/call/COORDINATOR/echo?timeout=1s", params).wantStatus(200)
		if string(d.fake.lastCall) != params {
			t.Errorf("params %q arrived as %q", params, d.fake.lastCall)
		}
	}
	if a := d.do("GET", "/v1/call/COORDINATOR/echo?n=1&who=laser&on=true&list=[1]&timeout=1s", "").wantStatus(200); a.body != `{"list":[1],"n":1,"on":true,"who":"laser"}`+"\n" {
		t.Errorf("params of a query: %s", a.body)
	}
	if a := d.do("POST", "/v1/call/COORDINATOR/pong", "").wantStatus(200); a.body != "null\n" {
		t.Errorf("no result: %q", a.body)
	}
	d.do("POST", "/v1/call/n1.COORDINATOR/pong", "").wantStatus(200)
	d.do("POST", "/v1/call/n2.COORDINATOR/pong", "").wantProblem(400, wire.CodeInvalid, "full")
	if a := d.do("POST", "/v1/call/n1.laser/status", "{}").wantStatus(200); a.body != `{"method":"status"}`+"\n" {
		t.Errorf("of a component: %q", a.body)
	}
	d.do("GET", "/v1/call/n1.laser/fire", "", "User-Agent", "Mozilla/5.0").wantProblem(403, wire.CodeForbidden, "")
	d.do("GET", "/v1/call/n1.laser/fire", "", "User-Agent", "Mozilla/5.0", "Sec-Fetch-Site", "none").wantStatus(200)
	d.do("POST", "/v1/call/n1.nobody/status", "{}").wantProblem(404, wire.CodeNotFound, "")
	d.do("POST", "/v1/call/service:x/status", "{}").wantProblem(404, wire.CodeNotFound, "")
	d.do("POST", "/v1/call/COORDINATOR/nothing", "{}").wantProblem(404, wire.CodeNotFound, "")
	d.do("POST", "/v1/call/COORDINATOR/echo?timeout=soon", "{}").wantProblem(400, wire.CodeInvalid, "timeout")
}

// What is written directly is what encoding/json writes.
func TestEncoders(t *testing.T) {
	t.Parallel()
	full := wire.Component{
		FullName: `n1.a"b\c`, Name: "<é>\x7f\u2028", Namespace: "n1", Home: "n\t1", Session: "s", Kind: "rest",
		Labels: map[string]string{"b": "2", "a": "1", `"`: "\n"}, Place: wire.Place{Host: "h", Group: "g"}, Lease: wire.Duration(90 * time.Second),
		Runtimes: []string{"sh", "python3"}, Slots: 3, Since: t0, Index: 1<<64 - 1,
	}
	group := full
	group.Place = wire.Place{Group: "g"}
	for _, v := range []any{
		wire.Component{},
		full, group,
		wire.Components{Components: []wire.Component{}},
		wire.Components{Components: []wire.Component{full, {}}, Next: `n1."`},
		wire.SignedIn{FullName: `n1."x"`, Session: "s", Secret: "x", Namespace: "n", Home: "h", Lease: wire.Duration(time.Millisecond), Index: 9},
		wire.SignedIn{FullName: "n1.x", Session: "s", Secret: "x", Namespace: "n1", Home: "n1", Lease: wire.Duration(time.Second), Index: 9, Attempt: 3},
		wire.Beat{FullName: "n1.x", Session: "s", Home: "h", Lease: wire.Duration(15 * time.Second)},
	} {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		got := []byte(httpapi.Encoded(v))
		if !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(want.Bytes())) {
			t.Errorf("%T:\n got %s\nwant %s", v, got, want.Bytes())
		}
	}
}
