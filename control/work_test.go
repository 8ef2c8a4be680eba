package control_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// notification decodes the notification in a message of COORDINATOR.
func notification[P any](t *testing.T, m wire.Received, method string) (p P) {
	t.Helper()
	in := struct {
		Method string `json:"method"`
		Params *P     `json:"params"`
	}{Params: &p}
	noError(t, json.Unmarshal(m.Content, &in))
	if in.Method != method || !strings.HasSuffix(m.From, ".COORDINATOR") {
		t.Fatalf("%s says %s, want %s from a COORDINATOR", m.From, m.Content, method)
	}
	return p
}

// A job from its submission to its results: its home notifies the worker, and
// reports through any coordinator, the home's death included.
func TestJobThroughAWorker(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		worker := n1.worker(t, "hand")
		job := n2.submit(t, "count", 3)
		ref := w.assign(job, 0, 1, worker)
		w.assign(job, 1, 1, worker)
		synctest.Wait()
		var run []wire.RunPart
		for _, m := range n1.inbox(t, worker, 0) {
			run = append(run, notification[wire.RunParts](t, m, "run_parts").Parts...)
		}
		if len(run) != 2 || run[0].PartRef != ref || run[0].Runtime != "sh" || string(run[0].Item) != `{"from":0,"to":1}` {
			t.Fatalf("the worker is asked to run %+v, want parts 0 and 1 with script and item", run)
		}
		if ws, _, err := n2.Workers(t.Context(), anyone, control.Read{}); err != nil || len(ws.Workers) != 1 || ws.Workers[0].Busy != 2 {
			t.Errorf("the workers are %+v (%v), want one with 2 parts", ws, err)
		}
		w.setUnreachable("n1", true)
		v, err := n2.call(t, worker.Secret, "start_parts", wire.PartRefs{Parts: []wire.PartRef{ref, {Job: job, Part: 1, Attempt: 7}}})
		noError(t, err)
		if got := v.(wire.PartVerdicts).Parts; len(got) != 2 || got[0].Code != "" || got[1].Code != wire.CodeConflict {
			t.Errorf("the start is judged %+v, want accepted and conflict", got)
		}
		big := wire.PartDone{PartRef: wire.PartRef{Job: job, Part: 1, Attempt: 1}, OK: true, Result: json.RawMessage(`"` + strings.Repeat("x", wire.MaxResult) + `"`)}
		v, err = n2.call(t, worker.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{PartRef: ref, OK: true, Result: json.RawMessage("42"), Millis: 5}, big}})
		noError(t, err)
		if got := v.(wire.PartVerdicts).Parts; len(got) != 2 || got[0].Code != "" || got[1].Code != "" {
			t.Errorf("the finish is judged %+v, want both taken", got)
		}
		parts, _, err := n2.Parts(t.Context(), anyone, control.Read{}, job, "", control.Page{})
		noError(t, err)
		if p := parts.Parts; len(p) != 3 || p[0].State != jobs.Done || p[1].State != jobs.Waiting || p[1].Failures != 1 || !strings.Contains(p[1].Error, "store it where others can read it") {
			t.Errorf("the parts are %+v, want done, waiting after a failure, waiting", p)
		}
		w.setUnreachable("n1", false)
		// A second attempt, then the job is cancelled: the worker is notified of both.
		w.assign(job, 1, 2, worker)
		synctest.Wait()
		_, _, err = n2.CancelJob(t.Context(), anyone, job, "")
		noError(t, err)
		synctest.Wait()
		got := n1.inbox(t, worker, 2)
		last := notification[wire.PartRefs](t, got[len(got)-1], "cancel_parts")
		if want := (wire.PartRef{Job: job, Part: 1, Attempt: 2}); len(last.Parts) != 1 || last.Parts[0] != want {
			t.Errorf("the worker is asked to drop %+v, want %+v", last.Parts, want)
		}
		for _, m := range got {
			if bytes.Contains(m.Content, []byte(`"cancel_parts"`)) && bytes.Contains(m.Content, []byte(`"part":0`)) {
				t.Errorf("the worker is asked to drop what it finished: %s", m.Content)
			}
		}
		v, err = n2.call(t, worker.Secret, "sync_parts", wire.SyncParts{Holding: []wire.PartRef{ref}})
		noError(t, err)
		if s := v.(wire.SyncedParts); len(s.Run) != 0 || len(s.Cancel) != 1 {
			t.Errorf("the sync answers %+v, want nothing to run and one to drop", s)
		}
	}, "n1", "n2")
}

// A result that is nested too deep fails its part with that reason, and not the
// other parts of the report.
func TestResultIsNestedTooDeep(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		worker := n1.worker(t, "hand")
		job := n1.submit(t, "count", 3)
		var report wire.FinishParts
		for part, depth := range []int{60, 61, 600} {
			report.Parts = append(report.Parts, wire.PartDone{
				PartRef: w.assign(job, part, 1, worker), OK: true,
				Result: json.RawMessage(strings.Repeat("[", depth) + strings.Repeat("]", depth)),
			})
		}
		_, err := n1.call(t, worker.Secret, "finish_parts", report)
		noError(t, err)
		parts, _, err := n1.Parts(t.Context(), anyone, control.Read{}, job, "", control.Page{})
		noError(t, err)
		p := parts.Parts
		if p[0].State != jobs.Done || p[1].State != jobs.Waiting || p[2].State != jobs.Waiting {
			t.Errorf("the parts are %s, %s and %s, want done, waiting and waiting", p[0].State, p[1].State, p[2].State)
		}
		if p[1].Error != "the result is nested 61 deep; the limit is 60" || !strings.Contains(p[2].Error, "nested 600 deep") {
			t.Errorf("they failed for %q and %q, want their nesting", p[1].Error, p[2].Error)
		}
	}, "n1")
}

// What a full mailbox refused is sent again.
func TestRunPartsIsToldAgain(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		worker := n1.worker(t, "hand")
		job := n1.submit(t, "count", 1)
		n1.mail.fill(true)
		w.assign(job, 0, 1, worker)
		time.Sleep(3 * time.Second)
		n1.mail.fill(false)
		got := n1.inbox(t, worker, 0)
		if run := notification[wire.RunParts](t, got[0], "run_parts"); len(run.Parts) != 1 {
			t.Errorf("sent %+v, want the one part", run)
		}
	}, "n1")
}

// Part logs are written in order at the home, read anywhere, capped, and gone
// with their job.
func TestPartLogs(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		worker, other := n1.worker(t, "hand"), n1.worker(t, "other")
		job := n1.submit(t, "count", 2)
		ref := w.assign(job, 0, 1, worker)
		add := func(at *testNode, in wire.SignedIn, offset int64, data string) error {
			_, err := at.call(t, in.Secret, "append_log", wire.AppendLog{PartRef: ref, Offset: offset, Data: []byte(data)})
			return err
		}
		noError(t, add(n1, worker, 0, "hello "))
		noError(t, add(n2, worker, 6, "world"))
		noError(t, add(n2, worker, 3, "lo wor")) // appended twice
		refused(t, add(n1, worker, 99, "x"), wire.CodeConflict, "has 11 bytes")
		refused(t, add(n1, worker, -1, "x"), wire.CodeInvalid, "offset")
		refused(t, add(n1, other, 0, "x"), wire.CodeConflict, "n1.other")
		for _, at := range []*testNode{n1, n2} {
			chunk, err := at.PartLog(t.Context(), anyone, job, work.LogQuery{Offset: 6})
			noError(t, err)
			if string(chunk.Data) != "world" || chunk.Attempt != 1 || chunk.End {
				t.Errorf("read at %s: %+v %q, want world of try 1, not the end", at.id, chunk, chunk.Data)
			}
		}
		noError(t, add(n1, worker, 11, strings.Repeat("x", home.MaxPartLog)))
		noError(t, add(n1, worker, home.MaxPartLog+11, "beyond"))
		info, err := os.Stat(filepath.Join(n1.dir, "joblogs", job, "0.1.log"))
		noError(t, err)
		if info.Size() > home.MaxPartLog+100 {
			t.Errorf("the log has %d bytes on disk, want about %d", info.Size(), home.MaxPartLog)
		}
		var all strings.Builder
		_, err = n1.call(t, worker.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{PartRef: ref, OK: true}}})
		noError(t, err)
		chunks, err := n2.JobLogs(t.Context(), anyone, job, -1, false)
		noError(t, err)
		for c, err := range chunks {
			noError(t, err)
			all.Write(c.Data)
		}
		x := strings.Repeat("x", home.MaxPartLog)
		want := "hello world" + x[:wire.LogHead-11] +
			"\n[cut: 17 bytes of output are left out here: a log keeps the first 256 KiB and the last 768 KiB]\n" +
			x[:wire.LogTail-6] + "beyond"
		if all.String() != want {
			t.Errorf("%d bytes of logs read at n2, want %d: the beginning, a mark and the end", all.Len(), len(want))
		}
		_, err = n1.PartLog(t.Context(), anyone, job, work.LogQuery{Part: 2})
		refused(t, err, wire.CodeNotFound, "no part 2")
		_, err = n1.PartLog(t.Context(), anyone, "../../etc", work.LogQuery{})
		refused(t, err, wire.CodeNotFound, "no job")
		_, err = n1.PartLog(t.Context(), anyone, job, work.LogQuery{Attempt: 2})
		refused(t, err, wire.CodeNotFound, "1 tries")

		w.apply(jobs.KindCancel, jobs.Cancel{ID: job})
		w.apply(jobs.KindForget, jobs.Forget{ID: job})
		synctest.Wait()
		if _, err := os.Stat(filepath.Join(n1.dir, "joblogs", job)); !os.IsNotExist(err) {
			t.Errorf("the logs of a forgotten job: %v, want none", err)
		}
	}, "n1", "n2")
}

// Logs of jobs that were forgotten while a coordinator was away go after its
// start, those of living jobs stay.
func TestLogsOfForgottenJobsGoAfterARestart(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		n1.submit(t, "living", 1)
		n1.stop()
		for _, job := range []string{"living", "forgotten"} {
			noError(t, os.MkdirAll(filepath.Join(n1.dir, "joblogs", job), 0o700))
			noError(t, os.WriteFile(filepath.Join(n1.dir, "joblogs", job, "0.1.log"), []byte("x"), 0o600))
		}
		w.failProposals(wire.NotTried("no leader"))
		w.start("n1")
		left := func() string {
			names := []string{}
			entries, err := os.ReadDir(filepath.Join(n1.dir, "joblogs"))
			noError(t, err)
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return strings.Join(names, " ")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := left(); got != "forgotten living" {
			t.Errorf("logs of %s without a leader, want both: the state may be old", got)
		}
		w.failProposals(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := left(); got != "living" {
			t.Errorf("logs of %s, want those of the living job", got)
		}
	}, "n1")
}

// A log is followed until its job has ended.
func TestFollowLogs(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		worker := n1.worker(t, "hand")
		job := n1.submit(t, "count", 1)
		chunks, err := n2.JobLogs(t.Context(), anyone, job, 0, true)
		noError(t, err)
		text := make(chan string, 1)
		go func() {
			var all strings.Builder
			for c, err := range chunks {
				if err != nil {
					all.WriteString(err.Error())
				}
				all.Write(c.Data)
			}
			text <- all.String()
		}()
		ref := w.assign(job, 0, 1, worker)
		for i, piece := range []string{"one ", "two ", "three"} {
			time.Sleep(time.Second)
			_, err := n1.call(t, worker.Secret, "append_log", wire.AppendLog{PartRef: ref, Offset: int64(4 * i), Data: []byte(piece)})
			noError(t, err)
		}
		_, err = n1.call(t, worker.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{PartRef: ref, OK: true}}})
		noError(t, err)
		if got := <-text; got != "one two three" {
			t.Errorf("followed %q, want one two three", got)
		}
	}, "n1", "n2")
}
