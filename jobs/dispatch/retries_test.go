package dispatch_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

func tries(n int) func(*wire.SubmitJob) { return func(s *wire.SubmitJob) { s.MaxAttempts = n } }

// A retry waits 1 s, then 2, 4 and so on, and then comes at once: a dependency
// that is away for two seconds does not burn three attempts.
func TestRetryWaits(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 9)
		l.submit("j", 1, tries(9))
		runUntilIdle()
		for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 48, 48} {
			wait *= time.Second
			l.fails("j", 0)
			after(wait - time.Millisecond)
			l.part("j", 0, jobs.Waiting, i+1, "n1.a")
			for range wait/4/(100*time.Millisecond) + 1 {
				if after(100 * time.Millisecond); l.machine.View().Jobs.Held("a") > 0 {
					break
				}
			}
			after(20 * time.Millisecond)
			l.part("j", 0, jobs.Assigned, i+2, "n1.a")
		}
	})
}

// What rests does not hold up other parts, and a part that was taken back does
// not rest.
func TestOnlyFailuresRest(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 1)
		l.submit("j", 3)
		runUntilIdle()
		l.fails("j", 0)
		runUntilIdle()
		l.part("j", 1, jobs.Assigned, 1, "n1.a")
		p, _ := l.machine.View().Jobs.Part("j", 1)
		l.commit(jobs.KindRequeue, jobs.Requeue{Parts: []jobs.Ref{p.Ref()}})
		runUntilIdle()
		l.part("j", 1, jobs.Assigned, 2, "n1.a")
	})
}

// A part that failed while all slots were taken has rested by the time one is
// free.
func TestRestRunsWhileAllAreBusy(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 2)
		l.submit("j", 5)
		runUntilIdle()
		l.fails("j", 0)
		runUntilIdle()
		l.part("j", 2, jobs.Assigned, 1, "n1.a")
		l.start("j", 1)
		l.start("j", 2)
		after(5 * time.Second)
		l.part("j", 0, jobs.Waiting, 1, "n1.a")
		l.finish("j", 1)
		after(5 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 2, "n1.a")
	})
}

// A new leader lets parts rest anew: never shorter than promised.
func TestRestUnderANewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		stop := l.startLeader()
		l.worker("a", "n1", 1)
		l.submit("j", 1)
		runUntilIdle()
		l.fails("j", 0)
		after(900 * time.Millisecond)
		stop()
		stop = l.startLeader()
		defer func() { stop() }()
		after(800 * time.Millisecond)
		l.part("j", 0, jobs.Waiting, 1, "n1.a")
		after(500 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 2, "n1.a")
	})
}

// One broken worker does not fail a job: its failures go elsewhere, also when
// all others are busy.
func TestBrokenWorker(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("good", "n1", 1)
		l.submit("long", 1)
		runUntilIdle()
		l.start("long", 0)
		l.worker("broken", "n2", 4)
		l.submit("j", 1)
		runUntilIdle()
		l.part("j", 0, jobs.Assigned, 1, "n2.broken")
		l.fails("j", 0)
		after(30 * time.Second)
		l.part("j", 0, jobs.Waiting, 1, "n2.broken")
		l.finish("long", 0)
		runUntilIdle()
		l.part("j", 0, jobs.Assigned, 2, "n1.good")
		l.fails("j", 0)
		after(3 * time.Second) // both failed it: the other one again
		l.part("j", 0, jobs.Assigned, 3, "n2.broken")
	})
}

// A worker that fails at once what others do gets little of a long job, is
// named, and gets its share again when it is repaired.
func TestSuspectGetsFewer(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("broken", "n2", 4)
		l.worker("good", "n1", 4)
		l.submit("j", 20_000, tries(3))
		given := map[string]int{}
		play := func(d time.Duration, broken bool) {
			clear(given)
			for range int(d / (100 * time.Millisecond)) {
				after(100 * time.Millisecond)
				var work []jobs.Part
				for p := range l.machine.View().Jobs.Busy() {
					work = append(work, p)
				}
				for _, p := range work {
					given[p.Session]++
					if p.Session == "broken" && broken {
						l.fails("j", p.N)
					} else {
						l.finish("j", p.N)
					}
				}
			}
		}
		play(20*time.Second, true)
		h := l.machine.View().Jobs.Health("n2.broken")
		if !h.Suspect() || given["broken"] > given["good"]/4 {
			t.Errorf("in 20 s the broken one was given %d parts, the other one %d; it is held against it: %+v", given["broken"], given["good"], h)
		}
		play(10*time.Second, true)
		if given["broken"] > 5 || given["good"] < 300 {
			t.Errorf("in 10 s more they were given %v parts, want next to none and hundreds", given)
		}
		l.job("j", jobs.Running, "")
		play(2*time.Minute, false)
		if h := l.machine.View().Jobs.Health("n2.broken"); h.Suspect() {
			t.Errorf("two minutes after its repair it is suspect: %+v", h)
		}
		l.commit(registry.KindSignOut, registry.SignOut{FullName: "n2.broken", Session: "broken"})
		if h := l.machine.View().Jobs.Health("n2.broken"); h != (jobs.WorkerHealth{}) {
			t.Errorf("after its end this is held against it: %+v", h)
		}
	})
}

// 20,000 parts that failed cost a plan little.
func TestManyRetries(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 1000)
		l.submit("j", 20_000, tries(3))
		for range 20 {
			runUntilIdle()
			var all []jobs.PartDone
			for p := range l.machine.View().Jobs.Busy() {
				all = append(all, jobs.PartDone{Ref: p.Ref(), Error: "boom"})
			}
			for len(all) > 0 {
				n := min(500, len(all))
				l.commit(jobs.KindFinish, jobs.Finish{Parts: all[:n]})
				all = all[n:]
			}
		}
		for range 200 {
			runUntilIdle()
			l.finishAll()
		}
		l.job("j", jobs.Done, "")
		j, _ := l.machine.View().Jobs.Job("j")
		if got, want := fmt.Sprint(j.Counts.Done, j.Counts.Failed), "20000 0"; got != want {
			t.Errorf("done and failed: %s, want %s", got, want)
		}
	})
}
