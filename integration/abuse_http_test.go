package integration_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// httpAbuse is what is thrown at REST.
func httpAbuse() []abuse {
	rows := []abuse{
		{"etcd CVE-2021-28235, X1", "other places for a token", tokensElsewhere},
		{"Nomad CVE-2023-1782", "no token, at every coordinator and path", noTokenAnywhere},
		{"Nomad CVE-2022-24685", "costly bodies before a token was seen", costlyWithoutToken},
		{"etcd CVE-2018-1098", "pages of another site, names bound to loopback", foreignPages},
		{"name spoofing", "another's session and secret", otherSessions},
		{"RELIABILITY 2.4", "idempotency keys of others", otherKeys},
		{"smuggling", "two lengths, two requests", smuggling},
	}
	for _, r := range []request{
		{kind: "NATS CVE-2026-27571", what: "a gzip bomb", method: "POST", path: "/v1/components", body: gzipped(64 << 20), headers: []string{"Content-Encoding", "gzip"}, want: []int{415}},
		{kind: "NATS CVE-2026-27571", what: "Content-Encoding twice", method: "POST", path: "/v1/components", body: "{}", headers: []string{"Content-Encoding", "identity", "Content-Encoding", "gzip"}, want: []int{415}},
		{kind: "NATS CVE-2026-27571", what: "two encodings in one header", method: "POST", path: "/v1/jobs", body: "{}", headers: []string{"Content-Encoding", "gzip, gzip"}, want: []int{415}},
		{kind: "Consul CVE-2020-13250", what: "headers of 64 KiB", method: "GET", path: "/v1/status", headers: []string{"X-Long", strings.Repeat("h", 64<<10)}, want: []int{431}, early: true},
		{kind: "Consul CVE-2020-13250", what: "2 MiB of body", method: "POST", path: "/v1/components", body: `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, want: []int{413}},
		{kind: "Nomad CVE-2022-24685", what: "5000 nested lists", method: "POST", path: "/v1/components", body: strings.Repeat("[", 5000) + strings.Repeat("]", 5000), want: []int{400}},
		{kind: "Nomad CVE-2022-24685", what: "5000 nested objects", method: "POST", path: "/v1/jobs", body: strings.Repeat(`{"args":`, 5000) + "1" + strings.Repeat("}", 5000), want: []int{400}},
		{kind: "JSON", what: "a key twice", method: "POST", path: "/v1/components", body: `{"name":"good","name":"COORDINATOR"}`, want: []int{400}},
		{kind: "JSON", what: "a key twice by escapes", method: "POST", path: "/v1/components", body: `{"name":"good","n\u0061me":"evil"}`, want: []int{400}},
		{kind: "lease abuse", what: "a negative lease", method: "POST", path: "/v1/components", body: `{"name":"x","lease":-1}`, want: []int{400}},
		{kind: "lease abuse", what: "a lease of 2^63-1", method: "POST", path: "/v1/components", body: `{"name":"x","lease":9223372036854775807}`, want: []int{400}},
		{kind: "lease abuse", what: "a lease of 1e308", method: "POST", path: "/v1/components", body: `{"name":"x","lease":1e308}`, want: []int{400}},
		{kind: "lease abuse", what: "a lease of 1ns", method: "POST", path: "/v1/components", body: `{"name":"x","lease":"1ns"}`, want: []int{400}},
		{kind: "lease abuse", what: "64 KiB of labels", method: "POST", path: "/v1/components", body: `{"name":"x","labels":{"a":"` + strings.Repeat("x", 70_000) + `"}}`, want: []int{400}},
		{kind: "Nomad CVE-2026-7474", what: "a runtime that is a path", method: "POST", path: "/v1/jobs", body: `{"runtime":"../../bin/sh","script":"id","items":[1]}`, want: []int{400}},
		{kind: "Nomad CVE-2026-7474", what: "an absolute runtime", method: "POST", path: "/v1/jobs", body: `{"runtime":"/bin/sh","script":"id","items":[1]}`, want: []int{400}},
		{kind: "Nomad CVE-2020-27195", what: "a job's id that is a path", method: "POST", path: "/v1/jobs", body: `{"id":"../../etc/cron.d/x","runtime":"sh","script":"id","items":[1]}`, want: []int{400}},
		{kind: "Nomad CVE-2020-27195", what: "logs of a job that is a path", method: "GET", path: "/v1/jobs/..%2f..%2fetc%2fpasswd/logs", want: []int{400, 404}},
		{kind: "Nomad CVE-2020-27195", what: "results of a job with NUL", method: "GET", path: "/v1/jobs/a%00b/results", want: []int{400, 404}},
		{kind: "Nomad CVE-2020-27195", what: "logs of a part below none", method: "GET", path: "/v1/jobs/x/logs?part=-1", want: []int{400, 404}},
		{kind: "Nomad CVE-2020-27195", what: "logs of a try beyond all", method: "GET", path: "/v1/jobs/x/logs?part=0&attempt=9223372036854775808", want: []int{400, 404}},
		{kind: "name spoofing", what: "a sender in the body", method: "POST", path: "/v1/messages", body: `{"to":"n1.victim","from":"n1.COORDINATOR","content":1}`, want: []int{400, 401}},
		{kind: "NATS CVE-2020-28466", what: "coordinators that are to link to themselves", method: "POST", path: "/v1/members", body: `{"address":"127.0.0.1:1"}`, want: []int{400, 409, 503, 504}},
		{kind: "cursors", what: "an index of 2^64", method: "GET", path: "/v1/components?index=18446744073709551616&wait=1s", want: []int{400}},
		{kind: "cursors", what: "an index below none", method: "GET", path: "/v1/components?index=-1&wait=1s", want: []int{400}},
		{kind: "cursors", what: "a wait of 2^63 seconds", method: "GET", path: "/v1/components?index=1&wait=9223372036854775807s", want: []int{400}},
		{kind: "cursors", what: "a page of 2^64 rows", method: "GET", path: "/v1/components?limit=18446744073709551616", want: []int{400}},
		{kind: "cursors", what: "a parameter twice", method: "GET", path: "/v1/components?limit=1&limit=2", want: []int{400}},
		{kind: "cursors", what: "an unknown parameter", method: "GET", path: "/v1/components?namespace[]=*", want: []int{400}},
		{kind: "cursors", what: "an event that is none", method: "GET", path: "/v1/events?topic=component", headers: []string{"Last-Event-Id", "-1.-1@x"}, want: []int{400}},
		{kind: "cursors", what: "an event behind all", method: "GET", path: "/v1/events?topic=secrets", want: []int{400}},
		{kind: "regular expressions", what: "a filter without end", method: "GET", path: "/v1/components?filter=" + strings.Repeat("(", 1000), want: []int{400}},
		{kind: "methods", what: "TRACE", method: "TRACE", path: "/v1/status", want: []int{405}},
		{kind: "methods", what: "one of 500 letters", method: strings.Repeat("X", 500), path: "/v1/status", want: []int{405}},
		{kind: "methods", what: "one that another header names", method: "GET", path: "/v1/jobs/nothing", headers: []string{"X-Http-Method-Override", "DELETE"}, want: []int{404}},
		{kind: "Consul CVE-2020-13170", what: "a long Idempotency-Key", method: "POST", path: "/v1/components", body: `{"name":"x"}`, headers: []string{"Idempotency-Key", strings.Repeat("k", 4000)}, want: []int{400}},
	} {
		rows = append(rows, abuse{r.kind, r.what, r.do})
	}
	// Names that are no names, and such that must not be taken for another.
	for _, name := range []string{
		"", ".", "..", "a.b", "n1.victim", " prod", "prod ", "prod/", "prod\x00", "prod\n", "pr\u043ed", "\u202eprod", "ｐｒｏｄ", "pro\u0301d",
		"COORDINATOR", "coordinator", "Coordinator", strings.Repeat("x", 256), "*", "../x", "a/../b", "%2e%2e%2f",
	} {
		ok := name == "*" || name == "%2e%2e%2f" || strings.Contains(name, "/") // plain ASCII: a name like others
		for field, body := range map[string]map[string]string{"name": {"name": name}, "namespace": {"name": "x", "namespace": name}} {
			if name == "" && field == "namespace" || ok {
				continue
			}
			r := request{kind: "Nomad CVE-2023-3072", what: fmt.Sprintf("the %s %.30q", field, name), method: "POST", path: "/v1/components", body: string(asJSON(body)), want: []int{400}}
			rows = append(rows, abuse{r.kind, r.what, r.do})
		}
	}
	return rows
}

// request is one abuse over HTTP: without a token it is 401 whatever it is, and with all
// rights one of want.
type request struct {
	kind, what, method, path, body string
	headers                        []string
	want                           []int
	early                          bool // net/http answers before anybody is asked who it is
}

func (r request) do(a *attack) {
	a.Helper()
	ask := func(p *process, who string, want []int, headers ...string) {
		a.Helper()
		got := a.asks(p, r.method, r.path, r.body, append(headers, r.headers...)...)
		if !slices.Contains(want, got.status) {
			a.Errorf("%s: %d %.300s, want %v", who, got.status, got.body, want)
		}
	}
	none := []int{401}
	if r.early {
		none = r.want
	}
	ask(a.n1, "without a token", none)
	ask(a.n1, "with a wrong token", none, "Authorization", "Bearer "+strings.Repeat("f", len(a.token)))
	ask(a.c.nodes[2], "with few rights", append([]int{403}, r.want...), "Authorization", "Bearer "+a.low)
	ask(a.c.others(a.c.nodes[0])[0], "with all rights", r.want, "Authorization", "Bearer "+a.token)
	ask(a.laptop, "where nobody is asked", r.want)
}

// asks makes a request whose headers may be there twice.
func (a *attack) asks(p *process, method, path, body string, headers ...string) answer {
	a.Helper()
	rq, err := http.NewRequestWithContext(a.Context(), method, "http://"+p.http+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	if body != "" {
		rq.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if strings.EqualFold(headers[i], "Host") {
			rq.Host = headers[i+1]
			continue
		}
		rq.Header.Add(headers[i], headers[i+1])
	}
	rs, err := plain.Do(rq)
	if err != nil {
		a.Fatalf("%s %.100s: %v", method, path, err)
	}
	defer rs.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rs.Body, 4<<20))
	if err != nil {
		a.Errorf("%s %.100s: %v", method, path, err)
	}
	a.tells(string(b))
	return answer{rs.StatusCode, rs.Header, string(b)}
}

func (a *attack) bearer() []string { return []string{"Authorization", "Bearer " + a.token} }

func gzipped(zeros int) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, zeros))
	_ = z.Close()
	return b.String()
}

// tokensElsewhere: only one Authorization header has a token, and only the token itself opens.
func tokensElsewhere(a *attack) {
	sum := sha256.Sum256([]byte(a.token))
	hash := hex.EncodeToString(sum[:])
	for what, try := range map[string]struct {
		query   string
		headers []string
	}{
		"in the query":      {query: "?token=" + a.token},
		"as access_token":   {query: "?access_token=" + a.token},
		"in a cookie":       {headers: []string{"Cookie", "token=" + a.token}},
		"X-Auth-Token":      {headers: []string{"X-Auth-Token", a.token}},
		"X-Nomad-Token":     {headers: []string{"X-Nomad-Token", a.token}},
		"Basic":             {headers: []string{"Authorization", "Basic " + a.token}},
		"without a scheme":  {headers: []string{"Authorization", a.token}},
		"nothing":           {headers: []string{"Authorization", "Bearer "}},
		"two of them":       {headers: []string{"Authorization", "Bearer " + a.token, "Authorization", "Bearer x"}},
		"two in one":        {headers: []string{"Authorization", "Bearer " + a.token + ", Bearer x"}},
		"its hash":          {headers: []string{"Authorization", "Bearer " + hash}},
		"its hash by name":  {headers: []string{"Authorization", "Bearer sha256:" + hash}},
		"the comment":       {headers: []string{"Authorization", "Bearer # the operator's"}},
		"half of it":        {headers: []string{"Authorization", "Bearer " + a.token[:32]}},
		"in capitals":       {headers: []string{"Authorization", "Bearer " + strings.ToUpper(a.token)}},
		"a session's":       {headers: []string{"Authorization", "Bearer " + a.victim.Secret}},
		"only a secret":     {headers: []string{"X-Session", a.victim.Secret}},
		"a proxy's":         {headers: []string{"X-Forwarded-For", "127.0.0.1", "X-Forwarded-User", "admin", "Forwarded", "for=127.0.0.1"}},
		"a name by proxy":   {headers: []string{"X-Client-Cert-Subject", "CN=root", "X-Ssl-Client-Verify", "SUCCESS"}},
		"64 KiB would fit":  {headers: []string{"Authorization", "Bearer " + strings.Repeat("t", 8000)}},
		"no rights at all*": {headers: []string{"Authorization", "Bearer null"}},
	} {
		got := a.asks(a.n1, "GET", "/v1/components"+try.query, "", try.headers...)
		if got.status != 401 || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") && !strings.Contains(got.body, "unauthorized") {
			a.Errorf("a token %s: %d %.200s, want 401", what, got.status, got.body)
		}
	}
}

// noTokenAnywhere: the leader, a follower, a path that is there, one that is not, and one that
// is spelled in an unusual way answer alike.
func noTokenAnywhere(a *attack) {
	var first answer
	for i, p := range a.c.nodes {
		for j, path := range []string{
			"/v1/components", "/v1/nothing", "/v1/../v1/status", "/v1/%2e%2e/v1/status", "//v1/status", "/v1//status", "/v1/%73tatus", "/v1/status/",
			"/V1/STATUS", "/v1/status;x=1", "/v1/status%00", "/v1/status%0d%0aX: y", "/v1/components/n1.victim", "/v1/components/n1.nobody",
			"/v1/components/" + strings.Repeat("x", 8000), "/v1/jobs/%ff%fe", "/v1/jobs/x/logs?follow=1", "/v1/events", "/v1/session", "/v1/openapi.json",
			"/v1/tokens", "/v1/snapshot", "/v1/audit", "/metrics", "/debug/pprof/", "/debug/vars", "/.git/config", "/",
		} {
			if path == "/" || !strings.HasPrefix(strings.ToLower(path), "/v1") && !strings.HasPrefix(path, "//") {
				if got := a.asks(p, "GET", path, ""); got.status < 400 || got.status >= 500 {
					a.Errorf("GET %s at %s: %d", path, p.name, got.status)
				}
				continue
			}
			got := a.asks(p, "GET", path, "")
			if i == 0 && j == 0 {
				first = got
			}
			var problem, asFirst wire.Problem
			decode(got.body, &problem)
			decode(first.body, &asFirst)
			if got.status != 401 || problem.Detail != asFirst.Detail || problem.Code != asFirst.Code {
				a.Errorf("GET %.60s at %s: %d %.300s, want 401 in the same words as everywhere: %s", path, p.name, got.status, got.body, first.body)
			}
		}
	}
}

// costlyWithoutToken: nothing of a body is read for a stranger.
func costlyWithoutToken(a *attack) {
	for what, head := range map[string]string{
		"withheld":     "Content-Length: 1000000",
		"without end":  "Transfer-Encoding: chunked",
		"short of one": "Content-Length: 2",
	} {
		text := "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head + "\r\n\r\n"
		conn := a.dial(a.n1.http)
		_, _ = io.WriteString(conn, text)
		status := make([]byte, len("HTTP/1.1 401"))
		if _, err := io.ReadFull(conn, status); err != nil || string(status) != "HTTP/1.1 401" {
			a.Errorf("a body %s: %q, %v", what, status, err)
		}
	}
}

// foreignPages are refused before anything else where no token keeps them out.
func foreignPages(a *attack) {
	for what, headers := range map[string][]string{
		"an origin":                 {"Origin", "http://evil.example"},
		"the origin null":           {"Origin", "null"},
		"an origin that is ours*":   {"Origin", "http://" + a.laptop.http + ".evil.example"},
		"another port":              {"Origin", "http://127.0.0.1:1"},
		"two origins":               {"Origin", "http://" + a.laptop.http, "Origin", "http://evil.example"},
		"a site":                    {"Sec-Fetch-Site", "cross-site"},
		"a sister":                  {"Sec-Fetch-Site", "same-site"},
		"a bound name":              {"Host", "evil.example"},
		"a bound name with a port":  {"Host", "evil.example:7380"},
		"a bound name with a dot":   {"Host", "evil.example."},
		"an address that goes on":   {"Host", "127.0.0.1.evil.example"},
		"loopback that goes on":     {"Host", "localhost.evil.example"},
		"a name within brackets":    {"Host", "[evil.example]"},
		"a name and its own origin": {"Host", "evil.example", "Origin", "http://evil.example"},
	} {
		for _, method := range []string{"GET", "POST"} {
			if got := a.asks(a.laptop, method, "/v1/components", map[string]string{"POST": `{"name":"evil"}`}[method], headers...); got.status != 403 && got.status != 400 {
				a.Errorf("%s by %s: %d %.200s, want 403", what, method, got.status, got.body)
			}
		}
	}
}

// otherSessions: who has all rights but not a session's secret is not that session, and who
// has a secret is its session only.
func otherSessions(a *attack) {
	with := func(secret string) []string { return append(a.bearer(), "X-Session", secret) }
	own := a.c.signIn(a.c.nodes[1], "allowed", 0)
	full := a.victim.FullName
	for what, secret := range map[string]string{
		"another's secret": own.Secret, "no secret": "", "the id alone": strings.Split(a.victim.Secret, ".")[0], "half a secret": a.victim.Secret[:len(a.victim.Secret)-1],
		"another's id": strings.Split(a.victim.Secret, ".")[0] + "." + strings.Split(own.Secret, ".")[1], "a path": "../" + a.victim.Secret, "a list": a.victim.Secret + "," + own.Secret,
		"the token": a.token, "4 KiB": strings.Repeat("s", 4096),
	} {
		for _, call := range [][2]string{{"PUT", "/heartbeat"}, {"GET", "/messages?wait=1ms"}, {"DELETE", ""}} {
			if secret == "" && call[0] == "DELETE" {
				continue // by force: a right of its own
			}
			got := a.asks(a.n1, call[0], "/v1/components/"+full+call[1], "", with(secret)...)
			if got.status != 401 && got.status != 403 && got.status != 404 && got.status != 400 {
				a.Errorf("%s with %s: %d %.200s", call[0], what, got.status, got.body)
			}
		}
	}
	// The victim is still there, by its own secret, at each coordinator.
	for _, p := range a.c.nodes {
		if got := a.asks(p, "PUT", "/v1/components/"+full+"/heartbeat", "", with(a.victim.Secret)...); got.status != 200 {
			a.Errorf("the victim's heartbeat at %s: %d %s", p.name, got.status, got.body)
		}
	}
	got := a.asks(a.n1, "POST", "/v1/components", `{"name":"victim"}`, a.bearer()...)
	if got.status != 409 || !strings.Contains(got.body, "name_taken") {
		a.Errorf("a live name signed in: %d %s", got.status, got.body)
	}
}

// otherKeys: an idempotency key says nothing about another's request.
func otherKeys(a *attack) {
	const key = "a key that is no secret 123"
	ok := func(k string) string { return strings.ReplaceAll(k, " ", "-") }
	signIn := func(name string) (in wire.SignedIn) {
		got := a.asks(a.n1, "POST", "/v1/components", `{"name":"`+name+`"}`, append(a.bearer(), "Idempotency-Key", ok(key))...)
		if got.status != 201 && got.status != 200 {
			a.Fatalf("sign %s in: %d %s", name, got.status, got.body)
		}
		decode(got.body, &in)
		return in
	}
	one, two := signIn("allowed-1"), signIn("allowed-2")
	if one.Secret == two.Secret || one.Session == two.Session {
		a.Errorf("one key gave the same session to two names: %+v and %+v", one, two)
	}
	if got := a.asks(a.n1, "POST", "/v1/components", `{"name":"victim"}`, append(a.bearer(), "Idempotency-Key", ok(key))...); got.status != 409 {
		a.Errorf("a known key with another's name: %d %s", got.status, got.body)
	}
	for _, in := range []wire.SignedIn{one, two} {
		a.asks(a.n1, "DELETE", "/v1/components/"+in.FullName, "", append(a.bearer(), "X-Session", in.Secret)...)
	}
}

// smuggling: what one server takes for one request is never two, and none of them is let in.
func smuggling(a *attack) {
	inner := "GET /v1/components HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + a.token + "\r\n\r\n"
	for what, text := range map[string]string{
		"two lengths":              "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
		"a length in words":        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
		"a length below none":      "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"two hosts":                "GET /v1/components HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"no host":                  "GET /v1/components HTTP/1.1\r\n\r\n",
		"chunks of an odd coding":  "POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
		"chunks by another name":   "POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"a header folded":          "GET /v1/components HTTP/1.1\r\nHost: x\r\nAuthorization:\r\n Bearer x\r\n\r\n",
		"a blank before the colon": "GET /v1/components HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n",
		"NUL in a header":          "GET /v1/components HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
		"HTTP/2 without a word":    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"HTTP/2 by upgrade":        "GET /v1/components HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		"HTTP/9":                   "GET /v1/components HTTP/9.9\r\nHost: x\r\n\r\n",
		"a TLS hello":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"CONNECT":                  "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n",
		"a whole URL":              "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
		// A body that hides a request with a good token: the length that counts is one only.
		"a request in a body nobody reads": fmt.Sprintf("POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"a request in a GET's body":        fmt.Sprintf("GET /v1/components HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"a request in chunks":              fmt.Sprintf("POST /v1/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
	} {
		got := a.throws(a.n1.http, text, true)
		if strings.Contains(got, "HTTP/1.1 2") || strings.Contains(got, "HTTP/1.1 101") || strings.Count(got, "HTTP/1.1 ") > 1 || strings.Contains(got, a.victim.FullName) {
			a.Errorf("%s was answered %.400q", what, got)
		}
	}
}
