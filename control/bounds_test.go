package control_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// inBounds runs a test in a cluster of two coordinators with other bounds than
// the defaults.
func inBounds(t *testing.T, b control.Bounds, play func(t *testing.T, w *testCluster)) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.bounds = b
		for _, id := range []string{"n1", "n2"} {
			w.nodes[id].stop()
			w.start(id)
		}
		synctest.Wait()
		play(t, w)
	}, "n1", "n2")
}

// Whatever a submitter can make the state grow by has a bound: what goes beyond
// it is refused, with the bound and the way out, and finds room when a job is
// forgotten. A repeat of what was taken in is none of it.
func TestJobsFindNoRoom(t *testing.T) {
	for _, tc := range []struct {
		name   string
		bounds control.Bounds
		says   string
	}{
		{"jobs", control.Bounds{Jobs: 2}, "there are 2 jobs, and at most 2 are kept"},
		{"parts", control.Bounds{Parts: 7}, "3 parts more do not fit: all jobs have 6 of at most 7"},
		{"input", control.Bounds{InputBytes: 11}, "4 bytes of scripts, args and items more do not fit: all jobs have 8 of at most 11"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBounds(t, tc.bounds, func(t *testing.T, w *testCluster) {
				n1, n2 := w.nodes["n1"], w.nodes["n2"]
				job := func(id string) wire.SubmitJob {
					return wire.SubmitJob{ID: id, Runtime: "sh", Script: "true", Range: &wire.Range{To: 3}}
				}
				submit := func(s *testNode, id string) error {
					_, _, err := s.Submit(t.Context(), anyone, job(id), "")
					return err
				}
				noError(t, submit(n1, "a"))
				noError(t, submit(n2, "b"))
				err := submit(n1, "c")
				refused(t, err, wire.CodeBusy, tc.says)
				if !strings.Contains(err.Error(), "raftctl jobs forget") {
					t.Errorf("no way out is named: %v", err)
				}
				// n2 does not know of b's end and of its being forgotten: it must not refuse by what was.
				noError(t, submit(n2, "b"))
				_, _, err = n1.ForgetJob(t.Context(), anyone, "b")
				refused(t, err, wire.CodeConflict, "cancel it first")
				w.lag("n2")
				_, _, err = n1.CancelJob(t.Context(), anyone, "b", "")
				noError(t, err)
				was, index, err := n1.ForgetJob(t.Context(), anyone, "b")
				if err != nil || index == 0 || was.State != jobs.Cancelled || was.ID != "b" {
					t.Errorf("forgotten: %+v at %d, %v", was, index, err)
				}
				noError(t, submit(n2, "c"))
				_, _, err = n1.ForgetJob(t.Context(), anyone, "b")
				refused(t, err, wire.CodeNotFound, "b")
			})
		})
	}
}

// A part whose result goes beyond the quota fails as result_quota, also where
// the quota is that of all jobs; then no new job is taken in, and everything
// that was done stays.
func TestResultsFindNoRoom(t *testing.T) {
	inBounds(t, control.Bounds{JobResultBytes: 30, ResultBytes: 50}, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		hand := n1.worker(t, "hand")
		run := func(id string, n int, size int) wire.Part {
			t.Helper()
			attempt := w.assign(id, n, 1, hand)
			_, err := n1.call(t, hand.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{
				PartRef: attempt, OK: true, Result: json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`),
			}}})
			noError(t, err)
			parts, _, err := n2.Parts(t.Context(), anyone, control.Read{}, id, "", control.Page{})
			noError(t, err)
			return parts.Parts[n]
		}
		state := func(id, state string, bytes int64) wire.Job {
			t.Helper()
			j, _, err := n2.Job(t.Context(), anyone, control.Read{}, id)
			noError(t, err)
			if j.State != state || j.ResultBytes < bytes || j.ResultQuota != 30 {
				t.Errorf("job %s is %s with %d of %d bytes of results, want %s with at least %d of 30", id, j.State, j.ResultBytes, j.ResultQuota, state, bytes)
			}
			return j
		}
		for _, id := range []string{"a", "b", "c"} {
			n1.submit(t, id, 2)
		}
		run("a", 0, 20)
		if p := run("a", 1, 11); p.State != jobs.Failed || !strings.HasPrefix(p.Error, "result_quota: 11 bytes") || !strings.Contains(p.Error, "job a have 20 of at most 30") {
			t.Errorf("the part beyond the quota of its job: %+v", p)
		}
		if j := state("a", jobs.Failed, 20); !strings.Contains(j.Reason, "part 1 failed: result_quota") {
			t.Errorf("the reason is %q", j.Reason)
		}
		if p := run("b", 0, 20); p.State != jobs.Failed || !strings.Contains(p.Error, "of all jobs have") {
			t.Errorf("the part beyond the quota of all jobs: %+v", p)
		}
		spec := wire.SubmitJob{ID: "d", Runtime: "sh", Script: "true", Range: &wire.Range{To: 1}}
		_, _, err := n1.Submit(t.Context(), anyone, spec, "")
		refused(t, err, wire.CodeBusy, "no room for results")
		st, err := n1.Status(t.Context(), anyone)
		noError(t, err)
		if z := st.JobSize; z.ResultBytes < 50 || z.MaxResultBytes != 50 || z.Jobs != 3 || z.Parts != 6 || z.MaxJobs != 20_000 {
			t.Errorf("the status has %+v", z)
		}
		for _, id := range []string{"a", "b"} {
			_, err := n2.call(t, hand.Secret, "jobs.forget", map[string]string{"id": id})
			noError(t, err)
		}
		_, _, err = n1.Submit(t.Context(), anyone, spec, "")
		noError(t, err)
		if p := run("c", 0, 20); p.State != jobs.Done {
			t.Errorf("with room again: %+v", p)
		}
		state("c", jobs.Running, 20)
	})
}

// So has whatever signs in: components, and the bytes of their names, labels,
// places and runtimes. Who is signed in already can repeat that, and move.
func TestComponentsFindNoRoom(t *testing.T) {
	inBounds(t, control.Bounds{Components: 2}, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		one := n1.signIn(t, "one")
		two, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "two"}, key)
		noError(t, err)
		_, err = n2.SignIn(t.Context(), anyone, wire.SignIn{Name: "three"}, "")
		refused(t, err, wire.CodeBusy, "2 components are signed in, and at most 2 may be")
		if again, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "two"}, key); err != nil || again.Session != two.Session {
			t.Errorf("the repeat of a sign-in: %+v, %v", again, err)
		}
		_, err = n2.SignIn(t.Context(), anyone, wire.SignIn{Name: "one", Namespace: "n1", Session: one.Session, Secret: one.Secret}, "")
		noError(t, err)
		w.lag("n2")
		_, err = n1.SignOut(t.Context(), by(two.Secret), two.FullName)
		noError(t, err)
		_, err = n2.SignIn(t.Context(), anyone, wire.SignIn{Name: "three"}, "")
		noError(t, err)
	})
	inBounds(t, control.Bounds{ComponentBytes: 1000}, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		labels := func(n int) map[string]string { return map[string]string{"k": strings.Repeat("v", n)} }
		one, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "one", Labels: labels(700)}, "")
		noError(t, err)
		_, err = n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "two", Labels: labels(300)}, "")
		refused(t, err, wire.CodeBusy, "of at most 1000: ")
		for i := range 3 { // less is always welcome, more of its own only as far as there is room
			in := wire.SignIn{Name: "one", Session: one.Session, Secret: one.Secret, Labels: labels(200 - i)}
			_, err = n1.SignIn(t.Context(), anyone, in, "")
			noError(t, err)
		}
		_, err = n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "two", Labels: labels(300)}, "")
		noError(t, err)
		in := wire.SignIn{Name: "one", Session: one.Session, Secret: one.Secret, Labels: labels(700)}
		_, err = n1.SignIn(t.Context(), anyone, in, "")
		refused(t, err, wire.CodeBusy, fmt.Sprintf("%d bytes more", 700-198))
	})
}
