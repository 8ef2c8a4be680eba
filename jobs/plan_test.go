package jobs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

func planned(t *testing.T, situation string, got []string, want string) {
	t.Helper()
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s: plan is %q, want %q", situation, s, want)
	}
}

// The least loaded worker comes first, by the share of its slots.
func TestPlanSpreads(t *testing.T) {
	tab := submitted(t, "j", 10)
	got := carryOut(t, tab, 100, worker("a", 1), worker("b", 2), worker("c", 4))
	planned(t, "three workers of different size", got, "j/0>a j/1>b j/2>c j/3>c j/4>b j/5>c j/6>c")
	planned(t, "no slot left", carryOut(t, tab, 100, worker("a", 1), worker("b", 2), worker("c", 4)), "")
	accepted(t, finish(tab, ref("j", 2, 1, "c"), "1"))
	planned(t, "one slot free again", carryOut(t, tab, 100, worker("a", 1), worker("b", 2), worker("c", 4)), "j/7>c")
	sound(t, tab)
}

func TestPlanByPriorityThenSubmission(t *testing.T) {
	tab := submitted(t, "low", 2, priority(10))
	submit(t, tab.Next(2), "x", 1)
	tab = submit(t, tab.Next(2), "b", 2)
	tab = submit(t, tab.Next(3), "a", 2)
	tab = submit(t, tab.Next(4), "high", 1, priority(90))
	planned(t, "four jobs", carryOut(t, tab, 6, worker("w", 9)), "high/0>w b/0>w b/1>w a/0>w a/1>w low/0>w")
}

// Jobs of one group run one at a time, whatever their priority.
func TestPlanGroups(t *testing.T) {
	w := worker("w", 9)
	tab := submitted(t, "a", 2, group("disk"))
	tab = submit(t, tab.Next(2), "b", 2, group("disk"))
	planned(t, "both are queued", carryOut(t, tab, 9, w), "a/0>w a/1>w")
	tab = submit(t, tab.Next(3), "c", 1, group("disk"), priority(99))
	tab = submit(t, tab, "d", 1, group("tape"))
	planned(t, "a is running", carryOut(t, tab, 9, w), "d/0>w")
	refused(t, assign(tab, "c", 0, 1, "w"), "conflict") // the table holds it, too
	if _, err := tab.Cancel(jobs.Cancel{ID: "a"}, t0); err != nil {
		t.Fatal(err)
	}
	planned(t, "a has ended", carryOut(t, tab, 9, w), "c/0>w")
	sound(t, tab)
}

func TestPlanParallel(t *testing.T) {
	w := worker("w", 9)
	tab := submitted(t, "j", 5, parallel(2))
	planned(t, "nothing at work", carryOut(t, tab, 9, w), "j/0>w j/1>w")
	planned(t, "two at work", carryOut(t, tab, 9, w), "")
	refused(t, assign(tab, "j", 2, 1, "w"), "conflict")
	accepted(t, finish(tab, ref("j", 0, 1, "w"), "1"))
	planned(t, "one at work", carryOut(t, tab, 9, w), "j/2>w")
}

// Only a worker with the runtime and all labels gets a part.
func TestPlanRequirements(t *testing.T) {
	tab := submitted(t, "j", 2, labelled("host", "lab1"))
	python, other, fits := worker("python", 1), worker("other", 1), worker("fits", 1)
	python.Runtimes, python.Labels = []string{"python3"}, map[string]string{"host": "lab1"}
	other.Labels = map[string]string{"host": "lab2"}
	fits.Labels = map[string]string{"host": "lab1", "more": "x"}
	planned(t, "one of three fits", carryOut(t, tab, 9, python, other, worker("bare", 1), fits), "j/0>fits")
}

// Parts that wait for another attempt come first, and go to another worker if
// there is one.
func TestPlanRetries(t *testing.T) {
	tab := submitted(t, "j", 4)
	planned(t, "first", carryOut(t, tab, 2, worker("a", 2), worker("b", 2)), "j/0>a j/1>b")
	accepted(t, requeue(tab, ref("j", 0, 1, "a")))
	planned(t, "a lost part 0", carryOut(t, tab, 1, worker("a", 2), worker("b", 2)), "j/0>b")
	accepted(t, requeue(tab, ref("j", 0, 2, "b")))
	planned(t, "only b is there", carryOut(t, tab, 1, worker("b", 2)), "j/0>b")
	p := partState(t, tab, "j", 0, jobs.Assigned)
	if p.Attempt != 3 || p.Losses != 2 {
		t.Errorf("attempt %d, losses %d; want 3 and 2", p.Attempt, p.Losses)
	}
}

// A part that failed goes to a worker that has not failed it, and waits for one
// that is busy; only when all have failed it, it goes to any.
func TestPlanAvoidsWhoFailed(t *testing.T) {
	a, b := worker("a", 9), worker("b", 1)
	tab := submitted(t, "busy", 1, priority(90))
	planned(t, "b is busy", carryOut(t, tab, 1, b), "busy/0>b")
	tab = submit(t, tab.Next(2), "j", 2, attempts(9))
	planned(t, "first", carryOut(t, tab, 1, a), "j/0>a")
	accepted(t, fail(tab, ref("j", 0, 1, "a"), "no such tool"))
	planned(t, "a failed it, b is busy", carryOut(t, tab, 9, a, b), "j/1>a")
	accepted(t, finish(tab, ref("busy", 0, 1, "b"), "1"))
	planned(t, "b is free", carryOut(t, tab, 9, a, b), "j/0>b")
	accepted(t, requeue(tab, ref("j", 0, 2, "b")))
	planned(t, "a failed it, b lost it", carryOut(t, tab, 9, a, b), "j/0>b")
	accepted(t, fail(tab, ref("j", 0, 3, "b"), "no such tool"))
	planned(t, "both failed it, b last", carryOut(t, tab, 9, a, b), "j/0>a")
	accepted(t, fail(tab, ref("j", 0, 4, "a"), "no such tool"))
	planned(t, "only a is there", carryOut(t, tab, 9, a), "j/0>a")
	if p := partState(t, tab, "j", 0, jobs.Assigned); strings.Join(p.FailedBy, " ") != "n1.a n1.b" {
		t.Errorf("it failed at %v, want n1.a and n1.b, each once", p.FailedBy)
	}
	sound(t, tab)
}

// A part that rests holds up neither others nor its job.
func TestPlanLeavesOutWhatRests(t *testing.T) {
	a := worker("a", 9)
	tab := submitted(t, "j", 3)
	planned(t, "first", carryOut(t, tab, 1, a), "j/0>a")
	accepted(t, fail(tab, ref("j", 0, 1, "a"), "boom"))
	all := func(jobs.Part) bool { return true }
	var got []string
	for _, x := range jobs.Plan(tab, []jobs.Worker{a}, 9, all) {
		got = append(got, fmt.Sprint(x.Part))
	}
	planned(t, "part 0 rests", got, "1 2")
}

// Waits are those of the job, the part and the attempt: 1 s, doubling to a
// minute, and never the same for many.
func TestRetryAfter(t *testing.T) {
	for failures, least := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32, 7: 48, 99: 48} {
		seen := map[time.Duration]bool{}
		for n := range 20 {
			p := jobs.Part{Job: "j", N: n, Attempt: failures, Failures: failures}
			d := p.RetryAfter()
			if d < least*time.Second || d > least*time.Second*5/4 || d != p.RetryAfter() {
				t.Errorf("after %d failures part %d waits %v, want %d s and up to a quarter more, always the same", failures, n, d, least)
			}
			seen[d] = true
		}
		if len(seen) < 15 {
			t.Errorf("after %d failures 20 parts wait %d different times, want nearly 20", failures, len(seen))
		}
	}
}

// A part goes to no worker that may not work for the namespace of its job, however
// free it is, and waits rather than go there.
func TestPlanKeepsToNamespaces(t *testing.T) {
	tab := new(jobs.Table)
	for i, namespace := range []string{"lab1", "lab2", "", jobs.DefaultNamespace} {
		tab = tab.Next(uint64(i + 1))
		spec, err := jobs.Check(wire.SubmitJob{Runtime: "sh", Script: "cat", Range: &wire.Range{To: 2}})
		if err != nil {
			t.Fatal(err)
		}
		spec.Namespace = namespace
		job, err := tab.Submit(jobs.Submit{ID: fmt.Sprint("j", i), Spec: spec}, t0)
		if err != nil || job.Namespace == jobs.DefaultNamespace {
			t.Fatalf("%+v, %v", job, err)
		}
	}
	only := func(name string, slots int, namespaces ...string) jobs.Worker {
		w := worker(name, slots)
		w.May = func(namespace string) bool { return slices.Contains(namespaces, namespace) }
		return w
	}
	planned(t, "nobody may", carryOut(t, tab, 9, only("x", 9), only("y", 9, "lab")), "")
	planned(t, "one may work for lab2", carryOut(t, tab, 9, only("x", 9, "lab2"), only("y", 9)), "j1/0>x j1/1>x")
	planned(t, "one for lab1 with one slot", carryOut(t, tab, 9, only("v", 1, "lab1"), only("y", 9, "lab2")), "j0/0>v")
	planned(t, "one for the jobs that name none", carryOut(t, tab, 9, only("x", 9, "default"), only("y", 9)), "j2/0>x j2/1>x j3/0>x j3/1>x")
	planned(t, "one for all", carryOut(t, tab, 9, worker("z", 9)), "j0/1>z")
	sound(t, tab)
}
