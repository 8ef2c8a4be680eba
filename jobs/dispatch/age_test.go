package dispatch_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

var errLost = errors.New("link lost")

func keep(d time.Duration) func(*wire.SubmitJob) {
	return func(s *wire.SubmitJob) { s.Keep = wire.Duration(d) }
}

func (l *log) step(d time.Duration) { l.with(func() { l.wall += d }) }

func (l *log) jobs() int { return l.machine.View().Jobs.Len() }

// A wall clock that jumps, ahead and back, for a moment or for good, forgets
// nothing and ends nothing.
func TestSteppedWallClock(t *testing.T) {
	const days = 24 * time.Hour
	for name, steps := range map[string][]time.Duration{
		"ahead for a moment":   {2 * days, -2 * days},
		"ahead for good":       {40 * days},
		"slow, then set":       {-2 * days, 2 * days},
		"back for good":        {-40 * days},
		"ahead and far back":   {2 * days, -30 * days},
		"there and back twice": {2 * days, -2 * days, -2 * days, 2 * days},
	} {
		t.Run(name, func(t *testing.T) {
			lead(t, func(l *log) {
				l.worker("a", "n1", 1)
				l.submit("runs", 1, func(s *wire.SubmitJob) { s.Timeout = wire.Duration(time.Hour) })
				runUntilIdle()
				l.start("runs", 0)
				l.submit("kept", 1, keep(days))
				l.commit(jobs.KindCancel, jobs.Cancel{ID: "kept"})
				after(2 * time.Second)
				for _, d := range steps {
					l.step(d)
					l.submit("other", 1, keep(days))
					after(3 * time.Second)
					if l.commit(jobs.KindCancel, jobs.Cancel{ID: "other"}); l.jobs() != 3 {
						t.Fatalf("after a step of %v there are %d jobs, want all three", d, l.jobs())
					}
					after(3 * time.Second)
					if l.jobs() != 3 {
						t.Fatalf("after a step of %v there are %d jobs, want all three", d, l.jobs())
					}
				}
				l.job("runs", jobs.Running, "")
			})
		})
	}
}

// Under a leader whose clock is wrong, a job that ends there is kept its whole
// time, and no longer, by the next leader as well.
func TestKeepUnderWrongClocks(t *testing.T) {
	for _, wrong := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			l := newLog(t)
			stop := l.startLeader()
			l.step(wrong)
			l.submit("j", 1, keep(time.Hour))
			l.commit(jobs.KindCancel, jobs.Cancel{ID: "j"})
			after(30 * time.Minute)
			stop()
			l.step(-wrong)
			stop = l.startLeader()
			after(29 * time.Minute)
			if l.jobs() != 1 {
				t.Errorf("clock wrong by %v: the job is gone early", wrong)
			}
			after(5 * time.Minute)
			if l.jobs() != 0 {
				t.Errorf("clock wrong by %v: the job is there five minutes after its keep", wrong)
			}
			stop()
		})
	}
}

// What is kept for long ends in time, however many leaders there are meanwhile;
// so does a job with a timeout that no single leadership reaches.
func TestAgeAcrossLeaders(t *testing.T) {
	for term, most := range map[time.Duration]time.Duration{20 * time.Minute: 7 * time.Hour, 3 * time.Minute: 8 * time.Hour, 30 * time.Second: 11 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			l := newLog(t)
			l.worker("a", "n1", 1)
			l.submit("runs", 1, func(s *wire.SubmitJob) {
				s.Timeout, s.PartTimeout = wire.Duration(6*time.Hour), wire.Duration(24*time.Hour)
			})
			l.submit("j", 1, keep(6*time.Hour))
			l.commit(jobs.KindCancel, jobs.Cancel{ID: "j"})
			began := time.Now()
			forgotten, ended := time.Duration(0), time.Duration(0)
			for (forgotten == 0 || ended == 0) && time.Since(began) < most {
				stop := l.startLeader()
				if p, _ := l.machine.View().Jobs.Part("runs", 0); p.State == jobs.Assigned {
					l.start("runs", 0)
				}
				after(term)
				stop()
				if _, ok := l.machine.View().Jobs.Job("j"); !ok && forgotten == 0 {
					forgotten = time.Since(began)
				}
				if j, _ := l.machine.View().Jobs.Job("runs"); j.State == jobs.Failed && ended == 0 {
					ended = time.Since(began)
				}
			}
			for what, d := range map[string]time.Duration{"kept": forgotten, "running": ended} {
				if d < 6*time.Hour || d > most {
					t.Errorf("with leaderships of %v the %s job has 6 h and got %v (0: more than %v)", term, what, d, most)
				}
			}
		})
	}
}

// Nothing is written down while no job ages, and little while one does.
func TestIdleClusterWritesNothing(t *testing.T) {
	lead(t, func(l *log) {
		steps := func() int {
			l.mu.Lock()
			defer l.mu.Unlock()
			n := l.kinds[jobs.KindElapse]
			l.kinds[jobs.KindElapse] = 0
			return n
		}
		l.submit("waits", 1)
		after(3 * time.Hour)
		if n := steps(); n != 0 {
			t.Errorf("%d steps in three hours in which nothing aged", n)
		}
		l.submit("j", 1, keep(2*time.Hour))
		l.commit(jobs.KindCancel, jobs.Cancel{ID: "j"})
		after(119 * time.Minute)
		if n := steps(); n < 100 || n > 130 || l.jobs() != 2 {
			t.Errorf("%d steps in two hours, %d jobs; want about one a minute, and both", n, l.jobs())
		}
		after(10 * time.Minute)
		if steps(); l.jobs() != 1 {
			t.Error("the job is there after its keep")
		}
		after(3 * time.Hour)
		if n := steps(); n != 0 {
			t.Errorf("%d steps in three hours after all was forgotten", n)
		}
	})
}

// A step whose outcome is not known is not counted twice.
func TestUnknownStepCountsOnce(t *testing.T) {
	lead(t, func(l *log) {
		l.with(func() {
			l.fail = func(kind string) (bool, error) {
				if kind == jobs.KindElapse && l.kinds[kind]%2 == 1 {
					return true, wire.Unknown(errLost)
				}
				return false, nil
			}
		})
		l.submit("j", 1, keep(time.Hour))
		l.commit(jobs.KindCancel, jobs.Cancel{ID: "j"})
		after(30 * time.Minute)
		if got := l.machine.View().Jobs.Elapsed(); got < 28*time.Minute || got > 30*time.Minute+time.Second {
			t.Errorf("%v are counted after half an hour", got)
		}
		after(29*time.Minute + 50*time.Second)
		if l.jobs() != 1 {
			t.Error("the job is gone early")
		}
	})
}
