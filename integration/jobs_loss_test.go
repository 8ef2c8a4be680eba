package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// The parts of a worker that is killed are done by others; each result counts
// once and the attempt that was lost is remembered.
func TestAKilledWorkersPartsAreDoneElsewhere(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	workers := map[string]*process{}
	for i, p := range c.nodes {
		name := fmt.Sprintf("w%d", i+1)
		workers[name] = c.workerAt(name, 2, "3s", p)
	}
	c.haveWorkers(3)
	g := newGate(t)
	j := c.submit(c.nodes[0], g.job("squares", 12))
	for i := range 6 {
		g.began(i, 1) // every slot is busy
	}
	held := map[int]bool{}
	for _, p := range c.parts("squares") {
		if p.Worker == "n1.w1" {
			held[p.Part] = true
		}
	}
	if len(held) != 2 {
		t.Fatalf("w1 holds %v, want two parts", held)
	}
	workers["w1"].kill()
	g.open(0, 12)
	c.ended("squares", "done")
	for _, r := range c.squares("squares", 12) {
		switch {
		case held[r.Part] && (r.Attempt != 2 || r.Worker == "n1.w1"):
			t.Errorf("part %d, held by the dead worker, was done by %s in attempt %d", r.Part, r.Worker, r.Attempt)
		case !held[r.Part] && r.Attempt != 1:
			t.Errorf("part %d was done in attempt %d", r.Part, r.Attempt)
		}
	}
	for _, p := range c.parts("squares") {
		if lost := p.Losses == 1; lost != held[p.Part] || p.Failures != 0 {
			t.Errorf("part %d: %d losses, %d failures", p.Part, p.Losses, p.Failures)
		}
	}
	c.acceptedOnce(c.nodes[1], j)
	c.agree()
}

// The parts of a worker that is killed do not wait for its lease, which is ten times as long as the test: the end of
// its connection tells.
func TestAKilledWorkersPartsAreGivenAgainLongBeforeItsLeaseEnds(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	first := c.workerAt("first", 1, "10m", c.nodes[0])
	c.haveWorkers(1)
	g := newGate(t)
	c.submit(c.nodes[0], g.job("one", 1))
	g.began(0, 1)
	c.workerAt("second", 1, "10m", c.nodes[0])
	c.haveWorkers(2)
	first.kill()
	g.began(0, 2)
	g.open(0, 1)
	c.ended("one", "done")
	if r := c.squares("one", 1)[0]; r.Attempt != 2 || r.Worker != "n1.second" {
		t.Errorf("the part was done by %s in attempt %d, want n1.second and 2", r.Worker, r.Attempt)
	}
	if p := c.parts("one")[0]; p.Losses != 1 || p.Failures != 0 {
		t.Errorf("%d losses, %d failures, want one loss", p.Losses, p.Failures)
	}
}

// A job goes on while the leader is killed, and later the coordinator that it
// was handed in at: their workers take their names and parts elsewhere.
func TestAJobOutlivesTheLeaderAndItsSubmitter(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	leader := c.leader()
	submitter, witness := c.others(leader)[0], c.others(leader)[1]
	for i, p := range c.nodes {
		c.workerAt(fmt.Sprintf("w%d", i+1), 1, "6s", p)
	}
	c.haveWorkers(3)
	g := newGate(t)
	j := c.submit(submitter, g.job("squares", 9))
	for i := range 3 {
		g.began(i, 1)
	}
	leader.kill()
	g.open(0, 3)
	for i := 3; i < 6; i++ {
		g.began(i, 1) // handed out by another leader
	}
	leader.start()
	c.waitHealthy(3)

	submitter.kill()
	g.open(3, 9)
	c.ended("squares", "done")
	c.squares("squares", 9)
	c.acceptedOnce(witness, j)
	submitter.start()
	c.waitHealthy(3)
	c.acceptedOnce(submitter, j) // it has read the same story in the log
	c.agree()
}

// A worker that stood still longer than its lease finds its part given to
// somebody else: what it brings comes too late.
func TestAWorkerThatStoodStillComesTooLate(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	slow := c.workerAt("slow", 1, "2s", c.nodes[0])
	c.haveWorkers(1)
	g := newGate(t)
	j := c.submit(c.nodes[1], g.job("squares", 1))
	g.began(0, 1)
	slow.signal(syscall.SIGSTOP) // its script is another process and goes on
	c.workerAt("quick", 1, "10s", c.nodes[1])
	g.began(0, 2)
	g.open(0, 1)
	c.ended("squares", "done")
	r := c.squares("squares", 1)[0]
	if r.Attempt != 2 || r.Worker != "n2.quick" {
		t.Errorf("done by %s in attempt %d", r.Worker, r.Attempt)
	}
	slow.signal(syscall.SIGCONT)
	c.haveWorkers(2) // it has found out and signed in anew
	if again := c.squares("squares", 1)[0]; again.Attempt != 2 || again.Worker != r.Worker {
		t.Errorf("after the late worker came back: done by %s in attempt %d", again.Worker, again.Attempt)
	}
	c.acceptedOnce(c.nodes[2], j)
	if p := c.parts("squares")[0]; p.Losses != 1 {
		t.Errorf("%d losses, want 1", p.Losses)
	}

	// It is a worker like any other again.
	g.open(1, 4)
	c.submit(c.nodes[2], g.job("more", 4))
	c.ended("more", "done")
	c.agree()
}

// A worker told to end finishes what it has within its grace, takes nothing
// new and signs out.
func TestAWorkerThatEndsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	w1 := c.workerAt("w1", 1, "10s", c.nodes[0])
	c.haveWorkers(1)
	g := newGate(t)
	j := c.submit(c.nodes[1], g.job("squares", 3))
	g.began(0, 1)
	w1.signal(syscall.SIGTERM)
	c.workerAt("w2", 1, "10s", c.nodes[1])
	g.began(1, 1)
	g.open(0, 3)
	if code := w1.wait(); code != 0 {
		t.Errorf("the worker ended with %d", code)
	}
	c.ended("squares", "done")
	for i, r := range c.squares("squares", 3) {
		// Until it has signed out it may still be handed a part, which it leaves alone.
		if want := []string{"n1.w1", "n2.w2", "n2.w2"}[i]; r.Worker != want || r.Attempt > 2 {
			t.Errorf("part %d was done by %s in attempt %d, want %s", i, r.Worker, r.Attempt, want)
		}
	}
	c.acceptedOnce(c.nodes[2], j)
	if _, _, err := c.api().Component(t.Context(), "n1.w1", client.Read{Consistency: "strict"}); err == nil {
		t.Error("the worker that ended is still signed in")
	}
	c.agree()
}

// A majority is killed for longer than a worker's lease. What the worker ended
// meanwhile counts; what it had to stop is run again as another attempt, with a
// log of its own, though the same session's place is taken again.
func TestAWorkerOutlivesALongLossOfTheMajority(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	home := c.nodes[0]
	other := c.others(home)[0]
	c.workerAt("w", 2, "5s", home)
	c.haveWorkers(1)
	dir := t.TempDir()
	j := c.submit(c.nodes[1], wire.SubmitJob{
		ID: "long", Runtime: "sh", MaxAttempts: 1, Items: numbers(2), Args: asJSON(dir), Script: `
cd ` + dir + `
echo $FOLKMOOT_ATTEMPT >> ran$ITEM
echo attempt $FOLKMOOT_ATTEMPT begins >&2
echo $$ > pid$ITEM.new; mv pid$ITEM.new pid$ITEM.$FOLKMOOT_ATTEMPT
while [ ! -e go$ITEM ]; do sleep 0.05; done
echo attempt $FOLKMOOT_ATTEMPT ends >&2
echo "{\"square\": $((ITEM * ITEM)), \"attempt\": $FOLKMOOT_ATTEMPT}"
`,
	})
	pid, err := strconv.Atoi(strings.TrimSpace(exists(t, filepath.Join(dir, "pid0.1"))))
	if err != nil {
		t.Fatal(err)
	}
	exists(t, filepath.Join(dir, "pid1.1"))
	home.kill()
	other.kill()
	touch(t, dir, "go1")
	isGone(t, pid) // its lease is over
	touch(t, dir, "go0")
	home.start()
	other.start()
	c.ended("long", "done")
	for _, r := range c.squares("long", 2) {
		ran, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("ran%d", r.Part)))
		want := ""
		for attempt := range r.Attempt {
			want += fmt.Sprintln(attempt + 1)
		}
		if err != nil || string(ran) != want {
			t.Errorf("part %d, done in attempt %d, was run as %q (%v), want each attempt once", r.Part, r.Attempt, ran, err)
		}
		if r.Part == 0 && r.Attempt != 2 {
			t.Errorf("part 0, which was stopped, was done in attempt %d, want 2", r.Attempt)
		}
		var log strings.Builder
		for chunk, err := range c.api().Logs(t.Context(), "long", r.Part, false) {
			if err != nil {
				t.Fatal(err)
			}
			log.Write(chunk.Data)
		}
		if r.Attempt == 2 && log.String() != "attempt 2 begins\nattempt 2 ends\n" {
			t.Errorf("the log of part %d, attempt 2, is %q", r.Part, log.String())
		}
	}
	if p := c.parts("long")[0]; p.Losses != 1 || p.Failures != 0 {
		t.Errorf("part 0: %d losses, %d failures; want 1 and none", p.Losses, p.Failures)
	}
	if got, _, err := c.api().Job(t.Context(), "long", client.Read{}); err != nil || got.Parts.Retries < 1 {
		t.Errorf("%d retries (%v), want the second attempt counted", got.Parts.Retries, err)
	}
	c.waitHealthy(3)
	c.acceptedOnce(c.nodes[2], j)
	c.agree()
}
