package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) {
	// What a developer has set must not show in the tests.
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "FOLKMOOT_") {
			os.Unsetenv(name)
		}
	}
	dir, err := os.MkdirTemp("", "raftctl-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CONFIG_HOME", dir)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// fake is a coordinator that answers from a table of "METHOD /path".
type fake struct {
	*httptest.Server
	mu        sync.Mutex
	answers   map[string]any // a value for 200, an http.HandlerFunc for more
	requested []string
	bodies    []string
}

func coordinator(t *testing.T, answers map[string]any) *fake {
	t.Helper()
	f := &fake{answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	body.ReadFrom(r.Body)
	f.mu.Lock()
	f.requested = append(f.requested, r.Method+" "+r.URL.RequestURI())
	f.bodies = append(f.bodies, body.String())
	f.mu.Unlock()
	switch v := f.answers[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v1")].(type) {
	case http.HandlerFunc:
		v(w, r)
	case nil:
		problem(http.StatusNotFound, wire.CodeNotFound, "nothing at "+r.URL.Path)(w, r)
	default:
		w.Header().Set("X-Index", "812")
		json.NewEncoder(w).Encode(v)
	}
}

func (f *fake) requests() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.requested, "\n")
}

func problem(status int, code wire.Code, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(wire.Problem{Status: status, Code: code, Detail: detail, RequestID: "r7"})
	}
}

// raftctl runs one command line against f.
func raftctl(t *testing.T, f *fake, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if f != nil {
		args = append(args, "--addr", f.URL)
	}
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name; with -update it becomes that.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", name, got, want)
	}
}

func ago(d time.Duration) time.Time { return time.Now().Add(-d - 100*time.Millisecond) }

func lines(of ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, strings.Join(of, "\n")) }
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// watched runs a command line that ends with ctx.
func watched(ctx context.Context, f *fake, args ...string) (code int, stdout string) {
	var out, errs bytes.Buffer
	code = run(ctx, append(args, "--addr", f.URL), strings.NewReader(""), &out, &errs)
	return code, out.String()
}
