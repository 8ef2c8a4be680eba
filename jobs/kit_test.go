package jobs_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

var t0 = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// spec is a job of n parts, changed by the options.
func spec(t testing.TB, n int, options ...func(*wire.SubmitJob)) jobs.Spec {
	t.Helper()
	in := wire.SubmitJob{Runtime: "sh", Script: "cat", Range: &wire.Range{To: int64(n)}}
	for _, o := range options {
		o(&in)
	}
	s, err := jobs.Check(in)
	if err != nil {
		t.Fatalf("check %+v: %v", in, err)
	}
	return s
}

func priority(p int) func(*wire.SubmitJob) { return func(s *wire.SubmitJob) { s.Priority = &p } }
func group(g string) func(*wire.SubmitJob) { return func(s *wire.SubmitJob) { s.Group = g } }
func parallel(n int) func(*wire.SubmitJob) { return func(s *wire.SubmitJob) { s.Parallel = n } }
func attempts(n int) func(*wire.SubmitJob) { return func(s *wire.SubmitJob) { s.MaxAttempts = n } }
func labelled(k, v string) func(*wire.SubmitJob) {
	return func(s *wire.SubmitJob) { s.Labels = map[string]string{k: v} }
}

// submitted returns a table with one job.
func submitted(t testing.TB, id string, n int, options ...func(*wire.SubmitJob)) *jobs.Table {
	t.Helper()
	return submit(t, new(jobs.Table).Next(1), id, n, options...)
}

func submit(t testing.TB, tab *jobs.Table, id string, n int, options ...func(*wire.SubmitJob)) *jobs.Table {
	t.Helper()
	if _, err := tab.Submit(jobs.Submit{ID: id, Spec: spec(t, n, options...), By: "ann"}, t0); err != nil {
		t.Fatalf("submit %s: %v", id, err)
	}
	return tab
}

func worker(name string, slots int) jobs.Worker {
	return jobs.Worker{FullName: "n1." + name, Session: name, Home: "n1", Runtimes: []string{"sh"}, Slots: slots}
}

// assign gives one part to a session and says how that went.
func assign(tab *jobs.Table, job string, n, attempt int, session string) jobs.Verdict {
	v, _ := tab.Assign(jobs.Assign{Assignments: []jobs.Assignment{
		{Job: job, Part: n, Attempt: attempt, Worker: "n1." + session, Session: session, Home: "n1"},
	}}, t0)
	return v[0]
}

func ref(job string, n, attempt int, session string) jobs.Ref {
	return jobs.Ref{Job: job, Part: n, Attempt: attempt, Session: session}
}

func start(tab *jobs.Table, r jobs.Ref) jobs.Verdict {
	v, _ := tab.Start(jobs.Start{Parts: []jobs.Ref{r}}, t0)
	return v[0]
}

func finish(tab *jobs.Table, r jobs.Ref, result string) jobs.Verdict {
	v, _ := tab.Finish(jobs.Finish{Parts: []jobs.PartDone{{Ref: r, OK: true, Result: json.RawMessage(result), Millis: 5}}}, t0)
	return v[0]
}

func fail(tab *jobs.Table, r jobs.Ref, text string) jobs.Verdict {
	v, _ := tab.Finish(jobs.Finish{Parts: []jobs.PartDone{{Ref: r, Error: text}}}, t0)
	return v[0]
}

func requeue(tab *jobs.Table, r jobs.Ref) jobs.Verdict {
	v, _ := tab.Requeue(jobs.Requeue{Parts: []jobs.Ref{r}, Reason: "not heard of"}, t0)
	return v[0]
}

func accepted(t testing.TB, v jobs.Verdict) {
	t.Helper()
	if v.Code != "" {
		t.Fatalf("part %d attempt %d: refused %s (%s), want accepted", v.Part, v.Attempt, v.Code, v.Message)
	}
}

func refused(t testing.TB, v jobs.Verdict, code wire.Code) {
	t.Helper()
	if v.Code != code {
		t.Fatalf("part %d attempt %d: verdict %q (%s), want %s", v.Part, v.Attempt, v.Code, v.Message, code)
	}
}

func state(t testing.TB, tab *jobs.Table, id, want string) jobs.Job {
	t.Helper()
	j, ok := tab.Job(id)
	if !ok || j.State != want {
		t.Fatalf("job %s is %q (%s), want %s", id, j.State, j.Reason, want)
	}
	sound(t, tab)
	return j
}

func partState(t testing.TB, tab *jobs.Table, id string, n int, want string) jobs.Part {
	t.Helper()
	p, ok := tab.Part(id, n)
	if !ok || p.State != want {
		t.Fatalf("part %d of %s is %q, want %s", n, id, p.State, want)
	}
	return p
}

func sound(t testing.TB, tab *jobs.Table) {
	t.Helper()
	if err := tab.Verify(); err != nil {
		t.Fatal(err)
	}
}

// carryOut plans and assigns, and returns "part>session" for every assignment.
func carryOut(t testing.TB, tab *jobs.Table, limit int, workers ...jobs.Worker) (plan []string) {
	t.Helper()
	as := jobs.Plan(tab, workers, limit, nil)
	verdicts, _ := tab.Assign(jobs.Assign{Assignments: as}, t0)
	for i, v := range verdicts {
		accepted(t, v)
		plan = append(plan, fmt.Sprintf("%s/%d>%s", as[i].Job, as[i].Part, as[i].Session))
	}
	return plan
}
