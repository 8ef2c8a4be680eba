package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/wire"
)

// Exit codes tell scripts what happened, and stderr tells people what was asked of whom.
func TestExitCodes(t *testing.T) {
	f := coordinator(t, map[string]any{
		"GET /leader":              wire.Leader{ID: "n1"},
		"GET /members":             wire.Members{ConfigIndex: 41, Members: []wire.Member{{ID: "n1", Suffrage: "voter"}, {ID: "n2", Suffrage: "nonvoter"}}},
		"DELETE /members/n9":       problem(409, wire.CodeConflict, "it is the last voter"),
		"DELETE /components/n1.x":  problem(504, wire.CodeUnknown, "leadership lost"),
		"POST /members":            problem(503, wire.CodeUnavailable, "no leader"),
		"GET /components":          problem(503, wire.CodeUnavailable, "no leader"),
		"GET /jobs":                problem(401, wire.CodeUnauthorized, "no token"),
		"POST /members/n2/promote": problem(500, wire.CodeInternal, "fault"),
		"GET /workers":             problem(500, wire.CodeInternal, "fault"),
		"GET /namespaces":          problem(429, wire.CodeBusy, "too many"),
		"DELETE /jobs/j1":          wire.Job{ID: "j1", State: "cancelled"},
		"DELETE /jobs/j2":          wire.Job{ID: "j2", State: "done"},
		"POST /members/n2/demote":  map[string]string{"id": "n2"},
		"DELETE /components/n1.y":  map[string]any{"full_name": "n1.y", "index": 5},
		"GET /autopilot":           autopilotOf(false),
		"PUT /autopilot":           autopilotOf(true),
		"POST /leader/transfer":    wire.Leader{ID: "n2", Term: 5},
		"POST /level":              wire.RaisedLevel{Before: 1, Level: 2, Index: 9},
		"GET /level":               wire.Level{Level: 1, Known: 2, Members: []wire.MemberLevel{{ID: "n1", ServerID: "n1/a", Level: 2}, {ID: "n2", ServerID: "n2/a"}}},
	})
	for _, tc := range []struct {
		cmd    string
		code   int
		out    string // exact, if not empty
		stderr string // contained
	}{
		{"leader -o name", exitDone, "member/n1\n", ""},
		{"jobs cancel j1", exitDone, "job j1 cancelled\n", ""},
		{"jobs forget j2 -y", exitDone, "job j2 forgotten\n", ""},
		{"jobs forget j2", exitUsage, "", "--yes"},
		{"jobs forget nobody -y", exitFailed, "", "not_found"},
		{"members demote n2", exitDone, "member n2 demoted\nbefore: n1 voter, n2 nonvoter (configuration 41)\nafter:  n1 voter, n2 nonvoter (configuration 41)\n", ""},
		{"autopilot health", exitFailed, "", "not healthy; no voter may fail"},
		{"autopilot set dead_after=1h min_voters=3", exitDone, "cleanup_dead=true dead_after=1h0m0s min_voters=3 stabilization=10s max_lag=250\n", ""},
		{"autopilot set dead_after", exitUsage, "", "want dead_after=VALUE"},
		{"autopilot set dead_after=soon", exitUsage, "", "dead_after=soon"},
		{"autopilot set colour=red", exitUsage, "", "the settings are"},
		{"members demote n2 --force n1", exitUsage, "", "--force n2"},
		{"members demote n2 -o json", exitDone, `{"id":"n2"}` + "\n", ""},
		{"components remove n1.y --yes --reason old", exitDone, "component n1.y removed\n", ""},
		{"leader transfer --to n2", exitDone, "n2 leads, in term 5\n", ""},
		{"level raise", exitDone, "level 1 before, 2 now\n", ""},
		{"level raise --to 2 -o name", exitDone, "level/2\n", ""},
		{"level raise --to 0", exitUsage, "", "at least 1"},
		{"level get -o name", exitDone, "level/1\n", ""},
		{"members remove n9 --yes", exitFailed, "", "raftctl members remove: DELETE /v1/members/n9 at " + hostOf(f) + ": conflict: it is the last voter"},
		{"components get n1.none", exitFailed, "", "not_found"},
		{"jobs list", exitFailed, "", "token"},
		{"workers list", exitFailed, "", "request r7"},
		{"namespaces list", exitFailed, "", "busy"},
		{"members add n4:7300 --timeout 300ms", exitUnavailable, "", "no leader"},
		{"members add n4:7300 --timeout 300ms", exitUnavailable, "", "nothing was done: it is safe to repeat it\na leader needs more than half of the voters"},
		{"components list --timeout 300ms", exitUnavailable, "", "read without one by --stale"},
		{"components remove n1.x -y", exitUnknown, "", "it may or may not have happened"},
		{"members promote n2", exitUnknown, "", "fault"},
		{"members remove n9", exitUsage, "", "--yes"},
		{"components remove n1.y", exitUsage, "", "--yes"},
		{"members", exitUsage, "", "list, promote, remove"},
		{"members lst", exitUsage, "", `unknown command "lst"`},
		{"nonsense", exitUsage, "", `unknown command "nonsense"`},
		{"members list --bogus", exitUsage, "", "--bogus"},
		{"members list extra", exitUsage, "", "extra"},
		{"members remove", exitUsage, "", "accepts 1 arg"},
		{"members list -o xml", exitUsage, "", `--output "xml"`},
		{"status --timeout 0s", exitUsage, "", "--timeout"},
		{"status --stale", exitUsage, "", "--stale"},
		{"members list --stale --consistent", exitUsage, "", "stale"},
		{"leader --ca /does/not/exist", exitUsage, "", "--ca/--cert/--key"},
		{"leader --context nowhere", exitUsage, "", `no context "nowhere"`},
		{"wait nonsense", exitUsage, "", "want leader"},
		{"jobs run /does/not/exist.py --items 1", exitUsage, "", "does/not/exist"},
		{"completion tcsh", exitUsage, "", "tcsh"},
	} {
		code, out, errs := raftctl(t, f, strings.Fields(tc.cmd)...)
		if code != tc.code || tc.out != "" && out != tc.out || !strings.Contains(errs, tc.stderr) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q\nwant exit %d, stdout %q, stderr with %q", tc.cmd, code, out, errs, tc.code, tc.out, tc.stderr)
		}
		if code != exitDone && out != "" {
			t.Errorf("%s: a failure wrote %q to stdout", tc.cmd, out)
		}
	}
}

func hostOf(f *fake) string { return strings.TrimPrefix(f.URL, "http://") }

// Nobody listening is told soon, not at the end of the timeout.
func TestNobodyThere(t *testing.T) {
	dead := coordinator(t, nil)
	dead.Close()
	begun := time.Now()
	code, _, errs := raftctl(t, dead, "status", "--timeout", "1m")
	if code != exitUnavailable || !strings.Contains(errs, "FOLKMOOT_ADDR") {
		t.Errorf("nobody listens: exit %d, stderr %q, want 3 and a hint at --addr", code, errs)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("took %s, want far below the timeout of 1m", took)
	}
}

// To wait for a leader in vain is a condition that did not come to hold, as long as somebody says so.
func TestWaitForALeaderInVain(t *testing.T) {
	f := coordinator(t, map[string]any{"GET /leader": problem(503, wire.CodeUnavailable, "no leader is known")})
	code, _, errs := raftctl(t, f, "wait", "leader", "--timeout", "300ms")
	if want := "leader not within 300ms: no leader is known at " + hostOf(f); code != exitFailed || !strings.Contains(errs, want) {
		t.Errorf("wait leader, there is none: exit %d, stderr %q, want 1 and %q", code, errs, want)
	}
	f.Close()
	if code, _, errs = raftctl(t, f, "wait", "leader", "--timeout", "300ms"); code != exitUnavailable {
		t.Errorf("wait leader, nobody to ask: exit %d, stderr %q, want 3", code, errs)
	}
}

// Flags beat the environment, which beats the context.
func TestSettings(t *testing.T) {
	var got string
	answers := map[string]any{"GET /leader": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.Write([]byte(`{"id":"n1"}`))
	})}
	f := coordinator(t, answers)
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	tokenFile := filepath.Join(dir, "token")
	write(t, tokenFile, "from-file\n")
	write(t, filepath.Join(dir, "folkmoot", "contexts.yaml"),
		"current: lab\ncontexts:\n  lab: {addr: \""+f.URL+"\", token: from-context}\n  other: {addr: \"127.0.0.1:1\"}\n")
	for _, tc := range []struct {
		when, env, want string
		args            []string
	}{
		{"context alone", "", "Bearer from-context", nil},
		{"environment over context", "from-env", "Bearer from-env", nil},
		{"flag over environment", "from-env", "Bearer from-flag", []string{"--token", "from-flag"}},
		{"token file on the command line over a token elsewhere", "from-env", "Bearer from-file", []string{"--token-file", tokenFile}},
	} {
		t.Setenv("FOLKMOOT_TOKEN", tc.env)
		if code, _, errs := raftctl(t, nil, append([]string{"leader"}, tc.args...)...); code != exitDone || got != tc.want {
			t.Errorf("%s: exit %d (%s), sent %q, want %q", tc.when, code, errs, got, tc.want)
		}
	}
	t.Setenv("FOLKMOOT_TIMEOUT", "7s")
	_, shown, _ := raftctl(t, nil, "config", "show", "--origin", "-o", "json")
	for _, want := range []string{
		`{"name":"timeout","value":"7s","origin":"environment FOLKMOOT_TIMEOUT"}`, `"origin":"context lab"`, `"origin":"flag --output"`, `"origin":"default"`,
	} {
		if !strings.Contains(shown, want) || strings.Contains(shown, "from-context") {
			t.Errorf("config show has no %s, or a token:\n%s", want, shown)
		}
	}
	code, _, errs := raftctl(t, nil, "contexts", "use", "other")
	if code != exitDone {
		t.Fatalf("contexts use: exit %d: %s", code, errs)
	}
	if _, out, _ := raftctl(t, nil, "contexts", "list"); !strings.Contains(out, "*  other") {
		t.Errorf("contexts list after use other:\n%s", out)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "folkmoot", "contexts.yaml")); !strings.Contains(string(b), "from-context") {
		t.Errorf("contexts use lost what else the file held:\n%s", b)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every command shows by an example how it is used.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() != "help" && !strings.Contains(c.Example, "raftctl") {
			t.Errorf("%s: has no example", c.CommandPath())
		}
		if c.Short == "" {
			t.Errorf("%s: has no description", c.CommandPath())
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk((&app{now: time.Now}).root())
	for _, cmd := range []string{"--help", "jobs --help", "jobs run --help", "leader transfer --help"} {
		if code, out, _ := raftctl(t, nil, strings.Fields(cmd)...); code != exitDone || !strings.Contains(out, "Examples:") {
			t.Errorf("%s: exit %d, want 0 and examples", cmd, code)
		}
	}
}

// Completion scripts are written for every shell, and ids are completed from the cluster.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errs := raftctl(t, nil, "completion", shell); code != exitDone || !strings.Contains(out, "raftctl") {
			t.Errorf("completion %s: exit %d, stderr %q, %d bytes", shell, code, errs, len(out))
		}
	}
	f := lab(t)
	for _, tc := range []struct{ line, want string }{
		{"members remove ", "n1\tleader, voter\nn2\tfollower, voter\nn3\tunreachable, nonvoter\n"},
		{"members remove n1 ", ""},
		{"leader transfer --to n2", "n2\tfollower, voter\n"},
		{"components get n1", "n1.laser\n"},
		{"jobs get ", "quality\tfailed nightly\n"},
		{"wait ", "leader\nmember/\ncomponent/\njob/\n"},
		{"wait job/q", "job/quality\tfailed nightly\n"},
		{"jobs list -o ", "table\nwide\njson\nyaml\nname\n"},
	} {
		completer := strings.Split("__complete --addr "+f.URL+" "+tc.line, " ")
		_, out, _ := raftctl(t, nil, completer...)
		got, _, _ := strings.Cut(out, ":4\n")
		if got != tc.want {
			t.Errorf("complete %q: got %q, want %q", tc.line, got, tc.want)
		}
	}
}

// A key that is told twice, in a file or on the command line, is named; so is one of the contexts file that means nothing.
func TestKeysToldTwice(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	f := coordinator(t, nil)
	job := filepath.Join(dir, "job")
	for _, tc := range []struct {
		file, want string
		args       []string
	}{
		{`{"runtime":"sh","script":"a","script":"b"}`, `"script" is told twice`, []string{"jobs", "submit", job}},
		{`{"runtime":"sh","script":"","labels":{"host":"a","host":"b"}}`, `"labels.host" is told twice`, []string{"jobs", "submit", job}},
		{"runtime: sh\nscript: a\nscript: b\n", `"script" already defined`, []string{"jobs", "submit", job}},
		{"runtime: sh\nlabels:\n  host: a\n  host: b\n", `"host" already defined`, []string{"jobs", "submit", job}},
		{"", "host is told twice", []string{"jobs", "run", job, "--runtime", "sh", "--label", "host=a", "--label", "host=b"}},
		{"", "n is told twice", []string{"jobs", "run", job, "--runtime", "sh", "--args", "n=1", "--args", "n=2"}},
	} {
		write(t, job, tc.file)
		if code, _, errs := raftctl(t, f, tc.args...); code == exitDone || !strings.Contains(errs, tc.want) {
			t.Errorf("%v of %q: exit %d, stderr %q, want %q", tc.args, tc.file, code, errs, tc.want)
		}
	}
	if len(f.bodies) != 0 {
		t.Errorf("handed in: %q", f.bodies)
	}
	contexts := filepath.Join(dir, "folkmoot", "contexts.yaml")
	for text, want := range map[string]string{
		"current: a\ncontexts: {a: {addr: x}}\ncurrent: b\n": `"current" already defined`,
		"contexts:\n  a: {addr: x}\n  a: {addr: y}\n":        `"a" already defined`,
		"contexts:\n  a: {addr: x, token: t, addr: y}\n":     `"addr" already defined`,
		"contexts:\n  a: {addr: x, token-file: t}\n":         `context a: unknown setting "token-file": the nearest is "token_file"`,
		"contexts: {}\ncurent: a\n":                          `unknown setting "curent": the nearest is "current"`,
	} {
		write(t, contexts, text)
		if code, _, errs := raftctl(t, nil, "contexts", "list"); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("contexts %q: exit %d, stderr %q, want %q", text, code, errs, want)
		}
	}
}

// What the help of contexts shows is a contexts file.
func TestTheExampleOfContexts(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	_, help, _ := raftctl(t, nil, "contexts", "--help")
	_, file, found := strings.Cut(help, "contexts.yaml:\n\n")
	file, _, ends := strings.Cut(file, "\n\n")
	if !found || !ends {
		t.Fatalf("the help has no example:\n%s", help)
	}
	write(t, filepath.Join(dir, "folkmoot", "contexts.yaml"), file)
	if code, out, errs := raftctl(t, nil, "contexts", "list"); code != exitDone || !strings.Contains(out, "*  lab") || !strings.Contains(out, "n1.lab:7380,n2.lab:7380") {
		t.Errorf("contexts list: exit %d, %q, %q", code, out, errs)
	}
}

// --index is a promise: an answer of before is none, whoever gives it, and --timeout is how long it is waited for.
func TestIndex(t *testing.T) {
	old := coordinator(t, map[string]any{ // at index 812, and it does not wait
		"GET /components":       wire.Components{},
		"GET /members":          wire.Members{},
		"GET /jobs":             wire.Jobs{},
		"GET /workers":          wire.Workers{},
		"GET /namespaces":       map[string]any{},
		"GET /components/n1.x":  wire.Component{FullName: "n1.x"},
		"GET /jobs/j1":          wire.Job{ID: "j1"},
		"GET /jobs/j1/parts":    wire.Parts{},
		"GET /status":           wire.Status{ID: "n1", AppliedIndex: 812},
		"GET /components/n1.ok": wire.Component{FullName: "n1.ok"},
	})
	silent := coordinator(t, map[string]any{
		"GET /components": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		"GET /status":     wire.Status{ID: "n1", AppliedIndex: 812},
	})
	for cmd, f := range map[string]*fake{
		"components list": old, "members list": old, "jobs list": old, "workers list": old, "namespaces list": old,
		"components get n1.x": old, "jobs get j1": old, "jobs get j1 --parts": old, "components list --stale": silent,
		"members list --watch": old,
	} {
		args := append(strings.Fields(cmd), "--index", "900", "--timeout", "300ms")
		code, out, errs := raftctl(t, f, args...)
		if want := "--index 900 was not reached in time: the state is at index 812"; code != exitUnavailable || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want 3 and %q", cmd, code, out, errs, want)
		}
		if code, _, errs := raftctl(t, old, append(strings.Fields("components get n1.ok"), "--index", "812")...); code != exitDone {
			t.Errorf("an index that is reached: exit %d, %s", code, errs)
		}
	}
	at := 896
	f := coordinator(t, map[string]any{"GET /components/n1.x": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		at++
		w.Header().Set("X-Index", strconv.Itoa(at))
		fmt.Fprintf(w, `{"full_name":"n1.x","index":%d}`, at)
	})})
	if code, out, errs := raftctl(t, f, "components", "get", "n1.x", "--index", "900", "--timeout", "1m", "-o", "json"); code != exitDone || !strings.Contains(out, `"index":900`) {
		t.Errorf("a state that comes nearer: exit %d, stdout %q, stderr %q, want the one of index 900", code, out, errs)
	}
}

// A change of the membership that is done is done, though the members cannot be listed behind it.
func TestAMemberChangeThatCannotBeListed(t *testing.T) {
	asked := 0
	f := coordinator(t, map[string]any{
		"GET /members": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked > 1 {
				problem(http.StatusServiceUnavailable, wire.CodeUnavailable, "no leader")(w, r)
				return
			}
			fmt.Fprint(w, `{"members":[{"id":"n1","suffrage":"voter"},{"id":"n2","suffrage":"voter"}],"config_index":41}`)
		}),
		"POST /members/n2/demote": map[string]any{"id": "n2", "config_index": 42},
	})
	code, out, errs := raftctl(t, f, "members", "demote", "n2", "--timeout", "300ms")
	if code != exitDone || !strings.Contains(out, "member n2 demoted") || !strings.Contains(errs, "the change is done") || !strings.Contains(errs, "no leader") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
	}
}

// autopilotOf is an autopilot whose one member is well or not.
func autopilotOf(healthy bool) wire.Autopilot {
	return wire.Autopilot{
		CleanupDead: true, DeadAfter: wire.Duration(time.Hour), MinVoters: 3, Stabilization: wire.Duration(10 * time.Second), MaxLag: 250, Healthy: healthy,
		Servers: []wire.ServerHealth{{ID: "n1", ServerID: "n1/1", Healthy: healthy}},
	}
}
