package node_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// hashedToken is one of the token file, which has only its hash.
const hashedToken = "another-token-that-nobody-guesses-in-time"

// operation is one of the contract, as far as rights go.
type operation struct {
	ID             string          `json:"operationId"`
	Right          string          `json:"x-right"`
	RightNoSession string          `json:"x-right-without-session"`
	Scope          string          `json:"x-scope"`
	Body           json.RawMessage `json:"requestBody"`
	Parameters     []struct {
		Name, In string
	} `json:"parameters"`

	method, path string
	noSession    bool // it is asked without X-Session
	named        bool // it is asked for the rows of one namespace
}

// contract is the part of the OpenAPI document that the matrix is made from.
type contract struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"schemas"`
	} `json:"components"`
}

// operations returns all of a contract; one that has another right without a session is there twice, and so is one that
// lists the rows of a namespace if that is named.
func (c *contract) operations(t *testing.T) (all []operation) {
	t.Helper()
	for path, methods := range c.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			op := operation{method: strings.ToUpper(method), path: path}
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			all = append(all, op)
			if op.RightNoSession != "" {
				op.Right, op.noSession = op.RightNoSession, true
				all = append(all, op)
			}
			for _, p := range op.Parameters {
				if p.In == "query" && p.Name == "namespace" {
					op.named = true
					all = append(all, op)
				}
			}
		}
	}
	return all
}

func (o *operation) String() string {
	if o.noSession {
		return o.method + " " + o.path + " without X-Session"
	}
	if o.named {
		return o.method + " " + o.path + "?namespace="
	}
	return o.method + " " + o.path
}

// bodies are what an operation with a body is asked with, by its id; NS is the namespace. None of them changes anything for
// whoever may ask it: something behind the judgement of the right is wrong in each.
var bodies = map[string]string{
	"signIn":          `{"name":"not.a.name","namespace":"NS"}`,
	"send":            `{"to":"NS.nobody","content":1}`,
	"call":            `[]`,
	"submit":          `{"runtime":"none","script":"true","namespace":"NS"}`,
	"addMember":       `{"address":"no address"}`,
	"transfer":        `{"to":"nobody"}`,
	"createToken":     `{"grants":[]}`,
	"createJoinToken": `{"id":""}`,
	"signCertificate": `{"csr":"none"}`,
	"setLevel":        `{"level":0}`,
	"restore":         `{}`,
	"setAutopilot":    `{"min_voters":-1}`,
}

// bearer is a kind of token, and what may be done by it.
type bearer struct {
	name, token string
	known       bool
	join        bool     // it is a join token, and good
	grants      []string // "admin" is everything
}

// contained has what a right contains, itself apart, written down here a second time.
var contained = map[string][]string{
	"components:write": {"components:read"}, "jobs:write": {"jobs:read"}, "cluster:write": {"cluster:read"},
	"services:write": {"services:read"}, "locks:write": {"locks:read"}, "flows:write": {"flows:read"},
	"read":  {"components:read", "jobs:read", "services:read", "locks:read", "flows:read"},
	"write": {"read", "components:write", "jobs:write", "services:write", "locks:write", "flows:write", "messages:send", "jobs:work"},
}

// covers reports whether a grant is of a right in a namespace ("": of a right that has none; "?": in any one).
func covers(grant, right, namespace string) bool {
	held, in, scoped := strings.Cut(grant, "@")
	switch {
	case !scoped && held == "admin":
		return true
	case scoped && namespace == "" || !scoped && namespace != "" || scoped && in != "*" && in != namespace && namespace != "?":
		return false
	case held == right:
		return true
	case held == "admin" && right != "admin":
		held = "write"
	}
	return held == right || slices.ContainsFunc(contained[held], func(inner string) bool {
		return inner == right || slices.Contains(contained[inner], right)
	})
}

func (b *bearer) may(right, namespace string) bool {
	return right == "any" || slices.ContainsFunc(b.grants, func(g string) bool { return covers(g, right, namespace) })
}

// namespaceOf is where the right of an operation is needed.
func namespaceOf(op *operation, asked string) string {
	clustered := strings.HasPrefix(op.Right, "cluster:") || op.Right == "admin" && op.Scope == "none" || op.Right == "any"
	switch {
	case clustered:
		return ""
	case op.Scope == "rows" && !op.named:
		return "?"
	}
	return asked
}

// verdict is what an answer comes to.
type verdict struct {
	Outcome  string // unauthorized, forbidden, gone or allowed
	Needs    string
	Filtered bool
}

// expected is what the contract promises a bearer.
func expected(b *bearer, op *operation, asked string) verdict {
	switch {
	case op.Right == "join" && b.join:
		return verdict{Outcome: "allowed"}
	case !b.known:
		return verdict{Outcome: "unauthorized"}
	case op.Right == "join": // which no grant is, not even admin
		return verdict{Outcome: "forbidden", Needs: "join"}
	case op.Right == "events":
		rights := []string{"components:read", "jobs:read", "services:read", "locks:read", "flows:read"}
		if !slices.ContainsFunc(rights, func(r string) bool { return b.may(r, "?") }) && !b.may("cluster:read", "") {
			return verdict{Outcome: "forbidden", Needs: "read@*"}
		}
		all := b.may("cluster:read", "")
		for _, r := range rights {
			all = all && b.seesAll(r)
		}
		return verdict{Outcome: "allowed", Filtered: !all}
	}
	namespace := namespaceOf(op, asked)
	if b.may(op.Right, namespace) {
		counts := op.ID == "status" && !(b.seesAll("components:read") && b.seesAll("jobs:read")) // which leave out what is not seen
		return verdict{Outcome: "allowed", Filtered: counts || op.Scope == "rows" && !b.seesAll(op.Right)}
	}
	needs := op.Right
	switch {
	case op.Scope == "row" && !b.may(strings.Replace(op.Right, ":write", ":read", 1), namespace) && b.may(op.Right, "?"):
		return verdict{Outcome: "gone"}
	case op.Scope == "row" && !b.may(op.Right, "?"):
		needs += "@*" // it may do that nowhere: nothing is looked up
	case namespace == "?":
		needs += "@*"
	case namespace != "":
		needs += "@" + namespace
	}
	return verdict{Outcome: "forbidden", Needs: needs}
}

// seesAll reports whether a bearer has a right in every namespace.
func (b *bearer) seesAll(right string) bool {
	return slices.ContainsFunc(b.grants, func(g string) bool {
		_, in, scoped := strings.Cut(g, "@")
		return (!scoped || in == "*") && covers(g, right, "*")
	})
}

// matrix asks every operation as every bearer.
type matrix struct {
	t         *testing.T
	client    *http.Client
	tls       *tls.Config // nil: plain text
	scheme    string
	addrs     []string
	secret    string // of a session
	job       string // a job's id
	jobIn     string // its namespace
	namespace string
	// jobsHaveNamespaces: a submission names one; else every job is of "default".
	jobsHaveNamespaces bool
}

// coordinator is asked over REST.
func (m *matrix) coordinator(addr string) restAsker { return restAsker{m.t, m.client, m.scheme + addr} }

// ask returns what a coordinator answers, and its text.
func (m *matrix) ask(addr string, op *operation, b *bearer) (verdict, string) {
	m.t.Helper()
	id := "nobody"
	if strings.HasPrefix(op.path, "/jobs") {
		id = m.job
	}
	path := strings.NewReplacer("{full}", m.namespace+".nobody", "{id}", id, "{method}", "pong").Replace(op.path)
	if op.named {
		path += "?namespace=" + m.namespace
	}
	body := ""
	if op.Body != nil {
		text, ok := bodies[op.ID]
		if !m.jobsHaveNamespaces && op.ID == "submit" {
			text = strings.Replace(text, `,"namespace":"NS"`, "", 1)
		}
		if !ok {
			m.t.Fatalf("%s takes a body: write into bodies what %s is asked with", op, op.ID)
		}
		body = strings.ReplaceAll(text, "NS", m.namespace)
	}
	session := m.secret
	if op.noSession {
		session = ""
	}
	rs := m.coordinator(addr).ask(op.method, path, b.token, body, "X-Session", session)
	defer rs.Body.Close()
	if rs.StatusCode < 300 {
		return verdict{Outcome: "allowed", Filtered: rs.Header.Get("X-Filtered") == "true"}, "" // a stream need not end
	}
	text, err := io.ReadAll(rs.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	var p wire.Problem
	if err := json.Unmarshal(text, &p); err != nil {
		m.t.Fatalf("%s as %s: %d %s: %v", op, b.name, rs.StatusCode, text, err)
	}
	said := fmt.Sprintf("%d %s", rs.StatusCode, text)
	switch {
	case rs.StatusCode == http.StatusUnauthorized:
		if rs.Header.Get("WWW-Authenticate") != "Bearer" {
			m.t.Errorf("%s as %s: 401 without WWW-Authenticate: Bearer", op, b.name)
		}
		return verdict{Outcome: "unauthorized"}, said
	case p.Code == wire.CodeForbidden && p.Needs != "":
		if strings.HasPrefix(b.name, "grant") && !strings.HasPrefix(p.Token, "t_") {
			m.t.Errorf("%s as %s: 403 without the id of the token", op, b.name)
		}
		return verdict{Outcome: "forbidden", Needs: p.Needs}, said
	case op.Scope == "row" && rs.StatusCode == http.StatusNotFound:
		return verdict{Outcome: "gone"}, said
	}
	return verdict{Outcome: "allowed", Filtered: op.Scope == "rows" && rs.Header.Get("X-Filtered") == "true"}, said
}

// startMatrix starts two coordinators, n1 the leader of one of them, that ask for tokens, and returns what asks both; by
// the client everything may be done. With an authority they have TLS.
func startMatrix(t *testing.T, ca *authority.CA, each func(*node.Config)) (*matrix, []*node.Node, *client.Client) {
	t.Helper()
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(hashedToken))
	file := tokenFile(t, token, "sha256:"+hex.EncodeToString(sum[:]))
	peers := freeAddrs(t, 2)
	var nodes []*node.Node
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	m := &matrix{t: t, client: &http.Client{Transport: transport, Timeout: time.Minute}, scheme: "http://", namespace: "n1"}
	if ca != nil {
		m.tls, m.scheme, transport.TLSClientConfig = trusting(ca), "https://", trusting(ca)
	}
	t.Cleanup(m.client.CloseIdleConnections)
	for i, id := range []string{"n1", "n2"} {
		cfg := node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: peers[i], Join: peers, Expect: 2, TokenFile: file,
			HeartbeatTimeout: 5 * time.Second, ElectionTimeout: 5 * time.Second, // a busy machine is no reason for another leader
		}
		if ca != nil {
			cfg.TLSDir = ownCA(t, ca)
		}
		if each != nil {
			each(&cfg)
		}
		n := run(t, cfg)
		nodes = append(nodes, n)
		m.addrs = append(m.addrs, n.Addrs().HTTP)
	}
	ready(t, nodes...)
	operator, err := client.New(client.Config{Addrs: m.addrs, Token: token, TLS: m.tls, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(operator.Close)
	return m, nodes, operator
}

// everywhere waits until every coordinator has what was written at an index.
func (m *matrix) everywhere(index uint64) {
	m.t.Helper()
	for _, addr := range m.addrs {
		here, err := client.New(client.Config{Addrs: []string{addr}, Token: token, TLS: m.tls, Timeout: time.Minute})
		if err != nil {
			m.t.Fatal(err)
		}
		if _, _, err := here.Namespaces(m.t.Context(), client.Read{Index: index}); err != nil {
			m.t.Fatal(err)
		}
		here.Close()
	}
}

// Every operation of the contract answers every kind of token as its x-right and x-scope promise, at the leader and at a
// follower alike.
func TestEveryRouteAndEveryKindOfToken(t *testing.T) {
	t.Parallel()
	m, nodes, operator := startMatrix(t, newAuthority(t), nil)
	session, _, err := operator.SignIn(t.Context(), wire.SignIn{Name: "asking", Lease: wire.Duration(10 * time.Minute)}, "")
	if err != nil {
		t.Fatal(err)
	}
	job, meta, err := operator.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "true", Items: rawItems("1")})
	if err != nil {
		t.Fatal(err)
	}
	m.everywhere(meta.Index)
	m.secret, m.job, m.jobIn = session.Secret, job.ID, "default"

	var doc contract
	if code, text := m.coordinator(m.addrs[0]).do("GET", "/openapi.json", token, ""); code != 200 || json.Unmarshal([]byte(text), &doc) != nil {
		t.Fatalf("the contract: %d %.200s", code, text)
	}
	sum := sha256.Sum256([]byte(hashedToken))
	_, m.jobsHaveNamespaces = doc.Components.Schemas["SubmitJob"].Properties["namespace"]
	bearers := []bearer{
		{name: "no token"},
		{name: "a wrong token", token: "some-other-token-of-no-use-at-all"},
		{name: "the hash of a token", token: hex.EncodeToString(sum[:])},
		{name: "a token of the file", token: token, known: true, grants: []string{"admin"}},
		{name: "a token whose hash is in the file", token: hashedToken, known: true, grants: []string{"admin"}},
	}
	bearers = append(bearers, m.tokens(operator)...)
	m.judge(doc.operations(t), bearers)
	for _, n := range nodes {
		m.judgeSignIns(n.Addrs(), bearers)
	}
}

// tokens makes one token for each grant, here and elsewhere, one that is revoked and one that expires.
func (m *matrix) tokens(operator *client.Client) (all []bearer) {
	m.t.Helper()
	status, _, err := operator.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	if status.Level < 2 { // then there are none in the state
		_, _, err := operator.CreateToken(m.t.Context(), wire.NewToken{Grants: []string{"admin"}})
		if wire.CodeOf(err) != wire.CodeConflict {
			m.t.Errorf("a token at level %d: got %v, want conflict", status.Level, err)
		}
	}
	for _, before := range []int{status.Level, 2} { // and once more, which changes nothing
		raised, _, err := operator.RaiseLevel(m.t.Context(), 2)
		if err != nil || raised.Before != before || raised.Level != 2 {
			m.t.Fatalf("raise the level: %+v, %v, want %d before and 2 now", raised, err, before)
		}
	}
	grants := []string{"admin", "cluster:read", "cluster:write"}
	for _, right := range []string{
		"components:read", "components:write", "messages:send", "services:read", "services:write", "locks:read", "locks:write", "flows:read",
		"flows:write", "flows:send", "jobs:read", "jobs:write", "jobs:work", "read", "write", "admin",
	} {
		for _, in := range []string{m.namespace, "elsewhere", m.jobIn, "*"} {
			grants = append(grants, right+"@"+in)
		}
	}
	var newest uint64
	create := func(name string, in wire.NewToken) wire.Token {
		made, meta, err := operator.CreateToken(m.t.Context(), in)
		if err != nil {
			m.t.Fatalf("make %s: %v", name, err)
		}
		newest = max(newest, meta.Index)
		return made
	}
	for _, grant := range grants {
		all = append(all, bearer{name: "grant " + grant, token: create(grant, wire.NewToken{Grants: []string{grant}}).Token, known: true, grants: []string{grant}})
	}
	if m.tls != nil { // else nobody has a certificate
		join, meta, err := operator.CreateJoinToken(m.t.Context(), wire.NewJoinToken{ID: "n9"})
		if err != nil {
			m.t.Fatal(err)
		}
		newest = max(newest, meta.Index)
		all = append(all, bearer{name: "a join token", token: join.Token, join: true}, bearer{name: "a damaged join token", token: join.Token + "_"})
	}
	revoked := create("one to be revoked", wire.NewToken{Grants: []string{"admin"}})
	meta, err := operator.RevokeToken(m.t.Context(), revoked.ID)
	if err != nil {
		m.t.Fatal(err)
	}
	expired := create("one that expires", wire.NewToken{Grants: []string{"admin"}, TTL: wire.Duration(time.Second)})
	time.Sleep(time.Until(*expired.Expires) + time.Millisecond)
	m.everywhere(max(newest, meta.Index))
	return append(all, bearer{name: "a revoked token", token: revoked.Token}, bearer{name: "an expired token", token: expired.Token})
}

// judgeSignIns signs in as every bearer at the doors of native sessions, also as one that offers to work.
func (m *matrix) judgeSignIns(at node.Addrs, bearers []bearer) {
	for i := range bearers {
		b := &bearers[i]
		for _, runtimes := range [][]string{nil, {"sh"}} {
			op := operation{Right: "components:write", Scope: "body"}
			want := expected(b, &op, m.namespace)
			if op = (operation{Right: "jobs:work", Scope: "rows"}); want.Outcome == "allowed" && runtimes != nil {
				want = expected(b, &op, m.namespace)
				want.Filtered = false
			}
			in := wire.SignIn{Name: fmt.Sprintf("as-%d", i), Namespace: m.namespace, Runtimes: runtimes, Slots: len(runtimes)}
			for door, dial := range map[string]func(context.Context) (*client.Session, error){
				"native": func(ctx context.Context) (*client.Session, error) {
					return client.Dial(ctx, client.Component{Addrs: []string{at.Component}, SignIn: in, Token: b.token, TLS: m.tls, Timeout: time.Minute})
				},
				"ws": func(ctx context.Context) (*client.Session, error) {
					c, err := client.New(client.Config{Addrs: []string{at.HTTP}, Token: b.token, TLS: m.tls})
					if err != nil {
						return nil, err
					}
					m.t.Cleanup(c.Close)
					return c.Dial(ctx, client.Component{SignIn: in, Timeout: time.Minute})
				},
			} {
				if got, err := signInAs(m.t.Context(), dial); got != want {
					m.t.Errorf("sign in at %s of %s with runtimes %v as %s: got %+v, want %+v: %v", door, at.ID, runtimes, b.name, got, want, err)
				}
			}
		}
	}
}

// signInAs signs in, and out again.
func signInAs(ctx context.Context, dial func(context.Context) (*client.Session, error)) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := dial(ctx)
	if err == nil {
		return verdict{Outcome: "allowed"}, s.Close(ctx)
	}
	refusal := (*wire.Error)(nil)
	switch errors.As(err, &refusal); {
	case refusal == nil:
		return verdict{Outcome: "no refusal"}, err
	case refusal.Code == wire.CodeUnauthorized:
		return verdict{Outcome: "unauthorized"}, err
	case refusal.Code == wire.CodeForbidden:
		return verdict{Outcome: "forbidden", Needs: refusal.Needs}, err
	}
	return verdict{Outcome: "allowed"}, err
}

// judge asks every operation at every coordinator as every bearer.
func (m *matrix) judge(ops []operation, bearers []bearer) {
	for i := range ops {
		op := &ops[i]
		in := m.namespace
		if strings.HasPrefix(op.path, "/jobs") && (op.Scope == "row" || !m.jobsHaveNamespaces) {
			in = m.jobIn
		}
		for j := range bearers {
			b := &bearers[j]
			want := expected(b, op, in)
			for _, addr := range m.addrs {
				if got, said := m.ask(addr, op, b); got != want {
					m.t.Errorf("%s as %s at %s: got %+v, want %+v: %s", op, b.name, addr, got, want, said)
				}
			}
		}
	}
}
