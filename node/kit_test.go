package node_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
)

// tokenFile writes a file of tokens, one a line.
func tokenFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clientOf is a client of coordinators that have no TLS; "" is no token.
func clientOf(t *testing.T, token string, nodes ...*node.Node) *client.Client {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addrs().HTTP)
	}
	c, err := client.New(client.Config{Addrs: addrs, Token: token, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits for what must come about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

// metric returns the lines of a scrape that begin so.
func metric(t *testing.T, n *node.Node, prefix string) (lines []string) {
	t.Helper()
	resp, err := http.Get("http://" + n.Addrs().Ops + "/metrics")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// restAsker asks one coordinator over REST.
type restAsker struct {
	t      *testing.T
	client *http.Client
	at     string // scheme and address
}

// restOf asks a coordinator that has no TLS.
func restOf(t *testing.T, n *node.Node) restAsker {
	return restAsker{t, &http.Client{Timeout: time.Minute}, "http://" + n.Addrs().HTTP}
}

// ask returns the answer, whose body is to be closed. Headers are name, value, name, value; what is "" is not sent.
func (a restAsker) ask(method, path, token, body string, headers ...string) *http.Response {
	a.t.Helper()
	rq, err := http.NewRequestWithContext(a.t.Context(), method, a.at+"/v1"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body != "" {
		rq.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		rq.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			rq.Header.Set(headers[i], headers[i+1])
		}
	}
	rs, err := a.client.Do(rq)
	if err != nil {
		a.t.Fatal(err)
	}
	return rs
}

// do returns the status and the whole body of the answer.
func (a restAsker) do(method, path, token, body string, headers ...string) (int, string) {
	a.t.Helper()
	rs := a.ask(method, path, token, body, headers...)
	defer rs.Body.Close()
	text, err := io.ReadAll(rs.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return rs.StatusCode, string(text)
}
