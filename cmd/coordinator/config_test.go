package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/node"
)

func loaded(t *testing.T, environ []string, args ...string) (*serveSettings, node.Config, error) {
	t.Helper()
	s := newServeSettings()
	if err := s.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := s.config(environ)
	return s, c, err
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "folkmoot.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Defaults < file < environment < flags, and each value knows where it is from.
func TestLaterSourcesWin(t *testing.T) {
	file := write(t, "id: file\nnamespace: file\nhttp-addr: 127.0.0.1:1\njoin: [a:1, b:2]\nelection-timeout: 2s\nworker: true\njob-result-bytes: 1GiB\n")
	env := []string{"FOLKMOOT_NAMESPACE=env", "FOLKMOOT_HTTP_ADDR=127.0.0.1:2", "FOLKMOOT_TRAILING_LOGS=77", "OTHER=x"}
	s, c, err := loaded(t, env, "--config", file, "--http-addr", "127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "file" || c.Namespace != "env" || c.HTTPAddr != "127.0.0.1:3" || c.PeerAddr != "127.0.0.1:7300" ||
		!slices.Equal(c.Join, []string{"a:1", "b:2"}) || c.ElectionTimeout != 2*time.Second || c.TrailingLogs != 77 || !c.Worker || c.JobResultBytes != 1<<30 {
		t.Errorf("got %+v", c)
	}
	origins := map[string]string{}
	for _, r := range s.Rows() {
		origins[r.Name] = r.Origin
	}
	for key, want := range map[string]string{"id": "file " + file, "namespace": "environment FOLKMOOT_NAMESPACE", "http-addr": "flag --http-addr", "data-dir": "default"} {
		if got := origins[key]; got != want {
			t.Errorf("origin of %s: got %q, want %q", key, got, want)
		}
	}
}

// What makes fail-over and reads at followers fast is on unless it is switched off.
func TestRaftShortcutsAreOnByDefault(t *testing.T) {
	if _, c, err := loaded(t, nil); err != nil || c.DisableFastElection || c.DisableCommitInjection {
		t.Errorf("by default: fast election off %t, injected commits off %t, %v", c.DisableFastElection, c.DisableCommitInjection, err)
	}
	_, c, err := loaded(t, []string{"FOLKMOOT_INJECT_COMMITS=false"}, "--fast-election=false")
	if err != nil || !c.DisableFastElection || !c.DisableCommitInjection {
		t.Errorf("switched off: fast election off %t, injected commits off %t, %v", c.DisableFastElection, c.DisableCommitInjection, err)
	}
}

// Lists come from the environment and from flags with commas.
func TestListsFromEverywhere(t *testing.T) {
	for name, args := range map[string][]string{"flag": {"--join", "a:1,b:2"}, "repeated flag": {"--join", "a:1", "--join", "b:2"}} {
		if _, c, err := loaded(t, nil, args...); err != nil || !slices.Equal(c.Join, []string{"a:1", "b:2"}) {
			t.Errorf("%s: got %v, %v", name, c.Join, err)
		}
	}
	_, c, err := loaded(t, []string{"FOLKMOOT_HTTP_HOSTS=n1.lab, n2.lab", "FOLKMOOT_JOIN=a:1, b:2,[::1]:3"})
	if err != nil || c.JobResultBytes != 16<<20 || c.ResultBytes != 256<<20 {
		t.Errorf("the quotas of results are %d and %d (%v), want 16 and 256 MiB", c.JobResultBytes, c.ResultBytes, err)
	}
	if !slices.Equal(c.HTTPHosts, []string{"n1.lab", "n2.lab"}) || !slices.Equal(c.Join, []string{"a:1", "b:2", "[::1]:3"}) {
		t.Errorf("environment: got %v and %v", c.HTTPHosts, c.Join)
	}
}

// What is wrong is named; what nobody reads is warned of.
func TestWrongSettingsAreNamed(t *testing.T) {
	for want, c := range map[string]struct {
		file      string
		env, args []string
	}{
		`unknown setting "htp-addr": the nearest is "http-addr"`: {file: "htp-addr: x\n"},
		`unknown setting "raft.dir"`:                             {file: "raft:\n  dir: x\n"},
		`"id" already defined`:                                   {file: "id: a\nworker: true\nid: b\n"},
		"no-such-file":                                           {args: []string{"--config", "no-such-file.yaml"}},
		`FOLKMOOT_TRAILING_LOGS="many"`:                          {env: []string{"FOLKMOOT_TRAILING_LOGS=many"}},
		`FOLKMOOT_GRACE="soon"`:                                  {env: []string{"FOLKMOOT_GRACE=soon"}},
		`--election-timeout "soon"`:                              {file: "election-timeout: soon\n"},
		`--log-level "loud"`:                                     {args: []string{"--log-level", "loud"}},
	} {
		args := c.args
		if c.file != "" {
			args = append(args, "--config", write(t, c.file))
		}
		if _, _, err := loaded(t, c.env, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	env := []string{"FOLKMOOT_HTP_ADDR=x", "FOLKMOOT_TOKEN=x"}
	if got := newServeSettings().Unknown(env, clientEnv); !slices.Equal(got, []string{"FOLKMOOT_HTP_ADDR"}) {
		t.Errorf("unknown variables are %q, want FOLKMOOT_HTP_ADDR", got)
	}
}

// The command line answers usage errors with 2 and a line that names them.
func TestUsageErrorsExitWithTwo(t *testing.T) {
	for _, args := range [][]string{
		{"--no-such-flag"},
		{"srve"},
		{"serve", "--id", "a.b", "--data-dir", t.TempDir()},
		{"serve", "--log-format", "xml"},
		{"demo", "--runtime", "perl"},
		{"dev", "--http-addr", "7380"},
		{"dev", "--component-addr", "7370"},
		{"dev", "extra"},
		{"demo", "extra"},
		{"demo", "--packages", "-1"},
		{"serve", "--namespace", "COORDINATOR", "--data-dir", t.TempDir()},
	} {
		var out, errs bytes.Buffer
		if code := run(context.Background(), args, nil, &out, &errs); code != 2 {
			t.Errorf("coordinator %v: exit %d, want 2; said %s", args, code, errs.String())
		}
		if !strings.HasPrefix(errs.String(), "coordinator: ") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("coordinator %v: said %q, want one line", args, errs.String())
		}
	}
}

// Every command helps, and config show prints every setting with its origin.
func TestHelpAndConfigShow(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"dev", "--help"}, {"demo", "--help"}, {"config", "show", "--help"}, {"version"}} {
		var out, errs bytes.Buffer
		if code := run(context.Background(), args, nil, &out, &errs); code != 0 || out.Len() == 0 {
			t.Errorf("coordinator %v: exit %d, %q", args, code, errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"config", "show", "--origin", "--id", "n7"}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	if text := out.String(); !strings.Contains(text, "n7") || !strings.Contains(text, "flag --id") || !strings.Contains(text, "log-store") {
		t.Errorf("got\n%s", text)
	}
}

// Every port there is can be read from one line, so that each may be given as 0.
func TestReadyNamesEveryPort(t *testing.T) {
	a := node.Addrs{ID: "n1", HTTP: "h:1", Peer: "p:2", Ops: "o:3", Component: "c:4"}
	if got, want := ready(a), "coordinator n1 ready to be asked: http=h:1 peer=p:2 component=c:4 ops=o:3"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	a.LECO, a.LECOData, a.LECOLogs = "l:5", [2]string{"d:6", "d:7"}, [2]string{"g:8", "g:9"}
	if got := ready(a); !strings.HasSuffix(got, " leco=l:5 leco-data=d:6 leco-data-subscribers=d:7 leco-log=g:8 leco-log-subscribers=g:9") {
		t.Errorf("with LECO's doors: %s", got)
	}
}

// config check refuses what serve refuses, in the same words and with the same status, and neither touches the data
// directory: a typo founds no cluster.
func TestConfigCheckRefusesAsServeDoes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	weak := write(t, "short\n")
	for want, args := range map[string][]string{
		"--id":           {"--id", "a.b"},
		"--token-file":   {"--token-file", missing},
		"too easy":       {"--token-file", weak},
		"--http-cert":    {"--http-cert", missing, "--http-key", missing},
		"--topology":     {"--topology", "file:" + missing},
		"--when-removed": {"--when-removed", "rejoin"},
		"--drain":        {"--drain", "1h"},
		"--peer-addr":    {"--peer-addr", "0.0.0.0:7300"},
		"--http-addr":    {"--http-addr", "192.0.2.1:7380"},
		"--disk-low 8% must be more than --disk-full 8%":      {"--disk-low", "8%"},
		"--disk-full 1% must be more than --disk-critical 2%": {"--disk-full", "1%", "--disk-critical", "2%"},
		"--disk-critical 9000000GiB: the volume of the data":  {"--disk-critical", "9000000GiB"},
		"unknown setting": {"--config", write(t, "htp-addr: x\n")},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		args = append([]string{"--log-level", "error", "--data-dir", dir}, args...)
		var said [2]string
		for i, command := range [][]string{{"config", "check"}, {"serve"}} {
			var out, errs bytes.Buffer
			if code := run(context.Background(), append(command, args...), nil, &out, &errs); code != 2 {
				t.Errorf("%v %v: exit %d, want 2; said %s", command, args, code, errs.String())
			}
			said[i] = errs.String()
		}
		if !strings.Contains(said[0], want) || said[0] != said[1] {
			t.Errorf("%v: check said %q, serve %q, want both the same with %q", args, said[0], said[1], want)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%v: the data directory was made (%v)", args, err)
		}
	}
	dir := filepath.Join(t.TempDir(), "data")
	var out, errs bytes.Buffer
	good := write(t, strings.Repeat("x", 40)+"\n")
	if code := run(context.Background(), []string{"config", "check", "--data-dir", dir, "--token-file", good}, nil, &out, &errs); code != 0 || !strings.Contains(out.String(), "can be used") {
		t.Errorf("a good one: exit %d, %s%s", code, out.String(), errs.String())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("config check made the data directory (%v)", err)
	}
}

// --drain is a time, or left to the node.
func TestDrainFlag(t *testing.T) {
	for text, want := range map[string]time.Duration{"": -1, "auto": -1, "0s": 0, "7s": 7 * time.Second} {
		var args []string
		if text != "" {
			args = []string{"--drain", text}
		}
		if _, c, err := loaded(t, nil, args...); err != nil || c.Drain != want {
			t.Errorf("--drain %q: %s, %v, want %s", text, c.Drain, err, want)
		}
	}
	if err := newServeSettings().Parse([]string{"--drain", "-1s"}); err == nil {
		t.Error("a negative time to drain was taken")
	}
}

// The bounds of free space are percent or bytes, also in a file; what is neither is refused.
func TestSpaceFlags(t *testing.T) {
	_, c, err := loaded(t, nil, "--config", write(t, "disk-low: 20%\ndisk-full: 3GiB\n"), "--disk-critical", "2.5 %")
	if err != nil || c.DiskLow != (node.SpaceBound{Percent: 20}) || c.DiskFull != (node.SpaceBound{Bytes: 3 << 30}) || c.DiskCritical != (node.SpaceBound{Percent: 2.5}) {
		t.Errorf("%v %v %v, %v", c.DiskLow, c.DiskFull, c.DiskCritical, err)
	}
	if _, c, err = loaded(t, nil); err != nil || c.DiskLow.Percent != 15 || c.DiskFull.Percent != 8 || c.DiskCritical.Percent != 4 || c.DiskReserve != node.DefaultDiskReserve {
		t.Errorf("by default %v %v %v, a reserve of %d, %v", c.DiskLow, c.DiskFull, c.DiskCritical, c.DiskReserve, err)
	}
	for _, bad := range []string{"", "15", "much", "0%", "100%", "-1%", "NaN%", "x%", "0"} {
		if err := newServeSettings().Parse([]string{"--disk-low", bad}); (err == nil) != (bad == "15") {
			t.Errorf("--disk-low %q: %v", bad, err)
		}
	}
}
