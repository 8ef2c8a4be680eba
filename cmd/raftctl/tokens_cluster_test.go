package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// What tokens create prints is a file for --token-file.
func TestCreatedTokenIsATokenFile(t *testing.T) {
	ends := time.Date(2026, 12, 30, 10, 0, 0, 0, time.UTC)
	f := coordinator(t, map[string]any{
		"POST /tokens":      wire.Token{ID: "t_1", Token: "fmt_secret", Name: "bench\n#", Grants: []string{"write@lab1"}, Expires: &ends},
		"POST /tokens/join": wire.JoinToken{ID: "n4", Token: "fmj_secret", Expires: ends},
	})
	for want, args := range map[string][]string{
		"fmt_secret": {"tokens", "create", "--name", "bench", "--grant", "write@lab1", "--ttl", "720h"},
		"fmj_secret": {"tokens", "join", "--id", "n4", "--ttl", "5m"},
	} {
		code, out, stderr := raftctl(t, f, args...)
		if code != exitDone {
			t.Fatalf("%v: exit %d, %s", args, code, stderr)
		}
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := client.ReadTokenFile(path); err != nil || got != want {
			t.Errorf("%v printed %q, of which a token file is %q, %v", args, out, got, err)
		}
	}
	for _, args := range [][]string{{"--id", "n/4"}, {"--id", "n4", "--ttl", "0s"}, {"--id", "n4", "--ttl", "-5m"}, nil} {
		if code, _, stderr := raftctl(t, f, append([]string{"tokens", "join"}, args...)...); code != exitUsage {
			t.Errorf("tokens join %v: exit %d, %s", args, code, stderr)
		}
	}
	f.answers["POST /tokens/join"] = problem(400, wire.CodeInvalid, "ttl is from 1s to 1h0m0s, not 2h0m0s")
	if code, _, stderr := raftctl(t, f, "tokens", "join", "--id", "n4", "--ttl", "2h"); code != exitFailed || !strings.Contains(stderr, "not 2h0m0s") {
		t.Errorf("a time that the coordinator refuses: exit %d, %s", code, stderr)
	}
	if bodies := strings.Join(f.bodies, "\n"); !strings.Contains(bodies, `{"name":"bench","grants":["write@lab1"],"ttl":"720h0m0s"}`) || !strings.Contains(bodies, `{"id":"n4","ttl":"5m0s"}`) {
		t.Errorf("asked for %s", bodies)
	}
}

func TestTokensAreListedAndRevoked(t *testing.T) {
	used := ago(3 * time.Hour)
	f := coordinator(t, map[string]any{
		"GET /tokens": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("after") == "" {
				lines(`{"tokens":[{"id":"t_1","name":"ops","grants":["admin"],"created":"2026-11-01T00:00:00Z"}],"next":"t_1"}`)(w, r)
				return
			}
			lines(`{"tokens":[{"id":"t_2","name":"","grants":["read@*","cluster:read"]}]}`)(w, r)
		}),
		"GET /tokens/t_1":    wire.Token{ID: "t_1", Name: "ops", Grants: []string{"admin"}, LastUsed: &used},
		"GET /tokens/self":   wire.Token{ID: "t_2", Grants: []string{"read@*"}},
		"DELETE /tokens/t_1": wire.Token{ID: "t_1"},
	})
	code, out, stderr := raftctl(t, f, "tokens", "list")
	if code != exitDone || !strings.Contains(out, "t_1") || !strings.Contains(out, "read@* cluster:read") {
		t.Errorf("list: exit %d, %s%s", code, out, stderr)
	}
	if _, out, _ := raftctl(t, f, "tokens", "get", "t_1"); !strings.Contains(out, "3h") {
		t.Errorf("get does not tell when the token was used: %s", out)
	}
	if _, out, _ := raftctl(t, f, "tokens", "self", "-o", "name"); out != "token/t_2\n" {
		t.Errorf("self: %q", out)
	}
	if code, _, stderr := raftctl(t, f, "tokens", "revoke", "t_1"); code != exitUsage || !strings.Contains(stderr, "--yes") {
		t.Errorf("revoke without --yes: exit %d, %s", code, stderr)
	}
	if code, out, stderr := raftctl(t, f, "tokens", "revoke", "t_1", "--yes"); code != exitDone || !strings.Contains(out, "t_1 is revoked") {
		t.Errorf("revoke: exit %d, %s%s", code, out, stderr)
	}
}
