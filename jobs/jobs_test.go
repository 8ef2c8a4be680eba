package jobs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// A job goes from queued over running to done, and emits an event for every step.
func TestLifeOfAJob(t *testing.T) {
	tab := submitted(t, "j", 2)
	state(t, tab, "j", jobs.Queued)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, assign(tab, "j", 1, 1, "a"))
	state(t, tab, "j", jobs.Running)
	if got := tab.Held("a"); got != 2 {
		t.Errorf("a holds %d parts after two assignments, want 2", got)
	}
	accepted(t, start(tab, ref("j", 0, 1, "a")))
	accepted(t, finish(tab, ref("j", 0, 1, "a"), `7`))
	accepted(t, finish(tab, ref("j", 1, 1, "a"), `8`)) // never reported as started
	j := state(t, tab, "j", jobs.Done)
	if got := tab.Held("a"); got != 0 {
		t.Errorf("a holds %d parts at the end, want none", got)
	}
	if want := (wire.PartCounts{Total: 2, Done: 2}); j.Wire(false).Parts != want {
		t.Errorf("counts %+v, want %+v", j.Wire(false).Parts, want)
	}
	var kinds []string
	for _, e := range tab.Events() {
		kinds = append(kinds, e.Kind)
		if e.Key != "j" || e.Index != 1 || e.Topic != wire.TopicJob {
			t.Errorf("event %+v, want topic job, key j and index 1", e)
		}
	}
	want := "submitted running part_assigned part_assigned part_started part_done part_done done"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// The same id is the same job, unless the content differs.
func TestSubmitTwice(t *testing.T) {
	tab := submitted(t, "j", 2)
	first, _ := tab.Job("j")
	again, err := tab.Next(2).Submit(jobs.Submit{ID: "j", Spec: spec(t, 2), By: "bob"}, t0.Add(time.Hour))
	if err != nil || !cmp.Equal(first, again) {
		t.Errorf("the same job again: %+v, %v; want the first one", again, err)
	}
	if _, err := tab.Next(2).Submit(jobs.Submit{ID: "j", Spec: spec(t, 3)}, t0); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("the same id with another spec: %v, want conflict", err)
	}
}

// A late finish of attempt 1 after attempt 2 was assigned is refused.
func TestLateFinishIsRefused(t *testing.T) {
	tab := submitted(t, "j", 1)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, requeue(tab, ref("j", 0, 1, "a")))
	refused(t, finish(tab, ref("j", 0, 1, "a"), `1`), wire.CodeConflict) // taken back
	accepted(t, assign(tab, "j", 0, 2, "b"))
	refused(t, finish(tab, ref("j", 0, 1, "a"), `1`), wire.CodeConflict)
	refused(t, finish(tab, ref("j", 0, 2, "a"), `1`), wire.CodeConflict) // right attempt, wrong session
	refused(t, start(tab, ref("j", 0, 1, "a")), wire.CodeConflict)
	accepted(t, finish(tab, ref("j", 0, 2, "b"), `2`))
	if p := partState(t, tab, "j", 0, jobs.Done); string(p.Result) != "2" || p.Losses != 1 {
		t.Errorf("result %s, losses %d; want 2 of attempt 2, 1 loss", p.Result, p.Losses)
	}
}

// Every report may be repeated.
func TestReportsToldTwice(t *testing.T) {
	tab := submitted(t, "j", 2, attempts(2))
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, assign(tab, "j", 1, 1, "a"))
	for range 2 {
		accepted(t, start(tab, ref("j", 0, 1, "a")))
	}
	for _, result := range []string{"1", "2"} {
		accepted(t, finish(tab, ref("j", 0, 1, "a"), result))
	}
	if p := partState(t, tab, "j", 0, jobs.Done); string(p.Result) != "1" {
		t.Errorf("result %s, want that of the first report", p.Result)
	}
	for range 2 {
		accepted(t, fail(tab, ref("j", 1, 1, "a"), "no"))
	}
	if p := partState(t, tab, "j", 1, jobs.Waiting); p.Failures != 1 {
		t.Errorf("%d failures after one report sent twice, want 1", p.Failures)
	}
	refused(t, start(tab, ref("j", 0, 1, "a")), wire.CodeConflict) // a late hint must not run it again
	state(t, tab, "j", jobs.Running)
}

// A part is tried MaxAttempts times; then it fails the job, and the others are
// cancelled, assigned or not.
func TestFailedPartFailsTheJob(t *testing.T) {
	tab := submitted(t, "j", 4, attempts(2))
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, assign(tab, "j", 1, 1, "b"))
	accepted(t, fail(tab, ref("j", 0, 1, "a"), "Traceback\nValueError: first"))
	refused(t, assign(tab, "j", 0, 1, "a"), wire.CodeConflict)
	accepted(t, assign(tab, "j", 0, 2, "a"))
	accepted(t, fail(tab, ref("j", 0, 2, "a"), "Traceback\nValueError: second"))
	j := state(t, tab, "j", jobs.Failed)
	if want := "part 0 was tried 2 times and failed: ValueError: second"; j.Reason != want {
		t.Errorf("reason %q, want %q", j.Reason, want)
	}
	partState(t, tab, "j", 1, jobs.Cancelled)
	partState(t, tab, "j", 3, jobs.Cancelled)
	if want := (jobs.Counts{Failed: 1, Cancelled: 3, Retries: 1}); j.Counts != want {
		t.Errorf("counts %+v, want %+v", j.Counts, want)
	}
	refused(t, finish(tab, ref("j", 1, 1, "b"), `1`), wire.CodeConflict)
	refused(t, assign(tab, "j", 2, 1, "b"), wire.CodeConflict)
}

// A part that was lost ten times is given up.
func TestLossLimit(t *testing.T) {
	tab := submitted(t, "j", 2)
	accepted(t, assign(tab, "j", 0, 1, "x"))
	accepted(t, assign(tab, "j", 1, 1, "y"))
	for i := 1; i < jobs.LossLimit; i++ {
		accepted(t, requeue(tab, ref("j", 0, i, "x")))
		accepted(t, assign(tab, "j", 0, i+1, "x"))
	}
	state(t, tab, "j", jobs.Running)
	tab.Release("x", "lease ran out", t0)
	state(t, tab, "j", jobs.Failed)
	partState(t, tab, "j", 0, jobs.Lost)
	partState(t, tab, "j", 1, jobs.Cancelled)
}

// A part whose worker died or vanished three times is given up, so that it does
// not take one worker after the other. Workers that took their leave, or that
// were not reached, do not count, and jobs of before keep their limit.
func TestPartThatEndsItsWorkers(t *testing.T) {
	tab := submitted(t, "j", 2)
	attempt := 0
	run := func() jobs.Ref {
		attempt++
		accepted(t, assign(tab, "j", 0, attempt, "x"))
		return ref("j", 0, attempt, "x")
	}
	run()
	tab.ReleaseVanished("x", "its lease ran out", t0)
	accepted(t, requeue(tab, run())) // did not start
	run()
	tab.Release("x", "signed out", t0)
	r := run()
	accepted(t, start(tab, r))
	accepted(t, requeue(tab, r)) // did not finish
	run()
	state(t, tab, "j", jobs.Running)
	tab.ReleaseVanished("x", "its lease ran out", t0)
	j := state(t, tab, "j", jobs.Failed)
	if want := "part 0 was lost 5 times, and 3 times its worker died or vanished under it; at last: its lease ran out"; j.Reason != want {
		t.Errorf("reason %q, want %q", j.Reason, want)
	}
	partState(t, tab, "j", 0, jobs.Lost)

	old := spec(t, 1)
	old.MaxLosses = 0
	tab = new(jobs.Table).Next(1)
	if _, err := tab.Submit(jobs.Submit{ID: "j", Spec: old}, t0); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Submit(jobs.Submit{ID: "j", Spec: spec(t, 1)}, t0); err != nil {
		t.Errorf("the same job submitted again by a newer coordinator: %v", err)
	}
	for attempt = 0; attempt < jobs.LossLimit-1; {
		run()
		tab.ReleaseVanished("x", "its lease ran out", t0)
	}
	if p := partState(t, tab, "j", 0, jobs.Waiting); p.Vanished != 0 {
		t.Errorf("a job of before counts %d vanished workers: replicas would differ", p.Vanished)
	}
}

// The end of a session puts all it holds back, and nothing else.
func TestReleaseOfASession(t *testing.T) {
	tab := submitted(t, "j", 3)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, assign(tab, "j", 1, 1, "b"))
	accepted(t, assign(tab, "j", 2, 1, "a"))
	accepted(t, start(tab, ref("j", 2, 1, "a")))
	tab.Release("a", "signed out", t0)
	partState(t, tab, "j", 0, jobs.Waiting)
	partState(t, tab, "j", 1, jobs.Assigned)
	partState(t, tab, "j", 2, jobs.Waiting)
	if tab.Held("a") != 0 || tab.Held("b") != 1 {
		t.Errorf("a holds %d, b holds %d; want 0 and 1", tab.Held("a"), tab.Held("b"))
	}
	sound(t, tab)
}

// Cancelling is for jobs that go on; twice is once.
func TestCancelAndForget(t *testing.T) {
	tab := submitted(t, "j", 3)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	if _, err := tab.Forget(jobs.Forget{ID: "j"}, t0); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("forget a running job: %v, want conflict", err)
	}
	for range 2 {
		if _, err := tab.Cancel(jobs.Cancel{ID: "j", Reason: "enough"}, t0); err != nil {
			t.Fatalf("cancel: %v", err)
		}
	}
	if j := state(t, tab, "j", jobs.Cancelled); j.Reason != "enough" {
		t.Errorf("reason %q, want enough", j.Reason)
	}
	if _, err := tab.Cancel(jobs.Cancel{ID: "j", State: jobs.Failed}, t0); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("fail a cancelled job: %v, want conflict", err)
	}
	if _, err := tab.Cancel(jobs.Cancel{ID: "k"}, t0); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("cancel an unknown job: %v, want not_found", err)
	}
	for range 2 {
		if _, err := tab.Forget(jobs.Forget{ID: "j"}, t0); err != nil {
			t.Fatalf("forget: %v", err)
		}
	}
	if tab.Len() != 0 {
		t.Errorf("%d jobs after forget, want none", tab.Len())
	}
	sound(t, tab)
}

// Results come in the order of ending, and a reader can go on where it stopped.
func TestEndedOrder(t *testing.T) {
	tab := submitted(t, "j", 5)
	for n := range 4 {
		accepted(t, assign(tab, "j", n, 1, "a"))
	}
	tab = tab.Next(2)
	accepted(t, finish(tab, ref("j", 3, 1, "a"), `3`))
	tab = tab.Next(3)
	accepted(t, finish(tab, ref("j", 2, 1, "a"), `2`))
	accepted(t, finish(tab, ref("j", 0, 1, "a"), `0`))
	tab = tab.Next(4)
	if _, err := tab.Cancel(jobs.Cancel{ID: "j"}, t0); err != nil {
		t.Fatal(err)
	}
	want := []int{3, 0, 2, 1, 4}
	var got []int
	index, part := uint64(0), -1
	for { // one at a time, from the cursor
		on := false
		for p := range tab.Ended("j", index, part) {
			got, index, part, on = append(got, p.N), p.EndedIndex, p.N, true
			break
		}
		if !on {
			break
		}
	}
	if !cmp.Equal(got, want) {
		t.Errorf("parts ended in order %v, want %v", got, want)
	}
	got = nil
	for p := range tab.Ended("j", 0, -1) {
		got = append(got, p.N)
	}
	if !cmp.Equal(got, want) {
		t.Errorf("read at once: %v, want %v", got, want)
	}
}

// A frozen table does not see what happens to its copies.
func TestCopiesAreApart(t *testing.T) {
	old := submitted(t, "j", 3)
	accepted(t, assign(old, "j", 0, 1, "a"))
	next := old.Next(2)
	accepted(t, finish(next, ref("j", 0, 1, "a"), `1`))
	accepted(t, assign(next, "j", 1, 1, "a"))
	dropped := old.Next(2)
	accepted(t, fail(dropped, ref("j", 0, 1, "a"), "x"))
	partState(t, old, "j", 0, jobs.Assigned)
	partState(t, next, "j", 0, jobs.Done)
	partState(t, dropped, "j", 0, jobs.Waiting)
	if len(next.Events()) != 2 {
		t.Errorf("events of the copy: %v, want only its own two", next.Events())
	}
	for _, tab := range []*jobs.Table{old, next, dropped} {
		sound(t, tab)
	}
}

// A result above the limit, which no door lets through, counts once it is in the
// log: the limit of a binary is no judge of it.
func TestLargeResultOfTheLog(t *testing.T) {
	tab := submitted(t, "j", 1)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	big := `"` + strings.Repeat("x", wire.MaxResult) + `"`
	accepted(t, finish(tab, ref("j", 0, 1, "a"), big))
	partState(t, tab, "j", 0, jobs.Done)
}

// A byte order mark is no part of a script, and a first line that names the runtime's own interpreter is none of our
// business.
func TestCheckOfAScriptsBeginning(t *testing.T) {
	for runtime, script := range map[string]string{"python3": "#!/usr/bin/env python3\nx", "sh": "#!/bin/bash\nx"} {
		s, err := jobs.Check(wire.SubmitJob{Runtime: runtime, Script: "\uFEFF" + script, Items: []json.RawMessage{[]byte("1")}})
		if err != nil || s.Script != script {
			t.Errorf("%s: got %q (%v), want %q", runtime, s.Script, err, script)
		}
	}
}

func TestCheck(t *testing.T) {
	zero, high := 0, 101
	for name, c := range map[string]struct {
		in    wire.SubmitJob
		field string
		code  wire.Code
	}{
		"unknown runtime":     {wire.SubmitJob{Runtime: "perl"}, "runtime", wire.CodeInvalid},
		"no script":           {wire.SubmitJob{Script: " \n"}, "script", wire.CodeInvalid},
		"binary script":       {wire.SubmitJob{Script: "a\x00b"}, "script", wire.CodeInvalid},
		"python3, by bash":    {wire.SubmitJob{Runtime: "python3", Script: "#!/bin/bash\nx"}, "script", wire.CodeInvalid},
		"split":               {wire.SubmitJob{Split: json.RawMessage(`"x"`)}, "split", wire.CodeInvalid},
		"reduce":              {wire.SubmitJob{Reduce: json.RawMessage(`"x"`)}, "reduce", wire.CodeInvalid},
		"after":               {wire.SubmitJob{After: json.RawMessage(`["x"]`)}, "after", wire.CodeInvalid},
		"items and range":     {wire.SubmitJob{Items: []json.RawMessage{[]byte("1")}, Range: &wire.Range{To: 1}}, "items", wire.CodeInvalid},
		"no parts":            {wire.SubmitJob{Range: nil, Items: []json.RawMessage{}}, "items", wire.CodeInvalid},
		"empty range":         {wire.SubmitJob{Range: &wire.Range{From: 3, To: 3}}, "range", wire.CodeInvalid},
		"endless range":       {wire.SubmitJob{Range: &wire.Range{From: -1 << 63, To: 1<<63 - 1}}, "range", wire.CodeInvalid},
		"negative chunk":      {wire.SubmitJob{Range: &wire.Range{To: 5, Chunk: -1}}, "range", wire.CodeInvalid},
		"priority":            {wire.SubmitJob{Priority: &high}, "priority", wire.CodeInvalid},
		"attempts":            {wire.SubmitJob{MaxAttempts: -1}, "max_attempts", wire.CodeInvalid},
		"part timeout":        {wire.SubmitJob{PartTimeout: wire.Duration(25 * time.Hour)}, "part_timeout", wire.CodeInvalid},
		"timeout":             {wire.SubmitJob{Timeout: -1}, "timeout", wire.CodeInvalid},
		"id":                  {wire.SubmitJob{ID: "a/b"}, "id", wire.CodeInvalid},
		"too large":           {wire.SubmitJob{Script: strings.Repeat("x", jobs.MaxInput+1)}, "", wire.CodeTooLarge},
		"too large as JSON":   {wire.SubmitJob{Script: strings.Repeat("<", jobs.MaxInput/2)}, "", wire.CodeTooLarge},
		"args too deep":       {wire.SubmitJob{Args: nested(61)}, "args", wire.CodeInvalid},
		"an item too deep":    {wire.SubmitJob{Items: []json.RawMessage{nested(60), nested(61)}}, "items[1]", wire.CodeInvalid},
		"an item no JSON":     {wire.SubmitJob{Items: []json.RawMessage{[]byte("1"), []byte("{")}}, "items[1]", wire.CodeInvalid},
		"fine, nested":        {wire.SubmitJob{Args: nested(60), Items: []json.RawMessage{nested(60)}}, "", ""},
		"fine, priority 0":    {wire.SubmitJob{Priority: &zero}, "", ""},
		"fine, 100,000 items": {wire.SubmitJob{Items: many(wire.MaxParts)}, "", ""},
		"too many items":      {wire.SubmitJob{Items: many(wire.MaxParts + 1)}, "items", wire.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.in.Runtime == "" {
				c.in.Runtime = "sh"
			}
			if c.in.Script == "" {
				c.in.Script = "cat"
			}
			if c.in.Range == nil && c.in.Items == nil {
				c.in.Range = &wire.Range{To: 1}
			}
			_, err := jobs.Check(c.in)
			if wire.CodeOf(err) != c.code {
				t.Fatalf("got %v, want code %q", err, c.code)
			}
			var e *wire.Error
			if errors.As(err, &e) && e.Field != c.field {
				t.Errorf("the error names field %q, want %q: %v", e.Field, c.field, err)
			}
		})
	}
}

// nested is a list in a list, n deep.
func nested(n int) json.RawMessage {
	return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n))
}

func many(n int) []json.RawMessage {
	return bytes2raw(bytes.Split(bytes.Repeat([]byte("1,"), n), []byte(","))[:n])
}

func bytes2raw(in [][]byte) (out []json.RawMessage) {
	for _, b := range in {
		out = append(out, b)
	}
	return out
}

// The items of a range are its chunks, the last one cut.
func TestRangeItems(t *testing.T) {
	s := spec(t, 0, func(s *wire.SubmitJob) { s.Range = &wire.Range{From: -5, To: 6, Chunk: 4} })
	want := []string{`{"from":-5,"to":-1}`, `{"from":-1,"to":3}`, `{"from":3,"to":6}`}
	if s.Parts() != len(want) {
		t.Fatalf("%d parts, want %d", s.Parts(), len(want))
	}
	for n, w := range want {
		if got := string(s.Item(n)); got != w {
			t.Errorf("item %d is %s, want %s", n, got, w)
		}
	}
	if s.Item(-1) != nil || s.Item(3) != nil {
		t.Error("there are items outside the range")
	}
	edge := spec(t, 0, func(s *wire.SubmitJob) { s.Range = &wire.Range{From: 1<<63 - 3, To: 1<<63 - 1, Chunk: 1 << 62} })
	if got, want := string(edge.Item(0)), `{"from":9223372036854775805,"to":9223372036854775807}`; edge.Parts() != 1 || got != want {
		t.Errorf("at the edge of int64: %d parts, item %s; want one, %s", edge.Parts(), got, want)
	}
}

// What a session must run and drop is the difference of the table and its word.
func TestSync(t *testing.T) {
	tab := submitted(t, "j", 3)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	accepted(t, assign(tab, "j", 1, 1, "a"))
	accepted(t, assign(tab, "j", 2, 1, "b"))
	accepted(t, finish(tab, ref("j", 0, 1, "a"), `1`))
	got := jobs.Sync(tab, "a", []wire.PartRef{{Job: "j", Part: 0, Attempt: 1}, {Job: "gone", Part: 0, Attempt: 1}, {Job: "j", Part: 2, Attempt: 1}})
	want := wire.SyncedParts{
		Run: []wire.RunPart{{
			PartRef: wire.PartRef{Job: "j", Part: 1, Attempt: 1}, Runtime: "sh", Script: "cat",
			Item: json.RawMessage(`{"from":1,"to":2}`), PartTimeout: wire.Duration(time.Minute),
		}},
		Cancel: []wire.PartRef{{Job: "j", Part: 0, Attempt: 1}, {Job: "gone", Part: 0, Attempt: 1}, {Job: "j", Part: 2, Attempt: 1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("sync (-want +got):\n%s", d)
	}
}

// 100,000 parts cost no more to submit, cancel and forget than one.
func TestLargeJobIsLazy(t *testing.T) {
	tab := submitted(t, "j", wire.MaxParts)
	plan := carryOut(t, tab, 3, worker("a", 100))
	if len(plan) != 3 {
		t.Fatalf("plan %v, want 3 assignments", plan)
	}
	rows := 0
	for range tab.PartRows() {
		rows++
	}
	if rows != 3 {
		t.Errorf("%d rows after 3 assignments of a job of 100,000 parts, want 3", rows)
	}
	if n := testing.AllocsPerRun(10, func() { jobs.Plan(tab, []jobs.Worker{worker("b", 5)}, 5, nil) }); n > 100 {
		t.Errorf("a plan of 5 takes %v allocations, want few", n)
	}
	if _, err := tab.Cancel(jobs.Cancel{ID: "j"}, t0); err != nil {
		t.Fatal(err)
	}
	if j := state(t, tab, "j", jobs.Cancelled); j.Counts.Cancelled != wire.MaxParts {
		t.Errorf("%d parts cancelled, want all", j.Counts.Cancelled)
	}
}
