package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// What happens to jobs in a cluster that is well: one cluster, one story after
// the other.
func TestJobs(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--worker", "--slots", "2") // each brings a worker of its own
	c.haveWorkers(3)
	for _, story := range []struct {
		name string
		tell func(*testing.T, *cluster)
	}{
		{"python3 and sh over all workers", bothRuntimes},
		{"a failing script fails the job", failingScript},
		{"a second try is enough", secondTry},
		{"cancelling ends the whole group", cancelEndsTheGroup},
		{"a job takes too long", jobTakesTooLong},
		{"a part takes too long", partTakesTooLong},
		{"the same id twice", sameIDTwice},
		{"results as they come", resultsAsTheyCome},
		{"a log read elsewhere", logReadElsewhere},
		{"kept only so long", keptOnlySoLong},
		{"labels choose the worker", labelsChoose},
		{"one worker is broken", oneIsBroken},
		{"what is refused", refusedJobs},
	} {
		t.Run(story.name, func(t *testing.T) {
			story.tell(t, c.in(t))
		})
	}
	c.agree()
}

func bothRuntimes(t *testing.T, c *cluster) {
	c.submit(c.nodes[0], wire.SubmitJob{
		ID: "py", Runtime: "python3", Args: asJSON(7),
		Script: "def part(item, args):\n    return [args * n for n in range(item['from'], item['to'])]\n", Range: &wire.Range{From: 0, To: 100, Chunk: 10},
	})
	c.ended("py", "done")
	// Every worker is free now, and a part takes longer than handing the next one out.
	c.submit(c.nodes[1], wire.SubmitJob{ID: "sh", Runtime: "sh", Script: `sleep 0.3; echo "{\"of\": \"$ITEM\", \"squared\": $((ITEM * ITEM))}"`, Items: numbers(20)})
	c.ended("sh", "done")
	next := 0
	for r, err := range c.nodes[2].api().Results(t.Context(), "py", false) {
		var got []int
		if err != nil || json.Unmarshal(r.Result, &got) != nil || len(got) != 10 {
			t.Fatalf("part %d: %s, %v", r.Part, r.Result, err)
		}
		for _, v := range got {
			if v != 7*next {
				t.Errorf("got %d, want %d", v, 7*next)
			}
			next++
		}
	}
	if next != 100 {
		t.Errorf("%d numbers, want 100", next)
	}
	by := map[string]int{}
	for r, err := range c.nodes[2].api().Results(t.Context(), "sh", false) {
		if want := fmt.Sprintf(`{"of":"%d","squared":%d}`, r.Part, r.Part*r.Part); err != nil || string(r.Result) != want {
			t.Errorf("part %d: got %s (%v), want %s", r.Part, r.Result, err, want)
		}
		by[r.Worker]++
	}
	if len(by) != 3 {
		t.Errorf("the parts were done by %v, want all three workers among them", by)
	}
}

func failingScript(t *testing.T, c *cluster) {
	script := filepath.Join(t.TempDir(), "pulse.py")
	if err := os.WriteFile(script, []byte("def part(item):\n    raise ValueError('no such pulse: %d' % item)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := c.ctl(1, "jobs", "run", script, "--id", "bad", "--items", "3", "--max-attempts", "2", "--follow")
	if !strings.Contains(out, "no such pulse: 3") || !strings.Contains(out, "job bad failed") {
		t.Errorf("raftctl says %q", out)
	}
	j := c.ended("bad", "failed")
	if !strings.Contains(j.Reason, "no such pulse: 3") {
		t.Errorf("the reason is %q", j.Reason)
	}
	p := c.parts("bad")[0]
	for _, want := range []string{"Traceback", "line 2, in part", "ValueError: no such pulse: 3"} {
		if !strings.Contains(p.Error, want) {
			t.Errorf("the error lacks %q: %s", want, p.Error)
		}
	}
	if p.State != "failed" || p.Attempt != 2 || p.Failures != 2 {
		t.Errorf("part 0 is %s after attempt %d with %d failures, want failed, 2, 2", p.State, p.Attempt, p.Failures)
	}
	c.ctl(1, "wait", "job/bad=done")
	c.ctl(0, "wait", "job/bad=failed")
}

func secondTry(t *testing.T, c *cluster) {
	c.submit(c.nodes[2], wire.SubmitJob{
		ID: "again", Runtime: "sh", Items: numbers(1),
		Script: `test "$FOLKMOOT_ATTEMPT" = 3 || { echo "not yet" >&2; exit 7; }; echo '"at last"'`,
	})
	if j := c.ended("again", "done"); j.Parts.Retries != 2 {
		t.Errorf("%d retries, want 2", j.Parts.Retries)
	}
	if p := c.parts("again")[0]; string(p.Result) != `"at last"` || p.Failures != 2 || p.Error != "" {
		t.Errorf("got %s after %d failures, error %q", p.Result, p.Failures, p.Error)
	}
}

// grandchild is a script that starts a process of its own and waits for it.
const grandchild = `sh -c 'sleep 1000 & echo $! > "$0"; wait' "$(printf %s "$ARGS" | tr -d '"')"`

func cancelEndsTheGroup(t *testing.T, c *cluster) {
	file := filepath.Join(t.TempDir(), "pid")
	c.submit(c.nodes[0], wire.SubmitJob{ID: "long", Runtime: "sh", Script: grandchild, Args: asJSON(file), Items: numbers(1)})
	pid := c.pid(file)
	if out := c.ctl(0, "jobs", "cancel", "long", "--yes"); !strings.Contains(out, "long") {
		t.Errorf("cancel said %q", out)
	}
	c.ended("long", "cancelled")
	isGone(t, pid)
	if p := c.parts("long")[0]; p.State != "cancelled" {
		t.Errorf("its part is %s", p.State)
	}
	// Cancelling again changes nothing, and a finished job stays what it is.
	if j, _, err := c.nodes[1].api().CancelJob(t.Context(), "long", "again"); err != nil || j.State != "cancelled" {
		t.Errorf("cancelled again: %s, %v", j.State, err)
	}
}

func (c *cluster) pid(file string) int {
	c.t.Helper()
	pid, err := strconv.Atoi(exists(c.t, file))
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

func jobTakesTooLong(t *testing.T, c *cluster) {
	file := filepath.Join(t.TempDir(), "pid")
	c.submit(c.nodes[1], wire.SubmitJob{ID: "slow", Runtime: "sh", Script: grandchild, Args: asJSON(file), Items: numbers(1), Timeout: seconds(1.5)})
	pid := c.pid(file)
	if j := c.ended("slow", "failed"); !strings.Contains(j.Reason, "timed out") {
		t.Errorf("the reason is %q", j.Reason)
	}
	isGone(t, pid)
}

func partTakesTooLong(t *testing.T, c *cluster) {
	file := filepath.Join(t.TempDir(), "pid")
	c.submit(c.nodes[1], wire.SubmitJob{
		ID: "hangs", Runtime: "sh", Args: asJSON(file), Items: numbers(1), PartTimeout: seconds(0.7),
		Script: `if [ "$FOLKMOOT_ATTEMPT" = 2 ]; then echo 42; exit; fi` + "\n" + grandchild,
	})
	pid := c.pid(file)
	c.ended("hangs", "done")
	isGone(t, pid)
	if p := c.parts("hangs")[0]; string(p.Result) != "42" || p.Attempt != 2 || p.Failures != 1 {
		t.Errorf("got %s in attempt %d after %d failures", p.Result, p.Attempt, p.Failures)
	}
	c.submit(c.nodes[1], wire.SubmitJob{ID: "hangs-for-good", Runtime: "sh", Script: "sleep 1000", Items: numbers(1), PartTimeout: seconds(0.3), MaxAttempts: 1})
	if j := c.ended("hangs-for-good", "failed"); !strings.Contains(j.Reason, "part_timeout") {
		t.Errorf("the reason is %q", j.Reason)
	}
}

func sameIDTwice(t *testing.T, c *cluster) {
	in := wire.SubmitJob{ID: "twin", Runtime: "sh", Script: "echo 1", Items: numbers(2)}
	first := c.submit(c.nodes[0], in)
	c.ended("twin", "done")
	again := c.submit(c.nodes[1], in)
	if again.State != "done" || again.Submitted != first.Submitted {
		t.Errorf("submitted again it is %s of %s, want the job of before, of %s", again.State, again.Submitted, first.Submitted)
	}
	in.Script = "echo 2"
	if _, _, err := c.nodes[2].api().Submit(t.Context(), in); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("the same id with another script: got %v, want conflict", err)
	}
	// Without an id, the idempotency key makes a repeat the same job.
	body := `{"runtime":"sh","script":"echo 1","items":[1]}`
	var ids []string
	for _, p := range c.nodes {
		a := p.ask("POST", "/v1/jobs", body, "Idempotency-Key", "0123456789abcdef")
		var j wire.Job
		if err := json.Unmarshal([]byte(a.body), &j); err != nil || a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
		ids = append(ids, j.ID)
	}
	if ids[0] == "" || ids[1] != ids[0] || ids[2] != ids[0] {
		t.Errorf("one key made the jobs %v", ids)
	}
	c.ended(ids[0], "done")
}

func resultsAsTheyCome(t *testing.T, c *cluster) {
	g := newGate(t)
	c.submit(c.nodes[0], g.job("stream", 3))
	byPart := c.follow(c.nodes[1], "stream", "part")
	byEnd := c.follow(c.nodes[2], "stream", "done")
	want := func(lines <-chan int, stream string, part int) {
		t.Helper()
		select {
		case got := <-lines:
			if got != part {
				t.Errorf("%s: part %d came, want %d", stream, got, part)
			}
		case <-time.After(patience):
			t.Fatalf("%s: part %d did not come", stream, part)
		}
	}
	g.open(1, 2)
	want(byEnd, "by end", 1)
	g.open(0, 1)
	want(byEnd, "by end", 0)
	want(byPart, "by part", 0)
	want(byPart, "by part", 1)
	g.open(2, 3)
	want(byEnd, "by end", 2)
	want(byPart, "by part", 2)
	want(byEnd, "by end, its end", -1)
	want(byPart, "by part, its end", -1)
	c.squares("stream", 3)
}

// follow reads the results of a job as they come; -1 is the stream's end.
func (c *cluster) follow(at *process, id, order string) <-chan int {
	c.t.Helper()
	lines := make(chan int, 100)
	rq, err := http.NewRequestWithContext(c.t.Context(), "GET", "http://"+at.http+"/v1/jobs/"+id+"/results?follow=1&order="+order, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	rs, err := plain.Do(rq)
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer rs.Body.Close()
		for in := bufio.NewScanner(rs.Body); in.Scan(); {
			r := wire.PartResult{Part: -2}
			if json.Unmarshal(in.Bytes(), &r) == nil {
				lines <- r.Part
			}
		}
		lines <- -1
	}()
	return lines
}

func logReadElsewhere(t *testing.T, c *cluster) {
	c.submit(c.nodes[0], wire.SubmitJob{
		ID: "chatty", Runtime: "python3", Items: numbers(2),
		Script: "def part(item):\n    for i in range(3):\n        print('part %d says %d' % (item, i))\n    return None\n",
	})
	c.ended("chatty", "done")
	for _, p := range c.nodes {
		for n := range 2 {
			want := fmt.Sprintf("part %[1]d says 0\npart %[1]d says 1\npart %[1]d says 2\n", n)
			got := ""
			for chunk, err := range p.api().Logs(t.Context(), "chatty", n, true) { // to its end, which comes a little after the result
				if err != nil {
					t.Fatalf("the log of part %d at %s: %v", n, p.name, err)
				}
				if got += string(chunk.Data); chunk.End {
					break
				}
			}
			if got != want {
				t.Errorf("the log of part %d at %s is %q, want %q", n, p.name, got, want)
			}
		}
	}
	if got, want := c.ctl(0, "jobs", "logs", "chatty", "--part", "1"), "part 1 says 0\npart 1 says 1\npart 1 says 2\n"; got != want {
		t.Errorf("raftctl prints %q, want %q", got, want)
	}

	c.submit(c.nodes[0], wire.SubmitJob{ID: "verbose", Runtime: "sh", Items: numbers(1), Script: "seq 300000 >&2; echo 1"})
	c.ended("verbose", "done")
	var whole strings.Builder
	for i := range 300_000 {
		fmt.Fprintln(&whole, i+1)
	}
	want := whole.String()
	eventually(t, "the beginning and the end of a long log", func(ctx ctx) error { // the end comes a little after the result
		var all strings.Builder
		for chunk, err := range c.nodes[1].api().Logs(ctx, "verbose", 0, false) {
			if err != nil {
				return err
			}
			all.Write(chunk.Data)
		}
		got := all.String()
		if !strings.HasPrefix(got, want[:wire.LogHead]+"\n[cut: ") || !strings.HasSuffix(got, " KiB]\n"+want[len(want)-wire.LogTail:]) {
			return fmt.Errorf("%d bytes of %d that were written are not the first and the last", len(got), len(want))
		}
		return nil
	})
}

func keptOnlySoLong(t *testing.T, c *cluster) {
	c.submit(c.nodes[0], wire.SubmitJob{ID: "short-lived", Runtime: "sh", Script: "echo 1", Items: numbers(1), Keep: seconds(1)})
	eventually(t, "the job to be forgotten", func(ctx ctx) error {
		for _, p := range c.nodes {
			if j, _, err := p.api().Job(ctx, "short-lived", client.Read{}); wire.CodeOf(err) != wire.CodeNotFound {
				return fmt.Errorf("%s says it is %s (%v)", p.name, j.State, err)
			}
		}
		return nil
	})
	if a := c.nodes[1].ask("GET", "/v1/jobs/short-lived/results", ""); a.status != http.StatusNotFound {
		t.Errorf("its results: %d %s", a.status, a.body)
	}
}

// oneIsBroken has a tool missing at one of two workers: the job is done by the
// other one, and whoever looks is told which one is broken.
func oneIsBroken(t *testing.T, c *cluster) {
	for _, name := range []string{"whole", "broken"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w := &process{t: t, name: name, program: "worker", log: &logFile{}, args: []string{
			"--addr", c.nodes[0].http, "--name", name, "--labels", "bench=tools", "--runtimes", "sh", "--slots", "2", "--dir", dir,
		}}
		t.Cleanup(w.end)
		w.start()
	}
	c.haveWorkers(5)
	script := `case $PWD in */broken/*) echo "goodtool: not found" >&2; exit 127;; esac; sleep 0.05; echo 1`
	c.submit(c.nodes[1], wire.SubmitJob{ID: "tools", Runtime: "sh", Script: script, Items: numbers(40), Labels: map[string]string{"bench": "tools"}})
	c.ended("tools", "done")
	retried := 0
	for _, p := range c.parts("tools") {
		if p.Worker != "n1.whole" || p.Failures > 1 {
			t.Errorf("part %d was done by %s after %d failures, want n1.whole and at most one", p.Part, p.Worker, p.Failures)
		}
		retried += p.Failures
	}
	if retried < 3 {
		t.Fatalf("%d parts failed at the broken worker: too few to tell anything", retried)
	}
	for _, p := range c.nodes {
		l, _, err := p.api().Workers(t.Context(), client.Read{})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range l.Workers {
			if suspect := w.FullName == "n1.broken"; suspect != (w.Suspect != "") {
				t.Errorf("%s says of %s that it is suspect: %q", p.name, w.FullName, w.Suspect)
			}
		}
	}
	if out := c.ctl(0, "workers", "list", "-o", "wide"); !strings.Contains(out, "suspect: ") {
		t.Errorf("raftctl lists\n%s", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for e, err := range c.nodes[2].api().Events(ctx, client.Events{Topics: []string{wire.TopicComponent}, Index: 1}) {
		if err != nil {
			t.Fatalf("no event names it: %v", err)
		}
		if e.Kind == "worker_suspect" && e.Key == "n1.broken" {
			break
		}
	}
}

func labelsChoose(t *testing.T, c *cluster) {
	w := &process{t: t, name: "lab1", program: "worker", log: &logFile{}, args: []string{
		"--addr", c.nodes[2].http, "--name", "lab1", "--labels", "host=lab1,disk=fast", "--runtimes", "sh", "--dir", t.TempDir(),
	}}
	t.Cleanup(w.end)
	w.start()
	c.submit(c.nodes[0], wire.SubmitJob{ID: "at-lab1", Runtime: "sh", Script: "echo 1", Items: numbers(4), Labels: map[string]string{"host": "lab1"}})
	c.ended("at-lab1", "done")
	for _, p := range c.parts("at-lab1") {
		if p.Worker != "n3.lab1" {
			t.Errorf("part %d was done by %s", p.Part, p.Worker)
		}
	}
	w.stop()
	c.haveWorkers(3)
	// Nobody can do this one: it waits and says so.
	c.submit(c.nodes[0], wire.SubmitJob{ID: "at-lab2", Runtime: "sh", Script: "echo 1", Items: numbers(1), Labels: map[string]string{"host": "lab2"}})
	if j, _, err := c.api().Job(t.Context(), "at-lab2", client.Read{}); err != nil || j.State != "queued" {
		t.Errorf("a job nobody can do is %s (%v)", j.State, err)
	}
	c.ctl(0, "jobs", "cancel", "at-lab2", "--yes")
}

func refusedJobs(t *testing.T, c *cluster) {
	for body, field := range map[string]string{
		`{"runtime":"perl","script":"x","items":[1]}`:                                  "runtime",
		`{"runtime":"../../bin/sh","script":"x","items":[1]}`:                          "runtime",
		`{"runtime":"sh","script":" ","items":[1]}`:                                    "script",
		`{"runtime":"sh","script":"x"}`:                                                "items",
		`{"runtime":"sh","script":"x","items":[1],"range":{"from":0,"to":1}}`:          "items",
		`{"runtime":"sh","script":"x","range":{"from":0,"to":9e18}}`:                   "range.to",
		`{"runtime":"sh","script":"x","range":{"from":5,"to":5}}`:                      "range",
		`{"runtime":"sh","script":"x","items":[1],"priority":101}`:                     "priority",
		`{"runtime":"sh","script":"x","items":[1],"max_attempts":-1}`:                  "max_attempts",
		`{"runtime":"sh","script":"x","items":[1],"part_timeout":"25h"}`:               "part_timeout",
		`{"runtime":"sh","script":"x","items":[1],"split":"x"}`:                        "split",
		`{"runtime":"sh","script":"x","items":[1],"id":"a/../b"}`:                      "id",
		`{"runtime":"sh","script":"x","items":[1],"nonsense":1}`:                       "nonsense",
		`{"runtime":"sh","script":"` + strings.Repeat("x", 200<<10) + `","items":[1]}`: "",
	} {
		a := c.nodes[0].ask("POST", "/v1/jobs", body)
		var p wire.Problem
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 400 && a.status != 413 || p.Field != field {
			t.Errorf("%.80s: %d %s, want a refusal that names %q", body, a.status, a.body, field)
		}
	}
}

// Of two jobs that wait for the same slot, the one of higher priority is done
// first, whichever was handed in first; of equal ones the earlier.
func TestPriorities(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.workerAt("w1", 1, "10s", c.nodes[0])
	c.haveWorkers(1)
	g := newGate(t)
	c.submit(c.nodes[0], g.job("blocker", 1))
	g.began(0, 1)
	order := filepath.Join(t.TempDir(), "order")
	for _, j := range []struct {
		id       string
		priority int
	}{{"low", 10}, {"middle", 50}, {"middle-later", 50}, {"high", 90}} {
		c.submit(c.nodes[1], wire.SubmitJob{
			ID: j.id, Runtime: "sh", Items: numbers(2), Priority: &j.priority, Args: asJSON(order),
			Script: `echo "$FOLKMOOT_JOB" >> "$(printf %s "$ARGS" | tr -d '"')"`,
		})
	}
	g.open(0, 1)
	for _, id := range []string{"low", "middle", "middle-later", "high"} {
		c.ended(id, "done")
	}
	got, err := os.ReadFile(order)
	if want := "high high middle middle middle-later middle-later low low"; err != nil || strings.Join(strings.Fields(string(got)), " ") != want {
		t.Errorf("done in the order %q (%v), want %q", strings.Fields(string(got)), err, want)
	}
	c.agree()
}

// A group's jobs run one at a time, parallel bounds the parts of one job.
func TestGroupAndParallel(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--worker", "--slots", "4")
	c.haveWorkers(3)
	g := newGate(t)
	first := g.job("first", 4)
	first.Group, first.Parallel = "camera", 2
	second := newGate(t)
	then := second.job("second", 1)
	then.Group = "camera"
	c.submit(c.nodes[0], first)
	c.submit(c.nodes[1], then)
	for i := range 2 {
		g.began(i, 1)
	}
	for _, p := range c.parts("first") {
		if busy := p.State == "assigned" || p.State == "running"; busy != (p.Part < 2) {
			t.Errorf("part %d is %s with two at once allowed", p.Part, p.State)
		}
	}
	if p := c.parts("second")[0]; p.State != "waiting" {
		t.Errorf("the second of the group is %s while the first runs", p.State)
	}
	g.open(0, 4)
	second.open(0, 1)
	c.ended("second", "done")
	if j := c.ended("first", "done"); j.Parts.Retries != 0 {
		t.Errorf("%d retries", j.Parts.Retries)
	}
	if one, two := c.ended("first", "done"), c.ended("second", "done"); two.Started.Before(one.Ended) {
		t.Errorf("the second began at %s, before the first had ended at %s", two.Started, one.Ended)
	}
	c.agree()
}
