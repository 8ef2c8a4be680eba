//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/client/sessiontest"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv("WORKER_TEST_CHILD") != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// A token told on the command line or in the environment is used, and then not shown there.
func TestTokenIsHidden(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux shows it in /proc")
	}
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/session" {
			select {
			case got <- r.Header.Get("Authorization"):
			default:
			}
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	for _, c := range []struct{ args, env []string }{
		{args: []string{"--token", "told-no-one"}},
		{args: []string{"--token=told-no-one"}},
		{env: []string{"FOLKMOOT_TOKEN=told-no-one"}},
	} {
		child := exec.Command(os.Args[0], append(c.args, "--runtimes", "sh", "--addr", s.URL, "--dir", t.TempDir())...)
		child.Env = append([]string{"WORKER_TEST_CHILD=1", "PATH=" + os.Getenv("PATH")}, c.env...)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case auth := <-got:
			if auth != "Bearer told-no-one" {
				t.Errorf("%v: the sign-in came with %q", c, auth)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%v: no sign-in within 30 s", c)
		}
		for _, name := range []string{"environ", "cmdline"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", child.Process.Pid, name))
			if err != nil || bytes.Contains(b, []byte("told-no-one")) {
				t.Errorf("%v: its %s (%v) is %q, want no token", c, name, err, b)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		select { // what it sent while we looked
		case <-got:
		default:
		}
	}
}

// What is wrong with a command line is told by the name of the flag, and nobody is asked.
func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--bogus":            "--bogus",
		"extra":              "extra",
		"--slots 0":          "--slots",
		"--labels x":         "--labels",
		"--labels a=1,a=2":   "a is told twice",
		"--runtimes perl":    "--runtimes",
		"--log-level loud":   "--log-level",
		"--log-format xml":   "--log-format",
		"--addr ftp://x":     "--addr",
		"--token-file /none": "--token-file",
		"--ca /none":         "--ca",
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("worker %s: exit %d, stderr %q, want 2 and %q", args, code, errs.String(), want)
		}
	}
	t.Setenv("FOLKMOOT_SLOTS", "many")
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, strings.NewReader(""), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "FOLKMOOT_SLOTS") {
		t.Errorf("FOLKMOOT_SLOTS=many: exit %d, stderr %q, want 2 and the variable", code, errs.String())
	}
}

// Settings come from a file too, and config show says from where, without the token.
func TestConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "worker.yaml")
	show := func(text string) (int, string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		code := run(t.Context(), []string{"config", "show", "--origin", "--config", file}, strings.NewReader(""), &out, &out)
		return code, strings.Join(strings.Fields(out.String()), " ")
	}
	t.Setenv("FOLKMOOT_GROUP", "")
	if code, out := show("slots: 4\ntoken: told-no-one\ngroup: optics\n"); code != exitDone || !strings.Contains(out, "slots 4 file "+file) ||
		!strings.Contains(out, "group optics file") || strings.Contains(out, "told-no-one") {
		t.Errorf("config show: exit %d: %s", code, out)
	}
	if code, out := show("slot: 4\n"); code != exitUsage || !strings.Contains(out, file) || !strings.Contains(out, `unknown setting "slot": the nearest is "slots"`) {
		t.Errorf("an unknown key: exit %d: %s", code, out)
	}
}

func TestHelpHasAnExample(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, strings.NewReader(""), &out, &errs); code != exitDone || !strings.Contains(out.String(), "Examples:") {
		t.Errorf("--help: exit %d:\n%s", code, out.String())
	}
}

// The sign-in offers what the flags say; the end of the context is a sign-out and exit 0, a refusal is exit 1.
func TestSignIn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var in wire.Hello
	signedOut := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessiontest.Serve(r.Context(), t, w, r, sessiontest.Handler{Name: "n1.w", Call: func(method string, params json.RawMessage) (any, *wire.Error) {
			switch method {
			case "sign_in":
				if err := json.Unmarshal(params, &in); err != nil {
					t.Error(err)
				}
				if in.Name == "bad" {
					return nil, wire.Invalid("name", "not this one")
				}
				return wire.Welcome{SignedIn: wire.SignedIn{FullName: "n1.w", Session: "s", Secret: "x", Home: "n1", Lease: in.Lease}}, nil
			case "sync_parts":
				cancel() // it works: that is all
				return wire.SyncedParts{}, nil
			case "sign_out":
				signedOut = true
			}
			return nil, nil
		}})
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	code := run(ctx, strings.Fields("--name w --runtimes sh --slots 3 --labels disk=fast --host lab1 --group optics --addr "+s.URL), strings.NewReader(""), &out, &errs)
	if code != exitDone || !signedOut || out.String() != "n1.w signed in at n1\n" {
		t.Errorf("exit %d, signed out %v, stdout %q, stderr %q, want 0 after a sign-out", code, signedOut, out.String(), errs.String())
	}
	if in.Slots != 3 || strings.Join(in.Runtimes, ",") != "sh" || in.Labels["disk"] != "fast" || in.Place != (wire.Place{Host: "lab1", Group: "optics"}) {
		t.Errorf("signed in as %+v, want what the flags say", in)
	}
	if code := run(t.Context(), strings.Fields("--name bad --runtimes sh --addr "+s.URL), strings.NewReader(""), &out, &errs); code != exitRefused {
		t.Errorf("a refused sign-in: exit %d, want 1", code)
	}
}

// Who is refused for want of a token, or of a grant, is told which.
func TestRefusalForWantOfATokenSaysSo(t *testing.T) {
	for want, refusal := range map[string]*wire.Error{
		"--token-file":                         wire.Refuse(wire.CodeUnauthorized, "no"),
		"token t_1 has no grant for jobs:work": {Code: wire.CodeForbidden, Message: "no", Needs: "jobs:work@lab1", Token: "t_1"},
	} {
		if got := tokenHint(fmt.Errorf("sign in: %w", refusal)); !strings.Contains(got, want) {
			t.Errorf("%v: %q does not say %q", refusal.Code, got, want)
		}
	}
	for _, other := range []error{errors.New("no"), wire.Refuse(wire.CodeForbidden, "removed by an operator")} {
		if got := tokenHint(other); got != "" {
			t.Errorf("%v: %q", other, got)
		}
	}
}
