package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// A fresh token asks nobody, is another one each time, and its hash is that of the line.
func TestNewTokenAsksNobody(t *testing.T) {
	code, first, hash := raftctl(t, nil, "tokens", "new", "--hash")
	if code != exitDone || len(first) < 40 || !strings.HasPrefix(first, "fmt_") {
		t.Fatalf("exit %d, %q, %q", code, first, hash)
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(first)))
	if hash != "sha256:"+hex.EncodeToString(sum[:])+"\n" {
		t.Errorf("the hash of %q is printed as %q", first, hash)
	}
	if code, second, quiet := raftctl(t, nil, "tokens", "new"); code != exitDone || second == first || quiet != "" {
		t.Errorf("exit %d, %q again, stderr %q", code, second, quiet)
	}
}

// A refusal for want of a right says which token lacks what, and how it gets that.
func TestForbiddenSaysWhatIsMissing(t *testing.T) {
	asked := ""
	f := coordinator(t, map[string]any{
		"GET /jobs": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.RawQuery
			w.WriteHeader(http.StatusForbidden)
			lines(`{"status":403,"code":"forbidden","detail":"no","request_id":"r7","needs":"jobs:read@lab1","token":"t_1"}`)(w, r)
		}),
		"GET /leader": problem(http.StatusUnauthorized, wire.CodeUnauthorized, "no token"),
	})
	code, _, stderr := raftctl(t, f, "jobs", "list", "--namespace", "lab1")
	if asked != "namespace=lab1" {
		t.Errorf("it asked for %q, want the jobs of lab1 alone", asked)
	}
	if code != exitFailed || !strings.Contains(stderr, "t_1") || !strings.Contains(stderr, "--grant jobs:read@lab1") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if _, _, stderr := raftctl(t, f, "leader"); !strings.Contains(stderr, "no token was sent") {
		t.Errorf("without a token: %s", stderr)
	}
	if _, _, stderr := raftctl(t, f, "leader", "--token", "wrong"); !strings.Contains(stderr, "another token") {
		t.Errorf("with a wrong one: %s", stderr)
	}
}

// A list of which the token does not see all says so, but not to programs.
func TestFilteredListSaysSo(t *testing.T) {
	f := coordinator(t, map[string]any{"GET /workers": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Filtered", "true")
		lines(`{"workers":[]}`)(w, r)
	})})
	if _, _, stderr := raftctl(t, f, "workers", "list"); !strings.Contains(stderr, "only what this token may read") {
		t.Errorf("stderr %q", stderr)
	}
	if _, _, stderr := raftctl(t, f, "workers", "list", "-o", "json"); stderr != "" {
		t.Errorf("with -o json stderr is %q", stderr)
	}
}
