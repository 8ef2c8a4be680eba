package jobs_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// Whatever commands the table applies, in whatever order: counts and indexes match
// the rows, a final state stays, a part is finished at most once and only by
// its current attempt, and a restored table is the same table.
func TestAnySequenceOfCommands(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tab := new(jobs.Table)
		finals := map[string]jobs.Part{}
		var frozen []*jobs.Table
		for step := range rapid.IntRange(1, 60).Draw(r, "steps") {
			before := tab
			tab = tab.Next(uint64(step/2 + 1)) // two commands of one entry share its index
			command(r, t, before, tab)
			if err := tab.Verify(); err != nil {
				r.Fatalf("after step %d: %v", step, err)
			}
			checkFinals(r, tab, finals)
			if step%7 == 0 {
				frozen = append(frozen, before)
			}
		}
		for _, old := range frozen {
			if err := old.Verify(); err != nil {
				r.Fatalf("a frozen table was changed: %v", err)
			}
		}
		same(r, tab, restored(r, tab))
	})
}

func command(r *rapid.T, t *testing.T, before, tab *jobs.Table) {
	id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "job")
	session := rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(r, "session")
	n := rapid.IntRange(0, 4).Draw(r, "part")
	p, _ := before.Part(id, n)
	attempt := max(0, p.Attempt+rapid.IntRange(-1, 1).Draw(r, "off"))
	if rapid.Bool().Draw(r, "fits") {
		attempt, session = p.Attempt, p.Session
	}
	fence := ref(id, n, attempt, session)
	current := p.Attempt == attempt && p.Session == session && session != "" && (p.State == jobs.Assigned || p.State == jobs.Running)
	switch rapid.IntRange(0, 9).Draw(r, "command") {
	case 0:
		parts := rapid.IntRange(1, 4).Draw(r, "parts")
		_, _ = tab.Submit(jobs.Submit{
			ID: id, Spec: spec(t, parts, group(rapid.SampledFrom([]string{"", "g"}).Draw(r, "group")),
				parallel(rapid.IntRange(0, 2).Draw(r, "parallel")), timeout(time.Duration(rapid.IntRange(0, 1).Draw(r, "timeout"))*time.Minute), attempts(2)),
			ResultQuota: rapid.Int64Range(0, 3).Draw(r, "quota"),
		}, t0)
	case 1, 2:
		workers := []jobs.Worker{worker("s1", 2), worker("s2", 1), worker("s3", 1)}
		as := jobs.Plan(before, workers, rapid.IntRange(1, 4).Draw(r, "limit"), nil)
		verdicts, _ := tab.Assign(jobs.Assign{Assignments: as}, t0)
		for i, v := range verdicts {
			if v.Code != "" {
				r.Fatalf("plan %v of the very same table is refused at %d: %s", as, i, v.Message)
			}
		}
		for _, w := range workers {
			if tab.Held(w.Session) > max(w.Slots, before.Held(w.Session)) {
				r.Fatalf("%s holds %d parts with %d slots", w.Session, tab.Held(w.Session), w.Slots)
			}
		}
	case 3:
		assign(tab, id, n, attempt, session)
	case 4:
		start(tab, fence)
	case 5, 6:
		ok := rapid.Bool().Draw(r, "ok")
		v := jobs.Verdict{}
		if ok {
			v = finish(tab, fence, fmt.Sprint(attempt))
		} else {
			v = fail(tab, fence, "no")
		}
		if current && v.Code != "" {
			r.Fatalf("the current attempt %+v is refused: %s", fence, v.Message)
		}
		if now, _ := tab.Part(id, n); !current && !cmp.Equal(now, p) {
			r.Fatalf("a stale finish %+v changed %+v to %+v", fence, p, now)
		}
		if stale := p.Attempt != attempt || p.Session != session; stale && v.Code == "" {
			r.Fatalf("a stale finish %+v of %+v is accepted", fence, p)
		}
	case 7:
		if rapid.Bool().Draw(r, "release") {
			tab.Release(session, "gone", t0)
			if tab.Held(session) != 0 {
				r.Fatalf("%s holds %d parts after its end", session, tab.Held(session))
			}
			return
		}
		requeue(tab, fence)
	case 9:
		if _, err := tab.Elapse(jobs.Elapse{From: before.Elapsed(), By: time.Minute}, t0); err != nil {
			r.Fatalf("a minute passes: %v", err)
		}
	case 8:
		if rapid.Bool().Draw(r, "forget") {
			_, _ = tab.Forget(jobs.Forget{ID: id}, t0)
			return
		}
		_, _ = tab.Cancel(jobs.Cancel{ID: id, State: rapid.SampledFrom([]string{"", jobs.Failed}).Draw(r, "state")}, t0)
	}
}

// checkFinals compares with all final parts seen before. Part "life" of a job
// ends with its being forgotten, so the key holds the entry it came with.
func checkFinals(r *rapid.T, tab *jobs.Table, finals map[string]jobs.Part) {
	held := map[string]int{}
	for j := range tab.Jobs() {
		bytes := 0
		for p := range tab.Parts(j.ID) {
			bytes += len(p.Result)
		}
		if j.ResultQuota > 0 && int64(bytes) > j.ResultQuota {
			r.Fatalf("the results of job %s have %d bytes of at most %d", j.ID, bytes, j.ResultQuota)
		}
		busy := 0
		for p := range tab.Parts(j.ID) {
			key := fmt.Sprint(j.ID, j.SubmitIndex, j.Total, "/", p.N)
			if old, ok := finals[key]; ok && !cmp.Equal(old, p) && tabKnows(old, j) {
				r.Fatalf("final part changed: %+v to %+v", old, p)
			}
			if jobs.Final(p.State) {
				finals[key] = p
			}
			if p.State == jobs.Assigned || p.State == jobs.Running {
				held[p.Session]++
				busy++
			}
		}
		if j.Parallel > 0 && busy > j.Parallel {
			r.Fatalf("job %s has %d parts at work, its limit is %d", j.ID, busy, j.Parallel)
		}
	}
	for _, s := range []string{"s1", "s2", "s3"} {
		n := 0
		for range tab.HeldBy(s) {
			n++
		}
		if n != held[s] || tab.Held(s) != n {
			r.Fatalf("%s: Held %d, HeldBy %d, rows %d; want all the same", s, tab.Held(s), n, held[s])
		}
	}
}

// tabKnows is false when the job was forgotten and came again in one entry.
func tabKnows(old jobs.Part, j jobs.Job) bool { return old.EndedIndex > j.SubmitIndex }

// restored writes all rows as a snapshot does and reads them back.
func restored(r *rapid.T, tab *jobs.Table) *jobs.Table {
	back := new(jobs.Table)
	back.PutElapsed(tab.Elapsed())
	for h := range tab.HealthRows() {
		back.PutHealth(through(r, h))
	}
	for j := range tab.Jobs() {
		back.PutJob(through(r, j))
	}
	for p := range tab.PartRows() {
		if !back.PutPart(through(r, p)) {
			r.Fatalf("part %+v has no job", p)
		}
	}
	return back
}

func through[T any](r *rapid.T, in T) (out T) {
	b, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		r.Fatalf("%+v does not survive a snapshot: %v", in, err)
	}
	return out
}

func same(r *rapid.T, a, b *jobs.Table) {
	if err := b.Verify(); err != nil {
		r.Fatalf("restored: %v", err)
	}
	dump := func(t *jobs.Table) (lines []string) {
		for j := range t.Jobs() {
			lines = append(lines, string(must(json.Marshal(j))))
			for p := range t.Ended(j.ID, 0, -1) {
				lines = append(lines, string(must(json.Marshal(p))))
			}
		}
		for j := range t.Due(math.MaxInt64) {
			lines = append(lines, fmt.Sprint("due ", j.ID, j.Since))
		}
		for j := range t.Active() {
			lines = append(lines, "active "+j.ID)
		}
		for p := range t.Busy() {
			lines = append(lines, fmt.Sprint("busy ", p.Ref()))
		}
		workers := []jobs.Worker{worker("s1", 5), worker("s4", 5)}
		return append(lines, fmt.Sprint(jobs.Plan(t, workers, wire.MaxParts, nil)))
	}
	if d := cmp.Diff(dump(a), dump(b)); d != "" {
		r.Fatalf("the restored table differs (-was +is):\n%s", d)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
