package jobs_test

import (
	"fmt"
	"testing"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// failedThenDone has a part fail at one worker and succeed at another.
func failedThenDone(t *testing.T, tab *jobs.Table, n int, bad, good string) {
	t.Helper()
	accepted(t, assign(tab, "j", n, 1, bad))
	accepted(t, fail(tab, ref("j", n, 1, bad), "boom"))
	accepted(t, assign(tab, "j", n, 2, good))
	accepted(t, finish(tab, ref("j", n, 2, good), "1"))
}

// A worker is suspect once it failed three parts that others did, and no longer
// once it succeeds; both are events.
func TestSuspectWorker(t *testing.T) {
	tab := submitted(t, "j", 9)
	suspect := func(want bool) {
		t.Helper()
		if h := tab.Health("n1.bad"); h.Suspect() != want {
			t.Fatalf("bad is suspect: %v (%+v), want %v", h.Suspect(), h, want)
		}
	}
	for n := range 3 {
		suspect(false)
		failedThenDone(t, tab, n, "bad", "good")
	}
	suspect(true)
	if tab.Health("n1.good") != (jobs.WorkerHealth{}) {
		t.Errorf("there is a row of a worker that never failed: %+v", tab.Health("n1.good"))
	}
	accepted(t, assign(tab, "j", 3, 1, "bad"))
	accepted(t, finish(tab, ref("j", 3, 1, "bad"), "1"))
	suspect(false)
	var got []string
	for _, e := range tab.Events() {
		if e.Topic == wire.TopicComponent {
			if e.Row != (jobs.Row{}) {
				t.Errorf("%s has the row %+v, which a list of components takes for its own", e.Kind, e.Row)
			}
			got = append(got, fmt.Sprintf("%s %s: %s", e.Kind, e.Key, e.Reason))
		}
	}
	planned(t, "events", got, "worker_suspect n1.bad: 3 of its attempts failed, and other workers did the same parts"+
		" worker_trusted n1.bad: its attempts succeed again")
}

// A part that fails everywhere, or at the only worker, blames nobody.
func TestBadPartBlamesNobody(t *testing.T) {
	tab := submitted(t, "j", 9, attempts(9))
	for n := range 4 {
		for i, w := range []string{"a", "b", "a"} {
			accepted(t, assign(tab, "j", n, i+1, w))
			accepted(t, fail(tab, ref("j", n, i+1, w), "boom"))
		}
	}
	accepted(t, assign(tab, "j", 4, 1, "a"))
	accepted(t, fail(tab, ref("j", 4, 1, "a"), "away"))
	accepted(t, assign(tab, "j", 4, 2, "a"))
	accepted(t, finish(tab, ref("j", 4, 2, "a"), "1"))
	for _, w := range []string{"n1.a", "n1.b"} {
		if h := tab.Health(w); h.Blamed != 0 {
			t.Errorf("%s has %d blames, want none", w, h.Blamed)
		}
	}
}

// What is held against a session ends with it, and not with an older one.
func TestForgive(t *testing.T) {
	tab := submitted(t, "j", 9)
	failedThenDone(t, tab, 0, "bad", "good")
	tab.ResetHealth("n1.bad", "older")
	if tab.Health("n1.bad").Blamed != 1 {
		t.Error("another session's end forgives")
	}
	tab.ResetHealth("n1.bad", "bad")
	if tab.Health("n1.bad") != (jobs.WorkerHealth{}) {
		t.Error("the row stays when the session ends")
	}
}

// Of the jobs of an older log the rows are as they were: replicas of both
// releases may meet.
func TestJobsOfBeforeNoteNoFailures(t *testing.T) {
	old := spec(t, 1)
	old.MaxLosses = 0
	tab := new(jobs.Table).Next(1)
	if _, err := tab.Submit(jobs.Submit{ID: "j", Spec: old}, t0); err != nil {
		t.Fatal(err)
	}
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, fail(tab, ref("j", 0, 1, "a"), "boom"))
	if p := partState(t, tab, "j", 0, jobs.Waiting); p.FailedBy != nil || tab.Health("n1.a") != (jobs.WorkerHealth{}) {
		t.Errorf("a job of before notes %v and %+v", p.FailedBy, tab.Health("n1.a"))
	}
}

// A part of many workers remembers the latest few that failed it.
func TestFailedByIsBounded(t *testing.T) {
	tab := submitted(t, "j", 1, attempts(100))
	for i := range 50 {
		w := fmt.Sprint("w", i)
		accepted(t, assign(tab, "j", 0, i+1, w))
		accepted(t, fail(tab, ref("j", 0, i+1, w), "boom"))
	}
	p := partState(t, tab, "j", 0, jobs.Waiting)
	if len(p.FailedBy) != 16 || p.FailedBy[15] != "n1.w49" {
		t.Errorf("%d workers are remembered, %v; want the last 16", len(p.FailedBy), p.FailedBy)
	}
}
