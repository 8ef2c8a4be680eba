package integration_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// gated is a python3 script whose every part tells that it began, waits for a
// file go<item> and squares its item. Its args are {"dir": folder}.
const gated = `
import os, time
def part(item, args):
    at = lambda name: os.path.join(args["dir"], name)
    attempt = os.environ["FOLKMOOT_ATTEMPT"]
    with open(at("began%d.%s" % (item, attempt)), "w") as f:
        f.write(str(os.getpid()))
    while not os.path.exists(at("go%d" % item)):
        time.sleep(0.02)
    return {"square": item * item, "attempt": int(attempt)}
`

// square is a result of gated.
type square struct{ Square, Attempt int }

// gate is the folder that a gated job's parts look into.
type gate struct {
	t   *testing.T
	dir string
}

func newGate(t *testing.T) gate { return gate{t, t.TempDir()} }

// job is a gated job over the items 0 to n-1.
func (g gate) job(id string, n int) wire.SubmitJob {
	return wire.SubmitJob{ID: id, Runtime: "python3", Script: gated, Items: numbers(n), Args: asJSON(map[string]string{"dir": g.dir})}
}

// open lets parts from and up to before to go on.
func (g gate) open(from, to int) {
	g.t.Helper()
	for i := from; i < to; i++ {
		touch(g.t, g.dir, fmt.Sprintf("go%d", i))
	}
}

// began waits until an attempt of a part runs.
func (g gate) began(item, attempt int) {
	g.t.Helper()
	exists(g.t, filepath.Join(g.dir, fmt.Sprintf("began%d.%d", item, attempt)))
}

func numbers(n int) (items []json.RawMessage) {
	for i := range n {
		items = append(items, asJSON(i))
	}
	return items
}

func asJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// workerAt starts a worker that goes to other coordinators when its own dies.
func (c *cluster) workerAt(name string, slots int, lease string, first *process) *process {
	c.t.Helper()
	var addrs []string
	for _, p := range append([]*process{first}, c.others(first)...) {
		addrs = append(addrs, p.http)
	}
	p := &process{t: c.t, name: name, program: "worker", log: &logFile{}, args: []string{
		"--addr", strings.Join(addrs, ","), "--name", name, "--slots", fmt.Sprint(slots), "--lease", lease, "--dir", c.t.TempDir(),
	}}
	c.t.Cleanup(p.end)
	p.start()
	return p
}

// haveWorkers waits until so many workers are signed in.
func (c *cluster) haveWorkers(n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d workers", n), func(ctx ctx) error {
		w, _, err := c.api().Workers(ctx, client.Read{})
		if err == nil && len(w.Workers) != n {
			err = fmt.Errorf("there are %d", len(w.Workers))
		}
		return err
	})
}

// submit hands a job in at one coordinator.
func (c *cluster) submit(at *process, in wire.SubmitJob) wire.Job {
	c.t.Helper()
	j, _, err := at.api().Submit(c.t.Context(), in)
	if err != nil {
		c.t.Fatalf("submit %s at %s: %v", in.ID, at.name, err)
	}
	return j
}

// ended waits for the end of a job and checks its state.
func (c *cluster) ended(id, state string) (j wire.Job) {
	c.t.Helper()
	eventually(c.t, "the end of job "+id, func(ctx ctx) (err error) {
		if j, _, err = c.api().Job(ctx, id, client.Read{}); err == nil && !client.Final(j.State) {
			err = fmt.Errorf("it is %s, %+v", j.State, j.Parts)
		}
		return err
	})
	if j.State != state {
		c.t.Errorf("job %s is %s (%s), want %s", id, j.State, j.Reason, state)
	}
	return j
}

// parts lists the parts of a job.
func (c *cluster) parts(id string) []wire.Part {
	c.t.Helper()
	p, _, err := c.api().Parts(c.t.Context(), id, client.Page{Limit: 1000}, client.Read{Consistency: "strict"})
	if err != nil {
		c.t.Fatalf("parts of %s: %v", id, err)
	}
	return p.Parts
}

// squares checks that a gated job has each result once, and the right one.
func (c *cluster) squares(id string, n int) []wire.PartResult {
	c.t.Helper()
	all := make([]wire.PartResult, n)
	got := 0
	for r, err := range c.api().Results(c.t.Context(), id, false) {
		if err != nil {
			c.t.Fatalf("results of %s: %v", id, err)
		}
		var s square
		if err := json.Unmarshal(r.Result, &s); err != nil || s.Square != r.Part*r.Part || r.State != "done" {
			c.t.Errorf("part %d of %s is %s with %s (%v)", r.Part, id, r.State, r.Result, err)
		}
		if s.Attempt != r.Attempt {
			c.t.Errorf("part %d of %s: the result of attempt %d counts as that of attempt %d", r.Part, id, s.Attempt, r.Attempt)
		}
		all[r.Part] = r
		got++
	}
	if got != n {
		c.t.Errorf("%d results of %s, want %d", got, id, n)
	}
	return all
}

// story counts what was told about a job's parts, from its submission to its
// end, by kind of event and part.
func (c *cluster) story(at *process, j wire.Job) map[string]map[int]int {
	c.t.Helper()
	told := map[string]map[int]int{}
	for e, err := range at.api().Events(c.t.Context(), client.Events{Topics: []string{wire.TopicJob}, Index: 1}) {
		if err != nil {
			c.t.Fatalf("events of %s: %v", j.ID, err)
		}
		if e.Kind == client.KindLagged {
			c.t.Fatalf("%s does not remember the events of %s", at.name, j.ID)
		}
		if e.Key != j.ID {
			continue
		}
		switch e.Kind {
		case jobs.EventDone, jobs.EventFailed, jobs.EventCancelled:
			return told
		}
		var part struct {
			N *int `json:"part"`
		}
		if data, ok := e.Data.(json.RawMessage); ok && json.Unmarshal(data, &part) == nil && part.N != nil {
			if told[e.Kind] == nil {
				told[e.Kind] = map[int]int{}
			}
			told[e.Kind][*part.N]++
		}
	}
	return told
}

// acceptedOnce checks that the result of each part was accepted exactly once.
func (c *cluster) acceptedOnce(at *process, j wire.Job) {
	c.t.Helper()
	done := c.story(at, j)[jobs.EventPartDone]
	for n := range j.Parts.Total {
		if done[n] != 1 {
			c.t.Errorf("the result of part %d of %s was accepted %d times", n, j.ID, done[n])
		}
	}
}

func seconds(n float64) wire.Duration { return wire.Duration(n * float64(time.Second)) }
