package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/wire"
)

// gauge waits until a number of the door is want.
func gauge(t *testing.T, api *httpapi.API, name string, want float64) {
	t.Helper()
	var got float64
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		families, err := api.Metrics().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == name {
				if got = f.GetMetric()[0].GetGauge().GetValue(); got == want {
					return
				}
			}
		}
		time.Sleep(5 * time.Millisecond) // between looks
	}
	t.Fatalf("%s is %v, want %v", name, got, want)
}

// 2,000 connections that send nothing, or have sent one request, keep nobody
// out; the longest silent give way.
func TestIdleConnectionsDoNotStopService(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.MaxConns, c.HeaderTimeout = 500, time.Minute })
	asked := dial(t, d.addr)
	if _, err := io.WriteString(asked, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := asked.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s := d.stream("/v1/events")
	s.until(": still here")
	conns := make([]net.Conn, 2000)
	for i := range conns {
		conns[i] = dial(t, d.addr)
	}
	d.do("GET", "/v1/status", "", "Connection", "close").wantStatus(200)
	d.signIn("laser")
	if e := s.event(); e.id != "8.0@c1" { // the busy one has stayed
		t.Errorf("the stream got %+v", e)
	}
	if _, err := io.Copy(io.Discard, asked); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the longest silent connection is still open")
	}
}

// A port full of busy connections turns new ones away at once.
func TestBusyConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.MaxConns, c.MaxStreams = 3, 10 })
	for range 3 {
		d.stream("/v1/events").until(": still here")
	}
	c := dial(t, d.addr)
	_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n") // it may be closed already
	if b, _ := io.ReadAll(c); len(b) != 0 {
		t.Errorf("a fourth connection was answered %q", b)
	}
}

// Streams and waiting reads are bounded together; plain calls go on.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.MaxStreams = 2 })
	d.stream("/v1/events").until(": still here")
	second := d.stream("/v1/events")
	second.until(": still here")
	for _, path := range []string{"/v1/events", "/v1/components?index=7&wait=1s"} {
		a := d.do("GET", path, "")
		a.wantProblem(429, wire.CodeBusy, "")
		if a.header.Get("Retry-After") != "5" {
			t.Errorf("%s: Retry-After %q", path, a.header.Get("Retry-After"))
		}
	}
	d.do("GET", "/v1/components", "").wantStatus(200)
	second.res.Body.Close()
	gauge(t, d.api, "folkmoot_http_streams", 1)
	d.do("GET", "/v1/components?index=7&wait=1ms", "").wantStatus(200)
}

// A reader that does not read is cut off and its place is free again.
func TestStuckReader(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.WriteTimeout = 100 * time.Millisecond })
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	big := wire.PartResult{State: "done", Error: strings.Repeat("x", 1<<20)}
	d.fake.change(func() {
		for range 64 {
			d.fake.results = append(d.fake.results, big)
		}
	})
	c := dial(t, d.addr)
	if _, err := io.WriteString(c, "GET /v1/jobs/j1/results?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	gauge(t, d.api, "folkmoot_http_streams", 0)
}

// A reader that takes its stream slowly gets all of it: the kernel tells of what
// was taken in large steps only.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) { c.WriteTimeout = time.Second })
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	const parts = 8
	d.fake.change(func() {
		for range parts {
			d.fake.results = append(d.fake.results, wire.PartResult{State: "done", Error: strings.Repeat("x", 1<<20)})
		}
	})
	c := dial(t, d.addr)
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
	if _, err := io.WriteString(c, "GET /v1/jobs/j1/results?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b, came := make([]byte, 16<<10), 0
	for came < parts<<20 {
		n, err := c.Read(b)
		if came += n; err != nil {
			t.Fatalf("after %d bytes of more than %d: %v", came, parts<<20, err)
		}
		time.Sleep(time.Duration(n) * time.Second / (768 << 10))
	}
}

// Callers choose paths and methods, so these are no labels.
func TestMetricsHaveNoForeignLabels(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("GET", "/v1/no/such/path", "")
	d.do("EVIL", "/v1/status", "")
	d.do("GET", "/v1/components/n1.secretname", "")
	families, err := d.api.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += " " + l.GetValue()
				for _, foreign := range []string{"EVIL", "such", "secretname"} {
					if strings.Contains(l.GetValue(), foreign) {
						t.Errorf("label %s=%q", l.GetName(), l.GetValue())
					}
				}
			}
			if m.GetCounter().GetValue() > 0 {
				seen[line] = true
			}
		}
	}
	for _, want := range []string{"folkmoot_http_requests_total GET none 4xx", "folkmoot_http_requests_total other none 4xx", "folkmoot_http_requests_total GET /v1/components/:full 4xx"} {
		if !seen[want] {
			t.Errorf("no %q in %v", want, seen)
		}
	}
}

// A door can be closed before it was opened, and without a Control there is
// none.
func TestCloseBeforeServe(t *testing.T) {
	t.Parallel()
	api, err := httpapi.New(httpapi.Config{Control: newFake()})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Serve(l); err != nil {
		t.Errorf("serve a closed door: %v", err)
	}
	if _, err := httpapi.New(httpapi.Config{}); err == nil {
		t.Error("a door without Control was made")
	}
}

// Who announces a body that nobody reads, and withholds it, is answered at once, and its
// connection keeps nobody out; what comes late of the body is no request.
func TestWithheldBodies(t *testing.T) {
	t.Parallel()
	for what, head := range map[string]string{
		"an unknown path":    "POST /v1/nothing HTTP/1.1\r\n",
		"a foreign page":     "POST /v1/components HTTP/1.1\r\nOrigin: http://evil.example\r\n",
		"a wrong type":       "POST /v1/components HTTP/1.1\r\nContent-Type: text/plain\r\n",
		"a read with a body": "GET /v1/status HTTP/1.1\r\n",
		"a body too large":   "POST /v1/components HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n",
		"chunks":             "POST /v1/nothing HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			const conns = 4
			d := serve(t, func(c *httpapi.Config) { c.MaxConns, c.ReadTimeout, c.WriteTimeout = conns, time.Hour, time.Hour })
			if !strings.Contains(head, "Length") && !strings.Contains(head, "chunked") {
				head += "Content-Length: 100\r\n"
			}
			for i := range 2 * conns {
				c := dial(t, d.addr)
				_, _ = io.WriteString(c, head+"Host: x\r\n\r\n")
				answer := make([]byte, 9)
				if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 " {
					t.Fatalf("connection %d was answered %q, %v", i, answer, err)
				}
				if i == 0 {
					_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
					if rest, _ := io.ReadAll(c); strings.Contains(string(rest), "HTTP/1.1") {
						t.Errorf("its body was answered, too: %q", rest)
					}
				}
			}
			d.do("GET", "/v1/status", "", "Connection", "close").wantStatus(200)
		})
	}
}
