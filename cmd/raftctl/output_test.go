package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// lab is a coordinator with a bit of everything. Times of rows are ages: they do not change while a test runs.
func lab(t *testing.T) *fake {
	job := wire.Job{
		ID: "quality", Name: "nightly", State: "failed", Reason: "part 3 failed: \x1b[31mno\x1b[0m", Runtime: "python3", Priority: 50, MaxAttempts: 3,
		PartTimeout: wire.Duration(time.Minute), Keep: wire.Duration(24 * time.Hour), Submitted: ago(3 * time.Hour), Started: ago(3 * time.Hour), Ended: ago(170 * time.Minute),
		Parts: wire.PartCounts{Total: 10, Done: 9, Failed: 1, Retries: 2}, Index: 99,
	}
	component := wire.Component{
		FullName: "n1.laser", Name: "laser", Namespace: "n1", Home: "n2", Session: "s1", Kind: "rest",
		Labels: map[string]string{"role": "light", "bench": "3"}, Place: wire.Place{Host: "lab1", Group: "optics"},
		Lease: wire.Duration(15 * time.Second), Since: ago(26 * time.Minute), Index: 12,
	}
	lately := ago(5 * time.Minute)
	return coordinator(t, map[string]any{
		"GET /members": wire.Members{Members: []wire.Member{
			{ID: "n1", ServerID: "n1/1", Namespace: "n1", Address: "n1:7300", HTTPAddress: "n1:7380", Suffrage: "voter", State: "leader", Alive: true, LastIndex: 812, LastContactMs: 0, Version: "1.0", Disk: &wire.DiskSpace{State: wire.DiskOK}},
			{ID: "n2", ServerID: "n2/1", Namespace: "n2", Address: "n2:7300", HTTPAddress: "n2:7380", Suffrage: "voter", State: "follower", Alive: true, LastIndex: 810, LastContactMs: 12.4, Version: "1.0", Disk: &wire.DiskSpace{Low: true, State: wire.DiskFull}},
			{ID: "n3", ServerID: "n3/2", Namespace: "n3", Address: "n3:7300", HTTPAddress: "n3:7380", Suffrage: "nonvoter", State: "unreachable", LastIndex: 4, LastContactMs: -1, Version: "1.0"},
		}},
		"GET /leader": wire.Leader{ID: "n1", ServerID: "n1/1", Address: "n1:7300", HTTPAddress: "n1:7380", Term: 4},
		"GET /status": wire.Status{
			ID: "n1", ServerID: "n1/1", Namespace: "n1", ClusterID: "c1", State: "leader", Leader: "n1", Term: 4, Version: "1.0", Ready: true,
			AppliedIndex: 812, CommitIndex: 812, LastIndex: 812, Members: 3, Voters: 2, Tolerance: 0, Components: 2, LocalSessions: 1, Workers: 1,
			Jobs: map[string]int{"done": 4, "failed": 1, "queued": 0}, Links: map[string]string{"n2": "up", "n3": "dial n3:7300: dial link at n3:7300: dial tcp n3:7300: connect: connection refused"}, UptimeMs: 7_300_000,
			HTTPAddress: "n1:7380", PeerAddress: "n1:7300",
			Disk:          &wire.DiskSpace{Free: 3 << 29, Size: 20 << 30, Low: true},
			SlowConsumers: &wire.SlowConsumers{Doors: map[string]uint64{"native": 2, "leco": 0}, Last: "n1.eye", Remote: "10.0.0.7:5512", LastAt: &lately},
		},
		"GET /components":          wire.Components{Components: []wire.Component{component, {FullName: "n2.eye", Home: "n2", Kind: "native", Since: ago(72 * time.Hour), Labels: map[string]string{"note": strings.Repeat("long ", 20)}}}},
		"GET /components/n1.laser": component,
		"GET /namespaces":          map[string]wire.Namespace{"n2": {Coordinator: "n2", Components: []string{"eye"}}, "n1": {Coordinator: "n1", Components: []string{"laser", "x"}}},
		"GET /workers": wire.Workers{Workers: []wire.Worker{{
			FullName: "n1.w1", Home: "n1", Runtimes: []string{"python3", "sh"}, Slots: 4, Busy: 3,
			Labels: map[string]string{"disk": "fast"},
		}}},
		"GET /jobs":         wire.Jobs{Jobs: []wire.Job{job}},
		"GET /jobs/quality": job,
		"GET /jobs/quality/parts": wire.Parts{Parts: []wire.Part{
			{Job: "quality", Part: 0, State: "done", Attempt: 1, Worker: "n1.w1", Item: json.RawMessage(`{"a":1}`), Result: json.RawMessage(`[1,2]`), Millis: 12},
			{Job: "quality", Part: 3, State: "failed", Attempt: 3, Worker: "n1.w1", Item: json.RawMessage(`"x"`), Error: "exit status 1", Millis: 3},
		}},
		"GET /jobs/quality/results": lines(`{"part":0,"state":"done","attempt":1,"worker":"n1.w1","result":[1, 2],"millis":12}`, ``,
			`{"part":3,"state":"failed","attempt":3,"worker":"n1.w1","error":"exit status 1","millis":3}`),
	})
}

// Of a traceback the line that says it all is told.
func TestPartsThatFailAreToldInALine(t *testing.T) {
	failed := wire.PartResult{Part: 1, State: "failed", Error: "Traceback (most recent call last):\n  File \"script.py\", line 2, in part\n\x1b[1mZeroDivisionError: division by zero\n"}
	if got, want := endedLine(failed), "part 1 failed: \uFFFD[1mZeroDivisionError: division by zero (line 2)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Tables are what people look at: a change of one is a change of the golden file.
func TestTables(t *testing.T) {
	f := lab(t)
	for _, cmd := range []string{
		"members list", "members list -o wide", "leader", "status", "components list", "components list -o wide",
		"components get n1.laser", "namespaces list", "workers list", "jobs list", "jobs list -o wide",
		"jobs get quality --parts", "jobs results quality",
	} {
		code, out, errs := raftctl(t, f, strings.Fields(cmd)...)
		if code != exitDone || errs != "" {
			t.Errorf("%s: exit %d, stderr %q, want 0 and nothing", cmd, code, errs)
		}
		golden(t, strings.ReplaceAll(strings.ReplaceAll(cmd, " ", "_"), "--", "")+".txt", out)
	}
}

// A job is shown with its counts, its times and what its parts failed of, the most frequent first.
func TestJobsGet(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.Local)
	job := wire.Job{
		ID: "quality", Name: "nightly", State: "failed", Reason: "part 3 was tried 3 times and failed:\n  no", Runtime: "python3", Priority: 50,
		MaxAttempts: 3, PartTimeout: wire.Duration(time.Minute), Keep: wire.Duration(24 * time.Hour), Timeout: wire.Duration(time.Hour), Group: "g",
		Submitted: at, Started: at.Add(2 * time.Second), Ended: at.Add(10 * time.Minute), By: "n1.me", Labels: map[string]string{"host": "lab1"},
		Parts: wire.PartCounts{Total: 100, Done: 50, Failed: 3, Lost: 1, Cancelled: 46, Retries: 7}, Index: 99,
	}
	f := coordinator(t, map[string]any{
		"GET /jobs/quality": job,
		"GET /jobs/quality/parts": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page := map[string][]wire.Part{
				"state == failed": {
					{Part: 2, State: "failed", Error: "exit status 1"},
					{Part: 3, State: "failed", Error: "Traceback\nValueError: no"},
					{Part: 7, State: "failed", Error: "Traceback 2\nValueError: no"},
				},
				"state == lost": {{Part: 9, State: "lost", Error: "worker n1.w is gone"}},
			}[r.URL.Query().Get("filter")]
			json.NewEncoder(w).Encode(wire.Parts{Parts: page})
		}),
	})
	code, out, errs := raftctl(t, f, "jobs", "get", "quality")
	if code != exitDone || errs != "" {
		t.Errorf("exit %d, stderr %q, want 0 and nothing", code, errs)
	}
	ages := regexp.MustCompile(`\d+[smhd] ago`)
	golden(t, "jobs_get_quality.txt", ages.ReplaceAllString(out, "AGE ago"))
}

// Jobs are listed newest first, one line each: whole in a pipe, on a terminal within its width.
func TestJobsListIsOneLineEach(t *testing.T) {
	long := "part 3 was tried 3 times and failed:\n" + strings.Repeat("very ", 30) + "wrong"
	rows := wire.Jobs{Jobs: []wire.Job{
		{ID: "019d3a5c-4a3e-7b60-9d3f-3f6d2f3a0001", Name: "nightly", State: "done", Submitted: ago(3 * time.Hour), Started: ago(3 * time.Hour), Ended: ago(2 * time.Hour), Parts: wire.PartCounts{Total: 100, Done: 100}},
		{ID: "019d3a5c-4a3e-7b60-9d3f-3f6d2f3a0003", Name: "nightly", State: "failed", Reason: long, Submitted: ago(time.Hour), Parts: wire.PartCounts{Total: 9, Done: 3, Failed: 1}},
		{ID: "019d3a5c-4a3e-7b60-9d3f-3f6d2f3a0002", State: "cancelled", Reason: "cancelled by its user", Submitted: ago(2 * time.Hour), Parts: wire.PartCounts{Total: 9}},
	}}
	f := coordinator(t, map[string]any{"GET /jobs": rows})
	order := regexp.MustCompile(`(?s)0003 .*0002 .*0001 `)
	whole := "failed: " + strings.Repeat("very ", 30) + "wrong"
	for _, cmd := range []string{"jobs list", "jobs list -o wide"} {
		_, out, _ := raftctl(t, f, strings.Fields(cmd)...)
		if !order.MatchString(out) || !strings.Contains(out, whole) || strings.Count(out, "\n") != 4 {
			t.Errorf("%s: want three lines below the heads, the newest first, with all of the reason; got:\n%s", cmd, out)
		}
	}
	for width, want := range map[int]string{80: "ID STATE DONE AGE REASON", 100: "ID NAME STATE DONE FAILED AGE REASON", 300: "ID NAME STATE DONE FAILED RETRIES AGE TOOK REASON"} {
		a := &app{now: time.Now, width: func() int { return width }}
		var b strings.Builder
		if err := a.jobsTable(rows.Jobs, false).render(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("on %d columns a line has %d: %s", width, n, line)
			}
		}
		heads, _, _ := strings.Cut(b.String(), "\n")
		if got := strings.Join(strings.Fields(heads), " "); got != want || strings.Count(b.String(), "\n") != 4 || !strings.Contains(b.String(), "part 3: very ve") {
			t.Errorf("on %d columns: want %s and one line for each job; got:\n%s", width, want, b.String())
		}
	}
	_, out, _ := raftctl(t, f, "jobs", "list", "--limit", "1", "-o", "name")
	if want := "job/019d3a5c-4a3e-7b60-9d3f-3f6d2f3a0003\n"; out != want || strings.Contains(f.requests(), "limit=") {
		t.Errorf("--limit 1: got %q, want the newest, %q", out, want)
	}
}

// JSON is the REST body unchanged; YAML and names are made from it.
func TestOutputs(t *testing.T) {
	body := `{"members":[{"id":"n1","text":"yes","big":12345678901234567890,"pi":3.10,"none":null,"ok":true,"empty":{},"list":[]}]}`
	f := coordinator(t, map[string]any{"GET /members": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) })})
	for output, want := range map[string]string{
		"json": body + "\n",
		"name": "member/n1\n",
		"yaml": "members:\n  - id: n1\n    text: \"yes\"\n    big: 12345678901234567890\n    pi: 3.10\n    none: null\n    ok: true\n    empty: {}\n    list: []\n",
	} {
		code, out, errs := raftctl(t, f, "members", "list", "-o", output)
		if code != exitDone || out != want {
			t.Errorf("-o %s: exit %d, stderr %q\ngot:\n%s\nwant:\n%s", output, code, errs, out, want)
		}
	}
}

// A list longer than a page is shown whole.
func TestPagesAreFollowed(t *testing.T) {
	f := coordinator(t, map[string]any{"GET /components": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := wire.Components{Components: []wire.Component{{FullName: "n1.a"}}, Next: "n1.a"}
		if r.URL.Query().Get("after") == "n1.a" {
			page = wire.Components{Components: []wire.Component{{FullName: "n1.b"}}}
		}
		json.NewEncoder(w).Encode(page)
	})})
	_, out, _ := raftctl(t, f, "components", "list", "-o", "name")
	if want := "component/n1.a\ncomponent/n1.b\n"; out != want {
		t.Errorf("two pages: got %q, want %q", out, want)
	}
	_, out, _ = raftctl(t, f, "components", "list", "-o", "json")
	var all wire.Components
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all.Components) != 2 || all.Next != "" {
		t.Errorf("two pages as JSON: got %s, want one list of two", out)
	}
	_, out, _ = raftctl(t, f, "components", "list", "-o", "name", "--limit", "1")
	if want := "component/n1.a\n"; out != want {
		t.Errorf("--limit 1: got %q, want %q", out, want)
	}
}

// What others wrote must not steer the terminal.
func TestControlCharactersAreNotSent(t *testing.T) {
	f := lab(t)
	for _, cmd := range []string{"jobs list", "jobs get quality"} {
		if _, out, _ := raftctl(t, f, strings.Fields(cmd)...); strings.Contains(out, "\x1b") {
			t.Errorf("%s: an escape character got through: %q", cmd, out)
		}
	}
}
