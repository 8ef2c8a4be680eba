package jobs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/jobs"
)

// limited is a table with a job of n parts, all at work, whose results may have
// quota bytes.
func limited(t *testing.T, tab *jobs.Table, id string, n int, quota int64) *jobs.Table {
	t.Helper()
	if _, err := tab.Submit(jobs.Submit{ID: id, Spec: spec(t, n, attempts(2)), ResultQuota: quota}, t0); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		accepted(t, assign(tab, id, i, 1, "s1"))
	}
	return tab
}

// report finishes a part where all results together may have quota bytes.
func report(tab *jobs.Table, d jobs.PartDone, quota int64) jobs.Verdict {
	v, _ := tab.Finish(jobs.Finish{Parts: []jobs.PartDone{d}, ResultQuota: quota}, t0)
	return v[0]
}

func ended(job string, n int, result string) jobs.PartDone {
	return jobs.PartDone{Ref: ref(job, n, 1, "s1"), OK: true, Result: json.RawMessage(result)}
}

// What fits to the last byte is kept; the first result beyond the quota of its
// job fails its part for good, and with it the job, and what was there stays.
func TestResultsBeyondTheQuotaOfTheirJob(t *testing.T) {
	tab := limited(t, new(jobs.Table).Next(1), "a", 4, 20)
	accepted(t, report(tab, ended("a", 0, `"12345678"`), 0))
	accepted(t, report(tab, ended("a", 1, `"12345678"`), 0))
	partState(t, tab, "a", 1, jobs.Done)
	accepted(t, report(tab, ended("a", 2, `7`), 0))
	p := partState(t, tab, "a", 2, jobs.Failed)
	for _, want := range []string{"result_quota: ", "1 bytes more", "job a have 20 of at most 20 bytes"} {
		if !strings.Contains(p.Error, want) {
			t.Errorf("the error of the part lacks %q: %s", want, p.Error)
		}
	}
	if p.Result != nil || p.Failures != 1 || p.Attempt != 1 {
		t.Errorf("part 2 has result %s, %d failures and attempt %d, want none, 1 and 1", p.Result, p.Failures, p.Attempt)
	}
	j := state(t, tab, "a", jobs.Failed)
	if !strings.Contains(j.Reason, "part 2 failed: result_quota: ") {
		t.Errorf("the reason of the job is %q", j.Reason)
	}
	if got, want := tab.SizeOf("a").Results, int64(20+len(p.Error)); got != want {
		t.Errorf("the results of the job have %d bytes, want %d", got, want)
	}
	partState(t, tab, "a", 3, jobs.Cancelled)
	if h := tab.Health("n1.s1"); h.Failed != 0 {
		t.Errorf("the worker is blamed: %+v", h)
	}
	accepted(t, report(tab, ended("a", 2, `7`), 0)) // reported twice
}

// The quota of all jobs counts what every job has, and room comes back when a
// job is forgotten.
func TestResultsBeyondTheQuotaOfAllJobs(t *testing.T) {
	tab := limited(t, new(jobs.Table).Next(1), "a", 1, 100)
	limited(t, tab, "b", 1, 100)
	limited(t, tab, "c", 1, 100)
	accepted(t, report(tab, ended("a", 0, `"12345678"`), 15))
	state(t, tab, "a", jobs.Done)
	accepted(t, report(tab, ended("b", 0, `"123456"`), 15))
	p := partState(t, tab, "b", 0, jobs.Failed)
	if !strings.Contains(p.Error, "all jobs have 10 of at most 15 bytes") || !strings.Contains(p.Error, "forget jobs") {
		t.Errorf("the error of the part is %q", p.Error)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := tab.Forget(jobs.Forget{ID: id}, t0); err != nil {
			t.Fatal(err)
		}
	}
	accepted(t, report(tab, ended("c", 0, `"123456"`), 15))
	state(t, tab, "c", jobs.Done)
	if got, want := tab.Size(), (jobs.Size{Jobs: 1, Parts: 1, Input: 3, Results: 8}); got != want {
		t.Errorf("the jobs have %+v, want %+v", got, want)
	}
	sound(t, tab)
}

// A job and reports of a log from before know no quota.
func TestNoQuotaIsNoBound(t *testing.T) {
	tab := limited(t, new(jobs.Table).Next(1), "a", 1, 0)
	accepted(t, report(tab, ended("a", 0, `"12345678"`), 0))
	state(t, tab, "a", jobs.Done)
}

// Error texts count as results do. One that finds no room is not kept, and its
// part is tried again all the same.
func TestErrorTextsCount(t *testing.T) {
	tab := limited(t, new(jobs.Table).Next(1), "a", 2, 22) // room for one text with the name of its worker
	failed := func(n, attempt int, text string) {
		t.Helper()
		accepted(t, report(tab, jobs.PartDone{Ref: ref("a", n, attempt, "s1"), Error: text}, 0))
	}
	failed(0, 1, "no such pulse")
	if p := partState(t, tab, "a", 0, jobs.Waiting); p.Error != "no such pulse" {
		t.Errorf("the error is %q", p.Error)
	}
	failed(1, 1, "no such pulse")
	if p := partState(t, tab, "a", 1, jobs.Waiting); !strings.HasPrefix(p.Error, "result_quota: no room") {
		t.Errorf("the error is %q", p.Error)
	}
	sound(t, tab)
	accepted(t, assign(tab, "a", 0, 2, "s1"))
	accepted(t, assign(tab, "a", 1, 2, "s1"))
	if got, want := tab.SizeOf("a").Results, int64(len("n1.s1")); got != want {
		t.Errorf("with both at work again %d bytes are counted, want %d", got, want)
	}
	failed(0, 2, strings.Repeat("x", 30))
	if j := state(t, tab, "a", jobs.Failed); !strings.Contains(j.Reason, "tried 2 times and failed: xxx") {
		t.Errorf("the reason is %q", j.Reason)
	}
}

// The size of a job is that of what came with it.
func TestSizeOfAJob(t *testing.T) {
	tab := new(jobs.Table).Next(1)
	submit(t, tab, "a", 3, group("gr"), labelled("k", "vv"))
	if got, want := tab.SizeOf("a"), (jobs.Size{Jobs: 1, Parts: 3, Input: int64(len("cat") + len("gr") + len("kvv"))}); got != want {
		t.Errorf("the job has %+v, want %+v", got, want)
	}
	if got := tab.SizeOf("nobody"); got != (jobs.Size{}) {
		t.Errorf("no job has %+v", got)
	}
	sound(t, tab)
}
