package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a coordinator: a handler that counts what it was asked.
type answers struct {
	mu    sync.Mutex
	asked []string
	h     http.HandlerFunc
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.Method+" "+r.URL.Path)
	a.mu.Unlock()
	a.h(w, r)
}

func (a *answers) times() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// coordinator serves h on a real port.
func coordinator(t *testing.T, h http.HandlerFunc) (*httptest.Server, *answers) {
	t.Helper()
	a := &answers{h: h}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return s, a
}

// deadAddr is an address at which nobody listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

func dial(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func say(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Index", "812")
	w.Header().Set("X-Leader", "n2")
	w.Header().Set("X-Consistency", "default")
	w.Header().Set("X-Stale-Ms", "3")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code wire.Code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(wire.Problem{Status: status, Code: code, Detail: detail, RequestID: "r1"})
}

func wantCode(t *testing.T, err error, want wire.Code, when string) {
	t.Helper()
	if got := wire.CodeOf(err); got != want {
		t.Fatalf("%s: got code %q (%v), want %q", when, got, err, want)
	}
}

// inMemory carries requests to handlers by host name without a network, so that a test can run in a bubble of synctest.
type inMemory struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
}

func (m *inMemory) set(host string, h http.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hosts[host] = h
}

func (m *inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	h := m.hosts[r.URL.Hostname()]
	m.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("dial %s: connection refused: %w", r.URL.Hostname(), client.ErrNotSent)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	pr, pw := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pw: pw, begun: make(chan int, 1)}
	// The handler ends with its request, as a server's does.
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				w.WriteHeader(http.StatusOK)
				pw.CloseWithError(errors.New("connection reset"))
				return
			}
			w.WriteHeader(http.StatusOK)
			pw.Close()
		}()
		h.ServeHTTP(w, r)
	}()
	select {
	case status := <-w.begun:
		stop := context.AfterFunc(r.Context(), func() { pr.CloseWithError(r.Context().Err()) })
		return &http.Response{
			StatusCode: status, Status: http.StatusText(status), Header: w.header, Request: r,
			Body: struct {
				io.Reader
				io.Closer
			}{pr, closer(func() error { stop(); return pr.Close() })},
		}, nil
	case <-r.Context().Done():
		pr.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
}

// remote is a client of coordinators in memory; an address that is not among them refuses connections.
func remote(t *testing.T, cfg client.Config, hosts map[string]http.HandlerFunc) *client.Client {
	t.Helper()
	m := &inMemory{hosts: map[string]http.Handler{}}
	for id, h := range hosts {
		m.set(id, h)
	}
	cfg.HTTPClient = &http.Client{Transport: m}
	return dial(t, cfg)
}

type closer func() error

func (c closer) Close() error { return c() }

type pipeWriter struct {
	header http.Header
	pw     *io.PipeWriter
	once   sync.Once
	begun  chan int
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() { w.begun <- status })
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pw.Write(b)
}
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}
