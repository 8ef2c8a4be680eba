package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/wire"
)

// Results come by number or as they end, at once or while the job runs.
func TestResults(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		worker := n1.worker(t, "hand")
		job := n1.submit(t, "count", 3)
		for part := range 3 {
			w.assign(job, part, 1, worker)
		}
		finish := func(part int) {
			_, err := n1.call(t, worker.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{
				PartRef: wire.PartRef{Job: job, Part: part, Attempt: 1}, OK: true, Result: json.RawMessage(fmt.Sprint(part * 10)),
			}}})
			noError(t, err)
			synctest.Wait()
		}
		read := func(q work.ResultQuery) *strings.Builder {
			seq, _, err := n1.Results(t.Context(), anyone, control.Read{}, job, q)
			noError(t, err)
			var got strings.Builder
			take := func() {
				for r, err := range seq {
					if err != nil {
						got.WriteString(err.Error())
						return
					}
					fmt.Fprintf(&got, "%d=%s ", r.Part, r.Result)
				}
				got.WriteString("end")
			}
			if q.Follow {
				go take()
				synctest.Wait()
			} else {
				take()
			}
			return &got
		}
		byPart, byEnd := read(work.ResultQuery{Follow: true}), read(work.ResultQuery{Follow: true, Order: work.ByEnd})
		steps := []struct {
			part          int
			byPart, byEnd string
		}{
			{2, "", "2=20 "},
			{0, "0=0 ", "2=20 0=0 "},
			{1, "0=0 1=10 2=20 end", "2=20 0=0 1=10 end"},
		}
		for _, s := range steps {
			finish(s.part)
			if byPart.String() != s.byPart || byEnd.String() != s.byEnd {
				t.Fatalf("after part %d: %q by part, %q by end; want %q, %q", s.part, byPart, byEnd, s.byPart, s.byEnd)
			}
		}
		if got := read(work.ResultQuery{Order: work.ByEnd}).String(); got != "2=20 0=0 1=10 end" {
			t.Errorf("all at once by end: %q", got)
		}
		_, _, err := n1.Results(t.Context(), anyone, control.Read{}, "nobody", work.ResultQuery{})
		refused(t, err, wire.CodeNotFound, "nobody")
		for _, state := range []string{"finished", "running"} { // no state, and none of a part that has ended
			_, _, err := n1.Results(t.Context(), anyone, control.Read{}, job, work.ResultQuery{State: state})
			refused(t, err, wire.CodeInvalid, "state")
		}
		_, _, err = n1.Jobs(t.Context(), anyone, control.Read{}, work.JobFilter{State: "finished"}, control.Page{})
		refused(t, err, wire.CodeInvalid, "state")
		_, _, err = n1.Parts(t.Context(), anyone, control.Read{}, job, "queued", control.Page{})
		refused(t, err, wire.CodeInvalid, "state")
		_, _, err = n1.Results(t.Context(), anyone, control.Read{}, job, work.ResultQuery{Order: "random"})
		refused(t, err, wire.CodeInvalid, "order")
	}, "n1")
}

// A reader that gives up ends its sequence.
func TestResultsEndWithTheReader(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		job := n1.submit(t, "count", 1)
		ctx, cancel := context.WithCancel(t.Context())
		seq, _, err := n1.Results(ctx, anyone, control.Read{}, job, work.ResultQuery{Follow: true})
		noError(t, err)
		last := make(chan error, 1)
		go func() {
			for _, err := range seq {
				last <- err
			}
		}()
		synctest.Wait()
		cancel()
		if err := <-last; err != context.Canceled {
			t.Errorf("the sequence ended with %v, want the context's error", err)
		}
	}, "n1")
}

// Where 0 is no value it is refused, by whatever door it comes; without the field there is a default.
func TestSubmitRefusesZeros(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		me := n1.signIn(t, "me")
		for _, field := range []string{`"max_attempts":0`, `"part_timeout":0`, `"part_timeout":"0s"`, `"keep":"0m"`, `"range":{"from":0,"to":9,"chunk":0}`} {
			job := `{"runtime":"sh","script":"true",` + field + `}`
			if !strings.Contains(field, "range") {
				job = job[:len(job)-1] + `,"items":[1]}`
			}
			_, err := n1.call(t, me.Secret, "jobs.submit", json.RawMessage(job))
			refused(t, err, wire.CodeInvalid, "leave it out for the default")
		}
		_, err := n1.call(t, me.Secret, "jobs.submit", json.RawMessage(`{"runtime":"sh","script":"true","items":[1],"timeout":0,"parallel":0,"priority":0,"max_attempts":null}`))
		noError(t, err)
	}, "n1")
}

// The same id or key is the same job; another content under it is a conflict.
func TestSubmitTwice(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		spec := wire.SubmitJob{Runtime: "sh", Script: "true", Items: []json.RawMessage{json.RawMessage("1")}}
		one, index, err := n1.Submit(t.Context(), named("ann"), spec, key)
		noError(t, err)
		two, _, err := n2.Submit(t.Context(), named("ann"), spec, key)
		noError(t, err)
		if one.ID != two.ID || one.ID == "" || index == 0 || one.By != "ann" || one.State != "queued" {
			t.Errorf("submitted %+v at %d and %+v, want one queued job by ann", one, index, two)
		}
		if one.Known || !two.Known {
			t.Errorf("known: %v at first and %v again, want false and true", one.Known, two.Known)
		}
		spec.Script = "false"
		_, _, err = n2.Submit(t.Context(), anyone, spec, key)
		refused(t, err, wire.CodeConflict, one.ID)
		three, _, err := n2.Submit(t.Context(), anyone, spec, "")
		noError(t, err)
		if three.ID == one.ID {
			t.Error("a job without key and id has the id of another")
		}
		_, _, err = n2.Submit(t.Context(), anyone, wire.SubmitJob{Runtime: "perl", Script: "x"}, "")
		refused(t, err, wire.CodeInvalid, "perl")
		list, _, err := n1.Jobs(t.Context(), anyone, control.Read{}, work.JobFilter{State: "queued"}, control.Page{Limit: 1})
		noError(t, err)
		if len(list.Jobs) != 1 || list.Next == "" || list.Jobs[0].Script != "" {
			t.Errorf("the first page is %+v, want one job without its script, and a next", list)
		}
		got, _, err := n1.CancelJob(t.Context(), anyone, one.ID, "")
		noError(t, err)
		if got.State != "cancelled" || got.Reason != "cancelled by its user" {
			t.Errorf("cancelled: %+v", got)
		}
		_, _, err = n1.CancelJob(t.Context(), anyone, "nobody", "")
		refused(t, err, wire.CodeNotFound, "nobody")
	}, "n1", "n2")
}
