package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/jobs/dispatch"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A job that comes is given out at once, many parts in one command, and goes on
// as slots get free, to its end.
func TestAssigns(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 30)
		l.worker("b", "n2", 30)
		l.submit("j", 100)
		after(5 * time.Millisecond)
		if n := l.machine.View().Jobs.Held("a") + l.machine.View().Jobs.Held("b"); n != 60 {
			t.Errorf("%d parts are held, want one for each of 60 slots", n)
		}
		if l.kinds[jobs.KindAssign] != 1 {
			t.Errorf("60 assignments took %d commands, want 1", l.kinds[jobs.KindAssign])
		}
		for range 10 {
			l.finishAll()
			runUntilIdle()
		}
		l.job("j", jobs.Done, "")
	})
}

// A worker that comes later gets what waits.
func TestLateWorker(t *testing.T) {
	lead(t, func(l *log) {
		l.submit("j", 1)
		after(time.Minute)
		l.part("j", 0, jobs.Waiting, 0, "")
		l.worker("a", "n1", 1)
		after(5 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 1, "n1.a")
	})
}

// Plans larger than one entry go as several.
func TestLargePlan(t *testing.T) {
	lead(t, func(l *log) {
		for _, name := range []string{"a", "b", "c"} {
			l.worker(strings.Repeat(name, 100), "n1", 1000)
		}
		id := strings.Repeat("j", jobs.MaxID)
		l.submit(id, 3000)
		runUntilIdle()
		if j, _ := l.machine.View().Jobs.Job(id); j.Counts.Assigned != 3000 {
			t.Errorf("%d parts are assigned, want 3000", j.Counts.Assigned)
		}
	})
}

// A part that is not started within 10 s goes to another worker, and the first
// gets nothing new for a while.
func TestNotStarted(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 1)
		l.submit("j", 1)
		runUntilIdle()
		l.worker("b", "n1", 1)
		after(9 * time.Second)
		l.part("j", 0, jobs.Assigned, 1, "n1.a")
		after(2 * time.Second)
		l.part("j", 0, jobs.Assigned, 2, "n1.b")
		l.start("j", 0)
		l.submit("k", 1)
		runUntilIdle()
		l.part("k", 0, jobs.Waiting, 0, "")
		after(11 * time.Second)
		l.part("k", 0, jobs.Assigned, 1, "n1.a")
	})
}

// A started part has its part_timeout and 10 s more.
func TestNotFinished(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 1)
		l.submit("j", 1, func(s *wire.SubmitJob) { s.PartTimeout = wire.Duration(30 * time.Second) })
		runUntilIdle()
		after(5 * time.Second)
		l.start("j", 0)
		after(38 * time.Second)
		l.part("j", 0, jobs.Running, 1, "n1.a")
		l.worker("b", "n1", 1)
		after(4 * time.Second)
		l.part("j", 0, jobs.Assigned, 2, "n1.b")
	})
}

// A job has its timeout from its first assignment.
func TestJobTimeout(t *testing.T) {
	lead(t, func(l *log) {
		l.submit("j", 5, func(s *wire.SubmitJob) { s.Timeout = wire.Duration(20 * time.Second) })
		after(time.Minute) // nobody to run it: not its fault
		l.job("j", jobs.Queued, "")
		l.worker("a", "n1", 1)
		runUntilIdle()
		for range 19 {
			after(time.Second)
			l.finish("j", 0)
			l.submit("other", 1)
		}
		l.job("j", jobs.Running, "")
		after(3 * time.Second)
		l.job("j", jobs.Failed, "timed out: it ran longer than its timeout of 20s")
	})
}

// A final job is forgotten once its keep is over, at most a tenth later and
// never more than a minute.
func TestForget(t *testing.T) {
	lead(t, func(l *log) {
		l.submit("j", 5, func(s *wire.SubmitJob) { s.Keep = wire.Duration(time.Hour) })
		l.commit(jobs.KindCancel, jobs.Cancel{ID: "j"})
		after(time.Hour - 2*time.Second)
		l.job("j", jobs.Cancelled, "")
		after(time.Minute)
		if l.machine.View().Jobs.Len() != 0 {
			t.Error("the job is there after its keep")
		}
	})
}

// A part given to a session that had just ended is taken back at the next look.
func TestSessionIsGone(t *testing.T) {
	lead(t, func(l *log) {
		l.submit("j", 1)
		l.commit(jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{
			{Job: "j", Part: 0, Attempt: 1, Worker: "n1.gone", Session: "gone", Home: "n1"},
		}})
		after(1500 * time.Millisecond)
		l.part("j", 0, jobs.Waiting, 1, "n1.gone")
	})
}

// The end of a session puts its parts back, and they go on elsewhere at once.
func TestSessionEnds(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 1)
		l.submit("j", 1)
		runUntilIdle()
		l.worker("b", "n2", 1)
		l.commit(registry.KindSignOut, registry.SignOut{FullName: "n1.a", Session: "a"})
		after(5 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 2, "n2.b")
	})
}

// Nothing new for workers of a home that is not heard of.
func TestDeadHome(t *testing.T) {
	lead(t, func(l *log) {
		l.with(func() { l.dead["n1"] = true })
		l.worker("a", "n1", 1)
		l.submit("j", 1)
		after(5 * time.Second)
		l.part("j", 0, jobs.Waiting, 0, "")
		l.with(func() { l.dead["n1"] = false })
		after(1100 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 1, "n1.a")
	})
}

// Proposals that fail, even those that happened all the same, are planned
// anew from the view; nothing is given twice.
func TestFailingProposals(t *testing.T) {
	for name, fault := range map[string]struct {
		applied bool
		err     error
	}{
		"not tried":             {false, wire.NotTried("no leader")},
		"unknown, not happened": {false, wire.Unknown(errors.New("link lost"))},
		"unknown, happened":     {true, wire.Unknown(errors.New("link lost"))},
		"a fault":               {false, errors.New("disk")},
	} {
		t.Run(name, func(t *testing.T) {
			lead(t, func(l *log) {
				tries := 0
				l.fail = func(string) (bool, error) {
					if tries++; tries <= 3 {
						return fault.applied, fault.err
					}
					return false, nil
				}
				l.worker("a", "n1", 2)
				l.submit("j", 2)
				after(2 * time.Second)
				l.part("j", 0, jobs.Assigned, 1, "n1.a")
				l.part("j", 1, jobs.Assigned, 1, "n1.a")
				if tries > 5 {
					t.Errorf("%d proposals in two seconds, want few", tries)
				}
				l.finishAll()
				runUntilIdle()
				l.job("j", jobs.Done, "")
			})
		})
	}
}

// A log that fails for long is not hammered, and all goes on when it is back.
func TestLongFailure(t *testing.T) {
	lead(t, func(l *log) {
		fails, tries := true, 0
		l.fail = func(string) (bool, error) {
			tries++
			if fails {
				return false, wire.NotTried("no quorum")
			}
			return false, nil
		}
		l.worker("a", "n1", 1)
		l.submit("j", 1, func(s *wire.SubmitJob) { s.Keep = wire.Duration(time.Second) })
		after(time.Minute)
		l.with(func() {
			if tries > 60 {
				t.Errorf("%d proposals in a minute without a quorum, want few", tries)
			}
			fails = false
		})
		after(3 * time.Second)
		l.part("j", 0, jobs.Assigned, 1, "n1.a")
	})
}

// A new leader gives everybody the whole time again.
func TestNewReignBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.worker("a", "n1", 1)
		l.submit("j", 1)
		for range 5 {
			stop := l.startLeader()
			after(7 * time.Second)
			stop()
		}
		l.part("j", 0, jobs.Assigned, 1, "n1.a")
	})
}

// When commands stood still, nobody could report: the time begins anew.
func TestStandstillIsNobodysFault(t *testing.T) {
	lead(t, func(l *log) {
		l.worker("a", "n1", 2)
		l.submit("j", 2)
		runUntilIdle()
		l.start("j", 0)
		after(7 * time.Second)
		l.with(func() {
			l.fail = func(string) (bool, error) {
				l.fail = nil
				time.Sleep(9 * time.Second) // fake time: one proposal hangs
				return false, wire.Unknown(errors.New("no quorum"))
			}
		})
		l.worker("b", "n1", 2)
		l.submit("k", 1)
		after(10 * time.Second)
		l.part("j", 1, jobs.Assigned, 1, "n1.a")
		l.start("k", 0)
		after(12 * time.Second)
		l.part("j", 1, jobs.Assigned, 2, "n1.b")
	})
}

// A plan that the table does not take is not proposed in a hot loop.
func TestRefusedPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		l.worker("a", "n1", 1)
		l.submit("j", 1)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		tries := 0
		refuse := func(context.Context, []byte) (uint64, any, error) {
			tries++
			return 0, []jobs.Verdict{{Code: wire.CodeConflict}}, nil
		}
		err := dispatch.Run(ctx, dispatch.Config{Machine: l.machine, Proposer: propose.New(logFunc(refuse), nil)})
		if !errors.Is(err, context.DeadlineExceeded) || tries < 2 || tries > 11 {
			t.Errorf("%d proposals in 10 s, ended with %v; want one a second, until the context ends", tries, err)
		}
	})
}

func TestNeeds(t *testing.T) {
	if err := dispatch.Run(context.Background(), dispatch.Config{}); err == nil {
		t.Error("Run without a machine ends well")
	}
}

// A worker is given parts of the namespaces that its token has jobs:work of; when
// the token is gone they go to another, and to nobody who may not.
func TestPartsFollowTheRights(t *testing.T) {
	lead(t, func(l *log) {
		l.tokens("jobs:work@default", "jobs:work@lab1", "write@default")
		l.owned("a", "t_1", 9)
		l.submit("j", 2)
		after(time.Minute)
		l.part("j", 0, jobs.Waiting, 0, "")
		l.owned("b", "t_0", 9)
		after(5 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 1, "n1.b")
		l.start("j", 0)
		l.start("j", 1)
		l.commit(access.KindRevoke, access.Revoke{ID: "t_0"})
		after(time.Minute)
		l.part("j", 0, jobs.Waiting, 1, "n1.b")
		l.owned("c", "t_2", 1)
		after(5 * time.Millisecond)
		l.part("j", 0, jobs.Assigned, 2, "n1.c")
		l.part("j", 1, jobs.Waiting, 1, "n1.b")
		l.owned("d", "file:0123456789ab", 1) // what a file's token may is everything
		after(5 * time.Millisecond)
		l.part("j", 1, jobs.Assigned, 2, "n1.d")
	})
}
