package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// Every code has its one status.
func TestStatuses(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for code, status := range map[wire.Code]int{
		"invalid": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "name_taken": 409, "conflict": 409, "busy": 429,
		"too_large": 413, "unavailable": 503, "unknown": 504, "internal": 500,
	} {
		d.fake.refusal = wire.Refuse(code, "because")
		p := d.do("POST", "/v1/components", `{"name":"a"}`).wantProblem(status, code, "")
		if p.Detail != "because" || p.Title != http.StatusText(status) {
			t.Errorf("%s: got %+v", code, p)
		}
	}
	d.fake.refusal = fmt.Errorf("disk on fire")
	d.do("POST", "/v1/components", `{"name":"a"}`).wantProblem(500, "internal", "")
	d.fake.refusal = wire.Invalid("name", "no")
	d.do("POST", "/v1/components", `{"name":"a"}`).wantProblem(400, "invalid", "name")
}

// Busy and unavailable say when to come again.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for after, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", 1500 * time.Millisecond: "2", 1000 * time.Hour: "3600"} {
		for _, code := range []wire.Code{wire.CodeBusy, wire.CodeUnavailable} {
			d.fake.refusal = &wire.Error{Code: code, Message: "later", RetryAfter: after}
			if got := d.do("GET", "/v1/leader", "").header.Get("Retry-After"); got != want {
				t.Errorf("%s after %v: Retry-After %q, want %q", code, after, got, want)
			}
		}
	}
}

// What is not there, and what is there but not that way, are problems too.
func TestRouting(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, path := range []string{"/", "/v1", "/v1/", "/v2/components", "/v1/nothing", "/v1/components/", "/v1/components/a/b", "/debug/pprof/", "/metrics", "/v1/../etc/passwd", "/v1/%2e%2e/x"} {
		d.do("GET", path, "").wantProblem(404, wire.CodeNotFound, "")
	}
	for _, c := range [][3]string{{"PUT", "/v1/components", "GET"}, {"DELETE", "/v1/status", "GET"}, {"PATCH", "/v1/jobs", "POST"}, {"BREW", "/v1/jobs", "POST"}, {"GET", "/v1/messages", "POST"}} {
		a := d.do(c[0], c[1], "")
		a.wantProblem(405, wire.CodeInvalid, "")
		if allow := a.header.Get("Allow"); !strings.Contains(allow, c[2]) {
			t.Errorf("%s %s: Allow %q, want %s in it", c[0], c[1], allow, c[2])
		}
	}
}

// HEAD is GET without the body, at once: it waits for nothing and reads no stream. A GET that does something has none.
func TestHead(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	for _, path := range []string{
		"/v1/status", "/v1/jobs", "/v1/jobs/j1", "/v1/openapi.json", "/v1/components?index=99999&wait=5m", "/v1/events",
		"/v1/jobs/j1/results?follow=1", "/v1/jobs/j1/logs?follow=1", "/v1/jobs/j1/logs?part=0&offset=0",
	} {
		a := d.do("HEAD", path, "").wantStatus(200)
		if a.body != "" || a.header.Get("Content-Type") == "" || a.header.Get("X-Index") == "" {
			t.Errorf("HEAD %s: got %q with %v, want the headers alone", path, a.body, a.header)
		}
	}
	a := d.do("HEAD", "/v1/jobs/j1/logs", "", "Accept", "text/plain").wantStatus(200)
	if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("HEAD of a log as text is %s", kind)
	}
	d.do("HEAD", "/v1/nothing", "").wantStatus(404)
	for _, path := range []string{"/v1/components/n1.laser/messages?after=1", "/v1/call/n1.laser/fire", "/v1/session", "/v1/messages"} {
		d.do("HEAD", path, "").wantStatus(405)
	}
}

// Every answer tells how fresh it is, under which id it is found, and that its
// type is meant.
func TestEveryAnswerHasItsHeaders(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.signIn("laser")
	for _, a := range []answer{
		d.do("GET", "/v1/components", ""),
		d.do("GET", "/v1/components/n1.laser?stale", ""),
		d.do("GET", "/v1/components/n1.nobody", ""),
		d.do("GET", "/v1/status", ""),
		d.do("GET", "/v1/nothing", ""),
		d.do("POST", "/v1/components", "{"),
		d.do("POST", "/v1/components", `{"name":"b"}`),
		d.do("GET", "/v1/leader", "", "Origin", "http://evil.example"),
	} {
		for _, name := range []string{"X-Index", "X-Leader", "X-Consistency", "X-Stale-Ms", "X-Request-Id", "X-Content-Type-Options"} {
			if a.header.Get(name) == "" {
				t.Errorf("%s: %d without %s: %v", a.request, a.status, name, a.header)
			}
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: CORS", a.request)
		}
	}
	a := d.do("GET", "/v1/components?consistency=strict", "")
	if a.header.Get("X-Index") != strconv.FormatUint(d.fake.index, 10) || a.header.Get("X-Leader") != "n1" || a.header.Get("X-Consistency") != "strict" || a.header.Get("X-Stale-Ms") != "3" {
		t.Errorf("headers of a strict read: %v", a.header)
	}
}

// An age that is not known has no header: no number would be true.
func TestUnknownAgeHasNoHeader(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.fake.stale = -1
	for _, path := range []string{"/v1/components?stale", "/v1/status", "/v1/nothing"} {
		if a := d.do("GET", path, ""); len(a.header["X-Stale-Ms"]) > 0 || a.header.Get("X-Index") == "" {
			t.Errorf("%s: headers %v, want X-Index and no X-Stale-Ms", path, a.header)
		}
	}
}

// A caller's own request id is kept if it is harmless.
func TestRequestID(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for id, kept := range map[string]bool{"my-id_1.2:3": true, "": false, "with blank": false, `"quoted"`: false, strings.Repeat("a", 129): false, "ü": false} {
		a := d.do("GET", "/v1/nothing", "", "X-Request-Id", id)
		if got := a.header.Get("X-Request-Id"); (got == id) != kept || got == "" {
			t.Errorf("id %q: answered under %q, kept: want %v", id, got, kept)
		}
		a.wantProblem(404, wire.CodeNotFound, "")
	}
}

// Query parameters are understood or refused by name.
func TestQueries(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, c := range []struct{ query, field string }{
		{"consistency=strict", ""},
		{"consistency=eventual", "consistency"},
		{"stale", ""},
		{"stale=1", ""},
		{"stale=maybe", "stale"},
		{"consistent", ""},
		{"stale&consistent", "consistent"},
		{"index=7", ""},
		{"index=-1", "index"},
		{"index=1e3", "index"},
		{"index=18446744073709551616", "index"},
		{"index=1&wait=1ms", ""},
		{"wait=1", ""},
		{"wait=soon", "wait"},
		{"wait=-1s", "wait"},
		{"wait=NaN", "wait"},
		{"limit=10", ""},
		{"limit=0", "limit"},
		{"limit=10001", "limit"},
		{"limit=ten", "limit"},
		{"colour=red", "colour"},
		{"index=1&index=2", "index"},
		{"label=a=b&label=c=d", ""},
		{"label=a", "label"},
		{"label==b", "label"},
		{"prefix=%zz", "prefix"},
		{"prefix=%00", "prefix"},
		{"prefix=%ff", "prefix"},
		{"a;b=1", "a;b"},
		{"Stale=1", "Stale"},
		{"", ""},
		{"&&", ""},
		{"filter=home+==+n1", ""},
		{"filter=colour==red", "filter"},
		{"filter=home", "filter"},
		{"filter=home+matches+n", "filter"},
		{"filter=home==n1+or+home==n2", "filter"},
		{"filter=home%3D%3D%22n1", "filter"},
		{"filter=home==n1+and", "filter"},
		{"filter=labels.host+!=+lab1+and+place.host==%22a+b%22", ""},
	} {
		a := d.do("GET", "/v1/components?"+c.query, "")
		if c.field == "" {
			a.wantStatus(200)
		} else {
			a.wantProblem(400, wire.CodeInvalid, c.field)
		}
	}
	d.do("GET", "/v1/status?pretty", "").wantProblem(400, wire.CodeInvalid, "pretty")
	d.do("GET", "/v1/components?"+strings.Repeat("label=a=b&", 65), "").wantProblem(400, wire.CodeInvalid, "")
}

// A name with any printable character is found under its escaped path.
func TestEscapedPaths(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, name := range []string{"a b", "a/b", "100%", "a%2Fb", "a?b#c", "é", "..", "a+b", "messages"} {
		full := "n1." + name
		d.fake.sessions[full] = wire.Component{FullName: full, Name: name, Since: t0}
		var c wire.Component
		d.do("GET", "/v1/components/"+url.PathEscape(full), "").wantStatus(200).decode(&c)
		if c.FullName != full {
			t.Errorf("asked for %q, got %q", full, c.FullName)
		}
	}
	for _, bad := range []string{"%00", "%ff", "a%0ab"} {
		d.do("GET", "/v1/components/"+bad, "").wantProblem(400, wire.CodeInvalid, "full")
	}
}

// With tokens every call of /v1 needs one of them, whatever the path.
func TestTokens(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) {
		known, err := control.NewAuthenticator([]string{control.HashToken("one"), control.HashToken("two")})
		if err != nil {
			t.Fatal(err)
		}
		c.Control.(*fake).Authenticator, c.AnyHost = known, true
	})
	for _, token := range []string{"", "Bearer", "Bearer three", "Basic one", "one", "Bearer " + control.HashToken("one")} {
		for _, path := range []string{"/v1/status", "/v1/nothing", "/v1/openapi.json", "/v1/events"} {
			var headers []string
			if token != "" {
				headers = []string{"Authorization", token}
			}
			a := d.do("GET", path, "", headers...)
			a.wantProblem(401, wire.CodeUnauthorized, "")
			if a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%q: no WWW-Authenticate", token)
			}
		}
	}
	d.do("GET", "/v1/status", "", "Authorization", "Bearer two").wantStatus(200)
	d.do("GET", "/v1/status", "", "Authorization", "bearer one", "Host", "any.example.com").wantStatus(200)
	if a := d.do("PATCH", "/v1/status", ""); a.status != 401 || a.header.Get("Allow") != "" {
		t.Errorf("an unknown method without a token: got %d with Allow %q, want 401 without", a.status, a.header.Get("Allow"))
	}
}

// Tokens are taken from one header alone: elsewhere they are refused, and the text says where they belong.
func TestTokenInAQueryOrACookieIsRefused(t *testing.T) {
	t.Parallel()
	token := "fmt_" + strings.Repeat("x", 43)
	d := serve(t, func(c *httpapi.Config) {
		known, err := control.NewAuthenticator([]string{control.HashToken(token)})
		if err != nil {
			t.Fatal(err)
		}
		c.Control.(*fake).Authenticator, c.AnyHost = known, true
	})
	for path, headers := range map[string][]string{
		"/v1/status?token=" + token:                   nil,
		"/v1/status?access_token=none-of-ours-at-all": nil,
		"/v1/nothing?x=" + token:                      nil,
		"/v1/status":                                  {"Cookie", "token=" + token},
		"/v1/call/n1.laser/pong?a=%66mt_" + token[4:]: {"X-Session", "none"},
		"/v1/session?access_token=" + token:           {"Upgrade", "websocket", "Connection", "Upgrade"},
	} {
		p := d.do("GET", path, "", headers...).wantProblem(401, wire.CodeUnauthorized, "")
		if !strings.Contains(p.Detail, "never taken from a") || !strings.Contains(p.Detail, "Authorization: Bearer") {
			t.Errorf("%s: %q does not say where a token belongs", path, p.Detail)
		}
		if strings.Contains(p.Detail, token[10:]) {
			t.Errorf("%s: the answer has the token: %q", path, p.Detail)
		}
	}
	// Who is let in is told so, too, and that the token is lost.
	for path, field := range map[string]string{
		"/v1/call/n1.laser/pong?a=1&b=" + token:       "b",
		"/v1/call/n1.laser/pong?b=%66mt_" + token[4:]: "b",
		"/v1/status?token=" + token:                   "token",
	} {
		p := d.do("GET", path, "", "Authorization", "Bearer "+token).wantProblem(400, wire.CodeInvalid, field)
		if !strings.Contains(p.Detail, "revoke") || strings.Contains(p.Detail, token[10:]) {
			t.Errorf("%s: %q", path, p.Detail)
		}
	}
	p := d.do("GET", "/v1/status?access_token=abc", "", "Authorization", "Bearer "+token).wantProblem(400, wire.CodeInvalid, "access_token")
	if !strings.Contains(p.Detail, "Authorization: Bearer") {
		t.Errorf("%q does not say where a token belongs", p.Detail)
	}
}

// Who presents no known token gets its answer before the body is read, whatever the path.
func TestUnauthorizedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) {
		known, err := control.NewAuthenticator([]string{control.HashToken("one")})
		if err != nil {
			t.Fatal(err)
		}
		c.Control.(*fake).Authenticator, c.AnyHost = known, true
	})
	for _, path := range []string{"/v1/jobs", "/v1/nothing"} {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{", path)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil) // though the body never comes
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: got %d, %q", path, res.StatusCode, res.Header.Get("WWW-Authenticate"))
		}
	}
}

// A forbidden caller learns what it lacks, and which of its tokens lacks it; a list of which it does not see all says so.
func TestForbiddenAndFiltered(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.fake.refusal = &wire.Error{Code: wire.CodeForbidden, Message: "no", Needs: "jobs:read@lab1", Token: "t_1"}
	if p := d.do("GET", "/v1/jobs", "").wantProblem(403, wire.CodeForbidden, ""); p.Needs != "jobs:read@lab1" || p.Token != "t_1" {
		t.Errorf("needs %q, token %q", p.Needs, p.Token)
	}
	for _, filtered := range []string{"", "true"} {
		d.fake.filtered = filtered != ""
		for _, path := range []string{"/v1/components", "/v1/namespaces", "/v1/workers", "/v1/jobs", "/v1/jobs?filter=name==a", "/v1/status"} {
			if got := d.do("GET", path, "").wantStatus(200).header.Get("X-Filtered"); got != filtered {
				t.Errorf("%s: X-Filtered is %q, want %q", path, got, filtered)
			}
		}
		if got := d.stream("/v1/events").res.Header.Get("X-Filtered"); got != filtered {
			t.Errorf("/v1/events: X-Filtered is %q, want %q", got, filtered)
		}
	}
}

// Pages of other sites are kept out; programs and this coordinator's own pages
// are not.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.Hosts = []string{"folkmoot.example.com"} })
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{nil, 200},
		{[]string{"Origin", "http://" + d.addr}, 200},
		{[]string{"Origin", "http://evil.example"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"Origin", "http://" + d.addr + ".evil.example"}, 403},
		{[]string{"Host", "evil.example"}, 403},
		{[]string{"Host", "evil.example", "Origin", "http://evil.example"}, 403},
		{[]string{"Host", "folkmoot.example.com:7380"}, 200},
		{[]string{"Host", "folkmoot-0"}, 200},
		{[]string{"Host", "folkmoot-0.folkmoot.default.svc.cluster.local:7380"}, 200},
		{[]string{"Host", "localhost:7380"}, 200},
		{[]string{"Host", "[::1]:7380"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		a := d.do("GET", "/v1/status", "", c.headers...)
		if c.status == 403 {
			a.wantProblem(403, wire.CodeForbidden, "")
		} else if a.status != c.status {
			t.Errorf("%v: got %d %s, want %d", c.headers, a.status, a.body, c.status)
		}
	}
}

// Off loopback every name is as good as the address.
func TestAnyHost(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.AnyHost = true })
	d.do("GET", "/v1/status", "", "Host", "n1.lab.example:7380").wantStatus(200)
	d.do("GET", "/v1/status", "", "Host", "n1.lab.example", "Origin", "http://evil.example").wantProblem(403, wire.CodeForbidden, "")
	loopback := serve(t)
	if p := loopback.do("GET", "/v1/status", "", "Host", "n1.lab.example:7380").wantProblem(403, wire.CodeForbidden, ""); !strings.Contains(p.Detail, "--http-hosts") {
		t.Errorf("the refusal of a name says %q, not how to allow it", p.Detail)
	}
}

// A forwarded address is not believed.
func TestForwardedAddressIsIgnored(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("POST", "/v1/components", `{"name":"a"}`, "X-Forwarded-For", "10.1.2.3", "X-Real-IP", "10.1.2.3").wantStatus(201)
	if host, _, _ := net.SplitHostPort(d.fake.lastWho.Remote()); host != "127.0.0.1" {
		t.Errorf("the caller is %q, want 127.0.0.1", d.fake.lastWho.Remote())
	}
}

// A handler's fault is one request's fault.
func TestPanic(t *testing.T) {
	t.Parallel()
	d := serve(t)
	p := d.do("POST", "/v1/call/COORDINATOR/panic", `{}`).wantProblem(500, wire.CodeInternal, "")
	if strings.Contains(p.Detail, "cheese") {
		t.Errorf("the caller sees the fault: %s", p.Detail)
	}
	d.do("GET", "/v1/status", "").wantStatus(200)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// Headers are bounded in size and in time.
func TestHeaders(t *testing.T) {
	t.Parallel()
	c := dial(t, serve(t).addr)
	go func() {
		_, _ = fmt.Fprintf(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n", strings.Repeat("a", 64<<10))
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers: got %d, want 431", res.StatusCode)
	}
	contract, err := httpapi.Contract()
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf("in plain text: 431 to headers above %d KiB", rest.MaxHeader>>10)
	if plain := res.Header.Get("Content-Type"); !strings.HasPrefix(plain, "text/plain") || !strings.Contains(string(contract), said) {
		t.Errorf("431 comes as %s; the contract says %q: %v", plain, said, strings.Contains(string(contract), said))
	}
	slow := dial(t, serve(t, func(c *httpapi.Config) { c.HeaderTimeout = 100 * time.Millisecond }).addr)
	if _, err := io.WriteString(slow, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(slow); strings.HasPrefix(string(b), "HTTP/1.1 2") { // ends when the server gives up
		t.Errorf("a request without an end was answered: %s", b)
	}
}

// A body that never comes does not hold its connection for ever.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.ReadTimeout = 100 * time.Millisecond })
	c := dial(t, d.addr)
	if _, err := io.WriteString(c, "POST /v1/components HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\""); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
		t.Errorf("got %q, %v, want 400 and the end", b, err)
	}
}

// Neither does a snapshot that is to be restored, however long one may take that comes.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.ReadTimeout = 100 * time.Millisecond })
	c := dial(t, d.addr)
	if _, err := io.WriteString(c, "PUT /v1/snapshot?cluster=c1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/gzip\r\nContent-Length: 100\r\n\r\nbytes"); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
		t.Errorf("got %q, %v, want 400 and the end", b, err)
	}
}

// A write is not tried once its caller has closed the connection, with a body or
// without one: whoever comes back from standing still finds it before the end.
func TestRequestOfAGoneCallerIsNotTried(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("not known on this system")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake()
	f.sessions["n1.laser"] = wire.Component{FullName: "n1.laser"}
	api, err := httpapi.New(httpapi.Config{Control: f})
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]net.Conn{}
	for what, request := range map[string]string{
		"a sign-in":     "POST /v1/components HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"gui\"}",
		"a removal":     "DELETE /v1/components/n1.laser HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"a bare method": "POST /v1/members/n1/promote HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	} {
		c := dial(t, l.Addr().String())
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		asked[what] = c
	}
	served := make(chan error, 1)
	go func() { served <- api.Serve(l) }() // it comes to them only now
	for what, c := range asked {
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 503 ") || !strings.Contains(string(b), "not begun") {
			t.Errorf("%s whose caller had left: got %q, %v, want 503: not begun", what, b, err)
		}
	}
	if err := errors.Join(api.Close(t.Context()), <-served); err != nil {
		t.Error(err)
	}
	if _, in := f.sessions["n1.gui"]; in {
		t.Error("a sign-in whose caller had left was carried out")
	}
	if _, in := f.sessions["n1.laser"]; !in {
		t.Error("a removal whose caller had left was carried out")
	}
}

// A request that is no WebSocket is refused with a problem like every other.
func TestPlainRequestForASession(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	d := serve(t, func(c *httpapi.Config) {
		c.Sessions = func(http.ResponseWriter, *http.Request, control.Principal) { asked.Add(1) }
	})
	for _, headers := range [][]string{{}, {"Upgrade", "h2c", "Connection", "Upgrade"}, {"Upgrade", "websocket"}} {
		a := d.do("GET", "/v1/session", "", headers...)
		a.wantProblem(426, wire.CodeInvalid, "")
		if a.header.Get("Upgrade") != "websocket" {
			t.Errorf("it does not say what to upgrade to: %v", a.header)
		}
	}
	if asked.Load() != 0 {
		t.Error("the door for sessions was asked")
	}
	serve(t).do("GET", "/v1/session", "").wantProblem(503, wire.CodeUnavailable, "") // without such a door
}
