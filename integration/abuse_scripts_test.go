package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// script is one that means no good, and what becomes of it.
type script struct {
	text  string
	fails string // what is in the reason; "": it is done
	after func(t *testing.T, result string)
}

// hostileItem is what a shell would carry out, if anybody wrote it into a command.
const hostileItem = `"$(kill -9 $PPID); ; ' \" ${HOME} \\"`

// marker is in the command line of what a script leaves behind.
const marker = "987654.321"

// timedOut is why a part failed that did not end by itself.
const timedOut = "timed out"

// scripts are what who may submit jobs could hand in. token is the worker's.
func scripts(token string) map[string]script {
	long := strings.Repeat("x", 200)
	keepsSecret := func(t *testing.T, result string) {
		if strings.Contains(result, token) {
			t.Errorf("the script has read the worker's token: %.300s", result)
		}
	}
	return map[string]script{
		"output without an end":    {text: "while :; do echo " + long + " >&2; done", fails: timedOut},
		"a result without an end":  {text: "while :; do echo " + long + "; done", fails: timedOut},
		"a result of 50 MB":        {text: `head -c 50000000 /dev/zero | tr '\0' x`, fails: "the result is larger"},
		"a result that nests":      {text: `head -c 60000 /dev/zero | tr '\0' '['`, fails: ""}, // which is no JSON, but a text
		"an error of 10 MB":        {text: `head -c 10000000 /dev/zero | tr '\0' e >&2; exit 3`, fails: "eeee"},
		"a result that is no text": {text: `head -c 1000 /dev/urandom`, fails: "not UTF-8"},
		"300 processes":            {text: "i=0; while [ $i -lt 300 ]; do sleep " + marker + " & i=$((i+1)); done; echo done", after: func(t *testing.T, _ string) { noProcess(t, marker) }},
		"files left": {text: `mkdir -p a/b; head -c 5000000 /dev/zero >a/b/big; ln -s /etc link; ln -s .. up; mkfifo pipe; chmod 0 a/b; pwd`, after: func(t *testing.T, result string) {
			var dir string
			if err := json.Unmarshal([]byte(result), &dir); err != nil || !filepath.IsAbs(dir) {
				t.Fatalf("it ran in %s", result)
			}
			eventually(t, dir+" to be removed", func(ctx) error {
				if _, err := os.Lstat(dir); !os.IsNotExist(err) {
					return fmt.Errorf("it is there: %w", err)
				}
				return nil
			})
			if _, err := os.Stat("/etc/passwd"); err != nil {
				t.Errorf("what a link led to was removed: %v", err)
			}
		}},
		"its environment":      {text: "env", after: keepsSecret},
		"the worker's":         {text: "cat /proc/$PPID/environ /proc/$PPID/cmdline 2>/dev/null | tr '\\0' '\\n' | head -c 60000", after: keepsSecret},
		"all ends closed":      {text: "exec </dev/null >&- 2>&-; sleep 0.1", fails: ""},
		"it stops itself":      {text: "kill -STOP $$; echo 1", fails: timedOut},
		"deaf to its end":      {text: "trap '' TERM HUP INT; while :; do :; done", fails: timedOut},
		"an item as a command": {text: `echo "$ITEM"`, after: func(t *testing.T, result string) { equal(t, result, hostileItem) }},
	}
}

func equal(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// noProcess waits until no command line has these words.
func noProcess(t *testing.T, words string) {
	t.Helper()
	eventually(t, "no process to be left", func(ctx) error {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, path := range all {
			if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), words) {
				return fmt.Errorf("%s is %q", path, line)
			}
		}
		return nil
	})
}

// Whatever a job's script does, by who may hand jobs in, the coordinator and the worker go on, in bounds, and run the next
// one; who may not hand jobs in gets none of them run.
func TestAbuseByScripts(t *testing.T) {
	t.Parallel()
	a := newCluster(t, 1)
	p := a.nodes[0]
	p.asksForToken(operatorToken)
	p.start()
	a.waitHealthy(1)
	api := p.api()
	if _, _, err := api.RaiseLevel(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	token := func(grants ...string) *client.Client {
		made, _, err := api.CreateToken(t.Context(), wire.NewToken{Grants: grants})
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{Addrs: []string{p.http}, Token: made.Token, Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	worker, _, err := api.CreateToken(t.Context(), wire.NewToken{Grants: []string{"components:write@n1", "jobs:work@default"}})
	if err != nil {
		t.Fatal(err)
	}
	full, low := token("jobs:write@default"), token("jobs:read@default", "write@elsewhere")
	none, err := client.New(client.Config{Addrs: []string{p.http}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	// By its environment, where a script would look for it first.
	w := &process{t: t, name: "works", program: "worker", log: &logFile{}, args: []string{"--addr", p.http, "--name", "works", "--slots", "4", "--dir", t.TempDir()}, wrap: []string{"env", "FOLKMOOT_TOKEN=" + worker.Token}}
	t.Cleanup(w.end)
	w.start()
	a.haveWorkers(1)
	p.before = p.use()
	rows := scripts(worker.Token)
	for what, row := range rows { // all at once, as they would come
		limit := patience
		if row.fails == timedOut {
			limit = 3 * time.Second
		}
		job := wire.SubmitJob{ID: strings.ReplaceAll(strings.ReplaceAll(what, " ", "-"), "'", ""), Runtime: "sh", Script: row.text, Items: []json.RawMessage{json.RawMessage(hostileItem)}, MaxAttempts: 1, PartTimeout: wire.Duration(limit)}
		if _, _, err := none.Submit(t.Context(), job); wire.CodeOf(err) != wire.CodeUnauthorized {
			t.Errorf("%s without a token: %v, want unauthorized", what, err)
		}
		if _, _, err := low.Submit(t.Context(), job); wire.CodeOf(err) != wire.CodeForbidden {
			t.Errorf("%s with few rights: %v, want forbidden", what, err)
		}
		if _, _, err := full.Submit(t.Context(), job); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for what, row := range rows {
		t.Run(what, func(t *testing.T) {
			id := strings.ReplaceAll(strings.ReplaceAll(what, " ", "-"), "'", "")
			c := a.in(t)
			want := "done"
			if row.fails != "" {
				want = "failed"
			}
			j := c.ended(id, want)
			parts, _, err := full.Parts(t.Context(), id, client.Page{}, client.Read{})
			if err != nil || len(parts.Parts) != 1 {
				t.Fatalf("its parts: %+v, %v", parts, err)
			}
			if !strings.Contains(j.Reason, row.fails) || len(j.Reason) > 8<<10 {
				t.Errorf("it is %s for %.300q, want %q", j.State, j.Reason, row.fails)
			}
			if row.after != nil {
				row.after(t, string(parts.Parts[0].Result))
			}
		})
	}
	if !p.running() || !w.running() {
		t.Fatalf("one has ended\n%s\n%s", p.tail(), w.tail())
	}
	next := a.submit(p, wire.SubmitJob{Runtime: "sh", Script: "echo 1", Items: numbers(4)})
	a.ended(next.ID, "done")
	noProcess(t, marker)
	p.holdsWhatItHeld(20, 50)
	size := int64(0)
	_ = filepath.Walk(filepath.Join(p.data, "joblogs"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return nil
	})
	if size > int64(len(rows)+1)*(2<<20) {
		t.Errorf("the logs of %d parts take %d bytes", len(rows)+1, size)
	}
}
