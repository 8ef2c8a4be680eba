package ops_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/folkmoot/folkmoot/httpapi/ops"
	"github.com/folkmoot/folkmoot/wire"
)

// health is what the probes are answered from.
type health struct {
	live    error
	ready   bool
	started bool
}

// server is an operator's server that listens.
type server struct {
	t      *testing.T
	addr   string
	client *http.Client
}

func serve(t *testing.T, h *health, change ...func(*ops.Config)) *server {
	t.Helper()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector())
	cfg := ops.Config{
		Live:      func() error { return h.live },
		Ready:     func() (bool, string) { return h.ready, "catching up: 7 of 9" },
		Started:   func() (bool, string) { return h.started, "reading the snapshot" },
		Gatherers: []prometheus.Gatherer{metrics},
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := ops.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := errors.Join(s.Close(context.Background()), <-served); err != nil {
			t.Error(err)
		}
	})
	return &server{t: t, addr: l.Addr().String(), client: client}
}

// get asks for a path by the host name "" (the address) and expects a status; it
// returns the body.
func (s *server) get(path string, status int, change ...func(*http.Request)) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range change {
		c(r)
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != status {
		s.t.Errorf("GET %s: %s, want %d: %.300s", path, res.Status, status, body)
	}
	if id := res.Header.Get("X-Request-Id"); id == "" {
		s.t.Errorf("GET %s: the answer has no X-Request-Id", path)
	}
	return string(body)
}

// refused is get for an answer that is a problem of that code.
func (s *server) refused(path string, status int, code wire.Code, change ...func(*http.Request)) wire.Problem {
	s.t.Helper()
	body := s.get(path, status, change...)
	var p wire.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Code != code || p.Status != status {
		s.t.Errorf("GET %s: %s (%v), want a problem of code %s", path, body, err, code)
	}
	return p
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

// The operator's server tells life, readiness, start, metrics and profiles.
func TestProbesMetricsAndProfiles(t *testing.T) {
	t.Parallel()
	h := &health{}
	s := serve(t, h)
	if body := s.get("/livez", 200); body != "ok\n" {
		t.Errorf("/livez says %q", body)
	}
	if p := s.refused("/readyz", 503, wire.CodeUnavailable); p.Detail != "catching up: 7 of 9" {
		t.Errorf("not ready since %q", p.Detail)
	}
	if p := s.refused("/startupz", 503, wire.CodeUnavailable); p.Detail != "reading the snapshot" {
		t.Errorf("not started since %q", p.Detail)
	}
	h.live, h.ready, h.started = errors.New("the disk hangs"), true, true
	if p := s.refused("/livez", 503, wire.CodeUnavailable); p.Detail != "the disk hangs" {
		t.Errorf("not alive since %q", p.Detail)
	}
	s.get("/readyz", 200)
	s.get("/startupz", 200)
	if body := s.get("/metrics", 200); !strings.Contains(body, "go_goroutines") {
		t.Error("/metrics has no go_goroutines")
	}
	s.get("/debug/pprof/", 200)
	s.get("/debug/pprof/goroutine?debug=1", 200)
	for _, path := range []string{"profile?seconds=601", "trace?seconds=1e30", "heap?seconds=NaN", "profile?seconds=-1"} {
		s.refused("/debug/pprof/"+path, 400, wire.CodeInvalid)
	}
	s.refused("/v1/status", 404, wire.CodeNotFound)
	s.refused("/livez", 405, wire.CodeInvalid, func(r *http.Request) { r.Method = "POST" })
}

// Probes and scrapers know the server by many names; a page of another site is
// refused.
func TestAnyHostNoForeignPage(t *testing.T) {
	t.Parallel()
	s := serve(t, &health{ready: true})
	s.get("/metrics", 200, host("n1.lab.example"))
	s.get("/readyz", 200, host("n1.lab.example:7390"))
	s.refused("/metrics", 403, wire.CodeForbidden, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") })
}

// A server needs its probes.
func TestNoServerWithoutProbes(t *testing.T) {
	t.Parallel()
	if _, err := ops.New(ops.Config{}); err == nil {
		t.Error("a server without probes was made")
	}
}

// Neither callers who withhold a body that they announced nor such who read no answer
// keep a probe out.
func TestBusyCallersKeepNoProbeOut(t *testing.T) {
	t.Parallel()
	const conns = 8
	s := serve(t, &health{}, func(c *ops.Config) { c.MaxConns = conns })
	for what, request := range map[string]string{
		"bodies withheld": "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"answers unread":  strings.Repeat("GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\nHost: x\r\n\r\n", 200),
	} {
		for range 2 * conns {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
			_, _ = io.WriteString(c, request)
		}
		t.Log(what)
		for range 5 {
			s.get("/livez", 200, func(r *http.Request) { r.Close = true })
		}
	}
}
