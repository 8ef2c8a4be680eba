package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// runner takes a job and has its results ready.
func runner(t *testing.T, end wire.Job, results ...string) *fake {
	return coordinator(t, map[string]any{
		"POST /jobs":           wire.Job{ID: "j1", State: "queued", Parts: wire.PartCounts{Total: 3}},
		"GET /jobs/j1":         end,
		"GET /jobs/j1/results": lines(results...),
	})
}

// submitted is the job that a command line handed in.
func submitted(t *testing.T, f *fake) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(f.bodies[0]), &got); err != nil {
		t.Fatalf("submitted %q: %v", f.bodies[0], err)
	}
	return got
}

// A script on the command line becomes the job that the words say.
func TestJobsRun(t *testing.T) {
	dir := t.TempDir()
	py, items := filepath.Join(dir, "square.py"), filepath.Join(dir, "items")
	write(t, py, "def part(i): return i")
	write(t, items, "\uFEFF1\n\nhttp://x/a,b\n{\"k\": 2}\n")
	for _, tc := range []struct {
		args string
		want map[string]any
	}{
		{"--items 1,b,true", map[string]any{"runtime": "python3", "items": []any{1.0, "b", true}}},
		{"--items-file " + items, map[string]any{"runtime": "python3", "items": []any{1.0, "http://x/a,b", map[string]any{"k": 2.0}}}},
		{`--items {"a":1,"b":[2,3]},{"a":2}`, map[string]any{"runtime": "python3", "items": []any{map[string]any{"a": 1.0, "b": []any{2.0, 3.0}}, map[string]any{"a": 2.0}}}},
		{`--items "a,b","c",[4],null`, map[string]any{"runtime": "python3", "items": []any{"a,b", "c", []any{4.0}, nil}}},
		{`--items {"a":1},plain,"x"`, map[string]any{"runtime": "python3", "items": []any{map[string]any{"a": 1.0}, "plain", "x"}}},
		{"--items 1 --max-attempts 1 --part-timeout 5s --keep 1h", map[string]any{"runtime": "python3", "items": []any{1.0}, "max_attempts": 1.0, "part_timeout": "5s", "keep": "1h0m0s"}},
		{"--items [[1],[2]] --runtime sh --id j7 --namespace lab1", map[string]any{"runtime": "sh", "id": "j7", "namespace": "lab1", "items": []any{[]any{1.0}, []any{2.0}}}},
		{
			"--range 0:100:10 --args k=v --args n=3 --label host=lab1 --priority 0 --job-timeout 10m",
			map[string]any{
				"runtime": "python3", "range": map[string]any{"from": 0.0, "to": 100.0, "chunk": 10.0}, "args": map[string]any{"k": "v", "n": 3.0},
				"labels": map[string]any{"host": "lab1"}, "priority": 0.0, "timeout": "10m0s",
			},
		},
	} {
		f := runner(t, wire.Job{})
		code, out, errs := raftctl(t, f, append([]string{"jobs", "run", py}, strings.Fields(tc.args)...)...)
		if code != exitDone || out != "job j1 queued, 3 parts\n" {
			t.Errorf("run %s: exit %d, stdout %q, stderr %q", tc.args, code, out, errs)
			continue
		}
		tc.want["name"], tc.want["script"] = "square", "def part(i): return i"
		if diff := cmp.Diff(tc.want, submitted(t, f)); diff != "" {
			t.Errorf("run %s (-want +got):\n%s", tc.args, diff)
		}
	}
	pretty := filepath.Join(dir, "pretty.json")
	write(t, pretty, "{\n  \"a\": 1\n}\n")
	for _, args := range []string{
		`--items {"a":1,"b":2},x`, `--items {a:1}`, `--items "a,b`, "--items 1,,2", "--items-file " + pretty, "--range 0:10:0",
		"--items 1 --max-attempts 0", "--items 1 --part-timeout 0s", "--items 1 --keep 0s", "", "--items 1 --range 0:1", "--range 1", "--range a:b", "--items 1 --args x", "--items 1 --label x", "--items [1",
	} {
		if code, _, errs := raftctl(t, nil, append([]string{"jobs", "run", py}, strings.Fields(args)...)...); code != exitUsage {
			t.Errorf("run %q: exit %d (%s), want 2", args, code, errs)
		}
	}
}

// Following a job prints each result as it comes, and the exit code is the job's.
func TestJobsFollow(t *testing.T) {
	py := filepath.Join(t.TempDir(), "a.py")
	write(t, py, "x")
	results := []string{
		`{"part":1,"state":"done","attempt":1,"worker":"n1.w","result":{"a": "<1>"},"millis":5}`, "",
		`{"part":0,"state":"failed","attempt":3,"worker":"n1.w","error":"boom","millis":6}`,
	}
	f := runner(t, wire.Job{ID: "j1", State: "failed", Reason: "part 0 failed: boom", Parts: wire.PartCounts{Total: 2, Done: 1, Failed: 1, Retries: 2}}, results...)
	code, out, errs := raftctl(t, f, "jobs", "run", py, "--items", "1,2", "--follow")
	if code != exitFailed {
		t.Errorf("a failed job: exit %d, want 1", code)
	}
	if want := "part 1 done by n1.w in 5ms: {\"a\":\"<1>\"}\npart 0 failed by n1.w in 6ms: boom\n"; out != want {
		t.Errorf("stdout: got %q, want %q", out, want)
	}
	if want := "job j1 failed: part 0 failed: boom: 1 of 2 parts done, 1 failed, 2 retries\n"; errs != want {
		t.Errorf("stderr: got %q, want %q", errs, want)
	}
	f = runner(t, wire.Job{ID: "j1", State: "done", Parts: wire.PartCounts{Total: 1, Done: 1}}, results[0])
	code, out, _ = raftctl(t, f, "jobs", "results", "j1", "--follow", "-o", "json")
	if want := `{"part":1,"state":"done","attempt":1,"worker":"n1.w","result":{"a":"<1>"},"millis":5}` + "\n"; code != exitDone || out != want {
		t.Errorf("-o json: exit %d, got %q, want %q", code, out, want)
	}
}

// A job that fails takes its other parts along: they are counted, not told one by one, unless everything was asked for.
func TestJobsFollowTellsOfAFailureInFewLines(t *testing.T) {
	const parts = 3000
	results := []string{`{"part":0,"state":"done","attempt":1,"worker":"n1.w","result":1,"millis":5}`}
	for part := range 30 {
		results = append(results, fmt.Sprintf(`{"part":%d,"state":"failed","attempt":1,"worker":"n1.w","error":"boom","millis":6}`, part+1))
	}
	for part := len(results); part < parts; part++ {
		results = append(results, fmt.Sprintf(`{"part":%d,"state":"cancelled","attempt":0}`, part))
	}
	end := wire.Job{ID: "j1", State: "failed", Reason: "boom", Parts: wire.PartCounts{Total: parts, Done: 1, Failed: 30, Cancelled: parts - 31}}
	for _, cmd := range []string{"jobs results j1 --follow", "jobs results j1"} {
		_, out, errs := raftctl(t, runner(t, end, results...), strings.Fields(cmd)...)
		if n := strings.Count(out, "boom"); n != shownFailures || strings.Contains(out, "cancelled") || !strings.Contains(out, "done") {
			t.Errorf("%s: %d failures told, want %d, the part that is done and none that was cancelled:\n%.3000s", cmd, n, shownFailures, out)
		}
		if want := "10 parts failed as well (listed by -o wide)\n2969 parts cancelled (listed by -o wide)\n"; !strings.HasPrefix(errs, want) {
			t.Errorf("%s: stderr %q, want it to begin with %q", cmd, errs, want)
		}
	}
	_, _, errs := raftctl(t, runner(t, end, results...), "jobs", "results", "j1", "--follow")
	if want := "job j1 failed: boom: 1 of 3000 parts done, 30 failed, 2969 cancelled\n"; !strings.HasSuffix(errs, want) {
		t.Errorf("stderr %q, want it to end with %q", errs, want)
	}
	for _, output := range []string{"wide", "json", "name"} {
		_, out, errs := raftctl(t, runner(t, end, results...), "jobs", "results", "j1", "--follow", "-o", output)
		if n := strings.Count(out, "\n"); n != parts || strings.Contains(errs, "listed") {
			t.Errorf("-o %s: %d lines, want %d; stderr %q", output, n, parts, errs)
		}
	}
}

// A job file may be JSON or YAML; words nobody knows are refused before anything is sent.
func TestJobsSubmit(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "runtime: sh\nscript: |\n  cat\nitems: [1, two]\ntimeout: 5m\n",
		"a.json": `{"runtime":"sh","script":"cat\n","items":[1,"two"],"timeout":300}`,
	} {
		file := filepath.Join(dir, name)
		write(t, file, text)
		f := runner(t, wire.Job{})
		if code, _, errs := raftctl(t, f, "jobs", "submit", file, "--id", "j9"); code != exitDone {
			t.Errorf("%s: exit %d: %s", name, code, errs)
			continue
		}
		want := map[string]any{"id": "j9", "runtime": "sh", "script": "cat\n", "items": []any{1.0, "two"}, "timeout": "5m0s"}
		if diff := cmp.Diff(want, submitted(t, f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	zero := filepath.Join(dir, "zero.yaml")
	write(t, zero, "runtime: sh\nscript: x\nitems: [1]\nkeep: 0\n")
	if code, _, errs := raftctl(t, runner(t, wire.Job{}), "jobs", "submit", zero); code != exitUsage || !strings.Contains(errs, "keep is above 0") {
		t.Errorf("a zero: exit %d, stderr %q, want 2 and the field", code, errs)
	}
	bad := filepath.Join(dir, "bad.yaml")
	write(t, bad, "runtime: sh\nscrpt: x\n")
	if code, _, errs := raftctl(t, runner(t, wire.Job{}), "jobs", "submit", bad); code != exitUsage || !strings.Contains(errs, "scrpt") {
		t.Errorf("an unknown word: exit %d, stderr %q, want 2 and the word", code, errs)
	}
}

// What help says is the default is what a job gets that does not say otherwise.
func TestJobsRunHelpHasTheDefaults(t *testing.T) {
	_, help, _ := raftctl(t, nil, "jobs", "run", "--help")
	for flag, want := range map[string]any{
		"priority": jobs.DefaultPriority, "max-attempts": jobs.DefaultAttempts, "part-timeout": jobs.DefaultTimeout, "keep": jobs.DefaultKeep,
	} {
		if line := regexp.MustCompile("(?m)^ +--" + flag + " .*").FindString(help); !strings.HasSuffix(line, fmt.Sprintf("(default %v)", want)) {
			t.Errorf("--help says %q, want the default %v", line, want)
		}
	}
	for flag := range strings.SplitSeq("runtime range args id name group label parallel job-timeout", " ") {
		if line := regexp.MustCompile("(?m)^ +--" + flag + " .*").FindString(help); !strings.Contains(line, "(default") {
			t.Errorf("--help says %q, want a default", line)
		}
	}
}

// A submission under an id that is known says so: nothing is run again.
func TestJobsSubmitOfAKnownID(t *testing.T) {
	py := filepath.Join(t.TempDir(), "a.py")
	write(t, py, "x")
	job := wire.Job{ID: "j1", State: "done", Submitted: ago(3 * time.Hour), Parts: wire.PartCounts{Total: 1, Done: 1}}
	f := runner(t, job, `{"part":0,"state":"done","attempt":1,"worker":"n1.w","result":1,"millis":5}`)
	job.Known = true
	f.answers["POST /jobs"] = job
	code, out, errs := raftctl(t, f, "jobs", "run", py, "--items", "1", "--id", "j1", "--follow")
	if want := "job j1 done, known since 3h ago: it is not run again\n"; code != exitDone || !strings.HasPrefix(errs, want) || !strings.HasPrefix(out, "part 0 done") {
		t.Errorf("--follow: exit %d, stdout %q, stderr %q, want it to begin with %q", code, out, errs, want)
	}
	_, out, _ = raftctl(t, f, "jobs", "run", py, "--items", "1", "--id", "j1")
	if want := "job j1 done, 1 parts, known since 3h ago: it is not run again\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	// A repeat of our own after an unknown outcome is no news to the caller, who gave no id.
	if _, out, _ = raftctl(t, f, "jobs", "run", py, "--items", "1"); out != "job j1 done, 1 parts\n" {
		t.Errorf("without an id: got %q", out)
	}
}

// Logs are whole lines behind their part's number; one part's log is as it is.
func TestJobsLogs(t *testing.T) {
	chunk := func(part int, offset int64, text string, end bool) string {
		b, _ := json.Marshal(client.LogChunk{Part: part, Attempt: 1, Offset: offset, Data: []byte(text), End: end})
		return fmt.Sprintf("event: log\ndata: %s\n", b)
	}
	f := coordinator(t, map[string]any{"GET /jobs/j1/logs": lines(chunk(0, 0, "one\ntw", false), chunk(1, 0, "eins\n", false), chunk(0, 6, "o\nlast", true))})
	if _, out, errs := raftctl(t, f, "jobs", "logs", "j1"); out != "0| one\n1| eins\n0| two\n0| last\n" {
		t.Errorf("logs of all parts: got %q (%s)", out, errs)
	}
	f = coordinator(t, map[string]any{"GET /jobs/j1/logs": lines(chunk(0, 0, "one\ntw", false), chunk(0, 6, "o", true))})
	if _, out, errs := raftctl(t, f, "jobs", "logs", "j1", "--part", "0"); out != "one\ntwo" {
		t.Errorf("log of one part: got %q (%s)", out, errs)
	}
}

// wait looks until it is so, until the time is up, or until it cannot come to be so.
func TestWait(t *testing.T) {
	looks := 0
	f := coordinator(t, map[string]any{
		"GET /leader": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if looks++; looks < 3 {
				problem(503, wire.CodeUnavailable, "no leader")(w, r)
				return
			}
			json.NewEncoder(w).Encode(wire.Leader{ID: "n2"})
		}),
		"GET /members":         wire.Members{Members: []wire.Member{{ID: "n4", Suffrage: "nonvoter", State: "follower", Alive: true}}},
		"GET /components/n1.x": wire.Component{FullName: "n1.x"},
		"GET /jobs/j1":         wire.Job{ID: "j1", State: "failed", Reason: "part 2 failed"},
		"GET /jobs/j2":         wire.Job{ID: "j2", State: "running"},
	})
	for _, tc := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"leader leader=n2 member/n4=alive component/n1.x component/n1.y=gone job/j1 job/j1=failed --timeout 20s", exitDone, ""},
		{"member/n4=voter --timeout 300ms", exitFailed, "it is a nonvoter"},
		{"job/j2=done --timeout 300ms", exitFailed, "it is running"},
		{"job/j1=done --timeout 20s", exitFailed, "part 2 failed"},
		{"component/n1.y --timeout 300ms", exitFailed, "not signed in"},
		{"job/none=done --timeout 20s", exitFailed, "not_found"},
	} {
		if code, _, errs := raftctl(t, f, append([]string{"wait"}, strings.Fields(tc.args)...)...); code != tc.code || !strings.Contains(errs, tc.stderr) {
			t.Errorf("wait %s: exit %d, stderr %q, want %d and %q", tc.args, code, errs, tc.code, tc.stderr)
		}
	}
	f.Close()
	if code, _, _ := raftctl(t, f, "wait", "leader", "--timeout", "300ms"); code != exitUnavailable {
		t.Errorf("wait with nobody there: exit %d, want 3", code)
	}
}

// Events of the past end by themselves; their lines name index, topic, kind and key.
func TestEvents(t *testing.T) {
	f := coordinator(t, map[string]any{
		"GET /members": wire.Members{},
		"GET /events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "id: 7-0\nevent: component\ndata: {\"index\":7,\"seq\":0,\"topic\":\"component\",\"kind\":\"signed_in\",\"key\":\"n1.x\",\"at\":\"2026-11-22T03:00:00Z\"}\n\n"+
				"id: 7-1\nevent: job\ndata: {\"index\":7,\"seq\":1,\"topic\":\"job\",\"kind\":\"part_retried\",\"key\":\"j1\",\"reason\":\"no\",\"at\":\"2026-11-22T03:00:00Z\",\"data\":{\"job\":\"j1\",\"part\":3,\"attempt\":2,\"worker\":\"n1.w\"}}\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}),
	})
	code, out, errs := raftctl(t, f, "events", "--topic", "component")
	if code != exitDone || !strings.Contains(out, "component  signed_in      n1.x") {
		t.Errorf("events: exit %d, stdout %q, stderr %q", code, out, errs)
	}
	if want := "part_retried   j1 part 3 try 2 by n1.w  (no)\n"; !strings.Contains(out, want) {
		t.Errorf("an event of a part: got %q, want %q", out, want)
	}
	if !strings.Contains(f.requests(), "GET /v1/events?index=1&topic=component") {
		t.Errorf("asked:\n%s\nwant the events after index 1 of the topic", f.requests())
	}
}

// A message is sent by a session that lives as long as it takes.
func TestSend(t *testing.T) {
	var secret string
	f := coordinator(t, map[string]any{
		"POST /components": wire.SignedIn{FullName: "n1.me", Secret: "s"},
		"POST /messages": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			secret = r.Header.Get("X-Session")
			json.NewEncoder(w).Encode(wire.Sent{Outcome: "delivered", ConversationID: "c1"})
		}),
		"DELETE /components/n1.me": map[string]any{},
	})
	code, out, errs := raftctl(t, f, "send", "n2.laser", `power "down"`, "--as", "me")
	if want := "delivered to n2.laser (conversation c1)\n"; code != exitDone || out != want || secret != "s" {
		t.Errorf("send: exit %d, stdout %q (%s), secret %q, want %q", code, out, errs, secret, want)
	}
	if want := `{"to":"n2.laser","content":"power \"down\""}`; f.bodies[1] != want {
		t.Errorf("sent %s, want %s", f.bodies[1], want)
	}
	if want := "POST /v1/components\nPOST /v1/messages\nDELETE /v1/components/n1.me"; f.requests() != want {
		t.Errorf("asked:\n%s\nwant:\n%s", f.requests(), want)
	}
}

// A watched list is shown again when it changed, and only then; its end is no failure.
func TestWatch(t *testing.T) {
	ctx, cancel := contextOf(t)
	n := 0
	f := coordinator(t, map[string]any{"GET /components": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n > 3 {
			cancel()
			<-r.Context().Done() // no answer before the watch has ended
			return
		}
		w.Header().Set("X-Index", fmt.Sprint(n))
		w.Header().Set("X-Cluster", "c1")
		fmt.Fprintf(w, `{"components":[{"full_name":"n1.%d"}]}`, n/2)
	})})
	code, out := watched(ctx, f, "components", "list", "--watch", "-o", "json")
	want := `{"components":[{"full_name":"n1.0"}]}` + "\n" + `{"components":[{"full_name":"n1.1"}]}` + "\n"
	if code != exitDone || out != want {
		t.Errorf("watch: exit %d, got:\n%s\nwant:\n%s", code, out, want)
	}
	if !strings.Contains(f.requests(), "cluster=c1&index=1&wait=30s") {
		t.Errorf("asked:\n%s\nwant blocking reads behind the index of before, of its cluster", f.requests())
	}
}

// On a terminal the ages of a watched list grow while nothing changes; elsewhere it is printed once.
func TestWatchedAgesGrow(t *testing.T) {
	for _, width := range []int{80, 0} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var out, errs bytes.Buffer
			a := &app{out: &out, err: &errs, now: time.Now, width: func() int { return width }, flags: flags{output: "table"}}
			since := time.Now()
			requested := 0
			err := a.list(ctx, readFlags{watch: true}, 0, func(ctx context.Context, _ client.Read) (answer, client.Meta, error) {
				if requested++; requested == 2 {
					time.Sleep(5500 * time.Millisecond) // nothing changes
				} else if requested > 2 {
					cancel()
				}
				return answer{table: func(bool) *table {
					t := a.table("age")
					t.row(a.age(since))
					return t
				}}, client.Meta{Index: 7}, nil
			})
			if err != nil || errs.Len() > 0 {
				t.Errorf("the watch ended with %v and %q", err, errs.String())
			}
			for n := range 6 {
				if shown := strings.Contains(out.String(), fmt.Sprintf("%ds\n", n)); shown != (width > 0 || n == 0 || n == 5) {
					t.Errorf("%d columns: the age of %ds is shown: %v; got:\n%q", width, n, shown, out.String())
				}
			}
		})
	}
}

// What a script said when it failed is told with all its lines, once, and where it was in one.
func TestErrorsOfScriptsAreWhole(t *testing.T) {
	trace := "Traceback (most recent call last):\n  File \"/tmp/part-1/script.py\", line 4, in part\n    return inner(item)\n" +
		"  File \"/tmp/part-1/script.py\", line 2, in inner\n    return 1 / x\nZeroDivisionError: division by zero"
	shell := "the script ended with exit status 7\ngiving up:\tno disk\x1b[1m"
	var results []string
	var parts []wire.Part
	for i, e := range []string{trace, trace, shell, "boom"} {
		b, _ := json.Marshal(wire.PartResult{Part: i, State: "failed", Attempt: 1, Worker: "n1.w", Error: e})
		results = append(results, string(b))
		parts = append(parts, wire.Part{Part: i, Job: "j1", State: "failed", Attempt: 1, Worker: "n1.w", Error: e})
	}
	f := runner(t, wire.Job{ID: "j1", State: "failed", Reason: "boom", Parts: wire.PartCounts{Total: 4, Failed: 4}}, results...)
	f.answers["GET /jobs/j1/parts"] = wire.Parts{Parts: parts}
	for _, cmd := range []string{"jobs results j1", "jobs results j1 --follow", "jobs results j1 --follow -o wide", "jobs get j1", "jobs get j1 --parts -o wide"} {
		_, out, errs := raftctl(t, f, strings.Fields(cmd)...)
		for want, n := range map[string]int{
			"    Traceback (most recent call last):\n": 1, "line 2, in inner\n": 1, "    ZeroDivisionError: division by zero\n": 1,
			"    the script ended with exit status 7\n    giving up:    no disk\uFFFD[1m\n": 1, "\n    boom\n": 0,
		} {
			if got := strings.Count(out, want); got != n {
				t.Errorf("%s: %q is there %d times, want %d:\n%s%s", cmd, want, got, n, out, errs)
			}
		}
		short := []string{"ZeroDivisionError: division by zero (line 2)", "the script ended with exit status 7: giving up"}
		if strings.Contains(cmd, "--parts") {
			short = short[:1]
		}
		for _, want := range short {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in a line:\n%s", cmd, want, out)
			}
		}
	}
	if _, out, _ := raftctl(t, f, "jobs", "results", "j1", "--follow", "-o", "json"); strings.Count(out, "\n") != 4 {
		t.Errorf("-o json: want a line a part:\n%s", out)
	}
}
