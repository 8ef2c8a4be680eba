package jobs_test

import (
	"math"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

func timeout(d time.Duration) func(*wire.SubmitJob) {
	return func(s *wire.SubmitJob) { s.Timeout = wire.Duration(d) }
}

func elapse(t *testing.T, tab *jobs.Table, from, by time.Duration) {
	t.Helper()
	got, err := tab.Elapse(jobs.Elapse{From: from, By: by}, t0)
	if err != nil || got != from+by {
		t.Fatalf("%v and %v more: %v, %v", from, by, got, err)
	}
	sound(t, tab)
}

func due(t *testing.T, tab *jobs.Table, now time.Duration, want ...string) {
	t.Helper()
	var got []string
	for j := range tab.Due(now) {
		got = append(got, j.ID)
	}
	var all []string
	all = append(all, want...)
	if len(got) != len(all) {
		t.Errorf("at %v due are %v, want %v", now, got, want)
		return
	}
	for i := range got {
		if got[i] != all[i] {
			t.Errorf("at %v due are %v, want %v", now, got, want)
		}
	}
}

// Whatever the stamps of its end say, a job is due once its keep has been
// counted, from the first step after its end on.
func TestKeepIsCounted(t *testing.T) {
	tab := submitted(t, "j", 1)
	elapse(t, tab, 0, time.Hour)
	if tab.HasAging() {
		t.Error("a queued job ages")
	}
	if _, err := tab.Cancel(jobs.Cancel{ID: "j"}, t0.Add(-30*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if d, ok := tab.ShortestUncounted(); !ok || d != jobs.DefaultKeep {
		t.Errorf("not counted yet: %v, %v; want the keep of the job", d, ok)
	}
	due(t, tab, math.MaxInt64)
	tab = tab.Next(2)
	elapse(t, tab, time.Hour, time.Minute)
	if got := tab.Changed().Jobs; got != 1 {
		t.Errorf("the jobs changed at %d, want at 1: a step wakes no reader", got)
	}
	due(t, tab, time.Hour+time.Minute+jobs.DefaultKeep-1)
	due(t, tab, time.Hour+time.Minute+jobs.DefaultKeep, "j")
	if _, err := tab.Forget(jobs.Forget{ID: "j"}, t0); err != nil {
		t.Fatal(err)
	}
	if tab.HasAging() {
		t.Error("a forgotten job ages")
	}
	sound(t, tab)
}

// A timeout is counted from the beginning of the run, keep from its end.
func TestTimeoutIsCounted(t *testing.T) {
	tab := submitted(t, "j", 1, timeout(10*time.Minute))
	elapse(t, tab, 0, time.Minute)
	accepted(t, assign(tab, "j", 0, 1, "a"))
	elapse(t, tab, time.Minute, time.Minute)
	due(t, tab, 12*time.Minute-1)
	due(t, tab, 12*time.Minute, "j")
	accepted(t, finish(tab, ref("j", 0, 1, "a"), "1"))
	due(t, tab, math.MaxInt64)
	elapse(t, tab, 2*time.Minute, time.Minute)
	due(t, tab, 3*time.Minute+jobs.DefaultKeep, "j")
}

// Of a step applied twice, or by two leaders, one counts.
func TestElapseIsFenced(t *testing.T) {
	tab := new(jobs.Table).Next(1)
	elapse(t, tab, 0, time.Minute)
	for _, c := range []struct {
		jobs.Elapse
		code wire.Code
	}{
		{jobs.Elapse{From: 0, By: time.Minute}, wire.CodeConflict},
		{jobs.Elapse{From: 2 * time.Minute, By: 1}, wire.CodeConflict},
		{jobs.Elapse{From: time.Minute, By: 0}, wire.CodeInvalid},
		{jobs.Elapse{From: time.Minute, By: -time.Minute}, wire.CodeInvalid},
		{jobs.Elapse{From: time.Minute, By: math.MaxInt64}, wire.CodeInvalid},
	} {
		if _, err := tab.Elapse(c.Elapse, t0); wire.CodeOf(err) != c.code {
			t.Errorf("%+v: %v, want %s", c.Elapse, err, c.code)
		}
	}
	if tab.Elapsed() != time.Minute {
		t.Errorf("%v are counted, want one minute", tab.Elapsed())
	}
}
