package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/jobs/dispatch"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is a machine whose log is in memory. It lives in fake time.
type log struct {
	t       *testing.T
	machine *fsm.Machine

	mu    sync.Mutex
	index uint64
	kinds map[string]int
	fail  func(kind string) (applied bool, err error) // nil: nothing fails
	dead  map[string]bool
	wall  time.Duration // how far the wall clocks that label commands are ahead
}

func newLog(t *testing.T) *log {
	l := &log{t: t, machine: fsm.New(), kinds: map[string]int{}, dead: map[string]bool{}}
	for _, id := range []string{"n1", "n2"} {
		l.commit(registry.KindAnnounce, registry.Announce{Coordinator: registry.Coordinator{
			ID: id, ServerID: id + "/1", Namespace: id, PeerAddr: id + ":7300", Level: 1,
		}})
	}
	return l
}

func (l *log) apply(command []byte) wire.Result {
	l.index++
	return l.machine.Apply(l.index, [][]byte{command})[0]
}

// commit applies what others propose; a refusal ends the test.
func (l *log) commit(kind string, body any) any {
	l.t.Helper()
	command, err := fsm.Encode(kind, time.Now().Add(l.wall), fsm.Author{By: "test"}, body)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.apply(command)
	if r.Err != nil {
		l.t.Fatalf("%s: %v", kind, r.Err)
	}
	return r.Value
}

// logFunc is a propose.Log of one function.
type logFunc func(ctx context.Context, command []byte) (uint64, any, error)

func (f logFunc) Propose(ctx context.Context, command []byte) (uint64, any, error) {
	return f(ctx, command)
}

// propose is what dispatch is given. A command takes a millisecond.
func (l *log) propose(ctx context.Context, command []byte) (uint64, any, error) {
	var c struct{ Kind string }
	if err := json.Unmarshal(command, &c); err != nil {
		return 0, nil, err
	}
	time.Sleep(time.Millisecond) // fake time
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kinds[c.Kind]++
	if l.fail != nil {
		if applied, err := l.fail(c.Kind); err != nil {
			if applied {
				l.apply(command)
			}
			return 0, nil, err
		}
	}
	r := l.apply(command)
	if r.Err != nil {
		return l.index, nil, r.Err
	}
	return l.index, r.Value, ctx.Err()
}

func (l *log) with(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// tokens takes the log to the newest level and creates tokens t_0, t_1, ... with one
// grant each.
func (l *log) tokens(grants ...string) {
	l.t.Helper()
	l.commit(fsm.KindFound, fsm.Found{Cluster: "c1", Level: fsm.Level})
	for i, s := range grants {
		g, err := access.ParseGrants([]string{s})
		if err != nil {
			l.t.Fatal(err)
		}
		id := fmt.Sprint("t_", i)
		l.commit(access.KindCreate, access.Create{ID: id, Hash: registry.HashSecret(id), Grants: g})
	}
}

// owned is worker with a token.
func (l *log) owned(name, token string, slots int) {
	l.t.Helper()
	l.commit(registry.KindSignIn, registry.SignIn{
		Name: name, Namespace: "n1", Session: name, SecretHash: registry.HashSecret(name), Home: "n1", Kind: "native",
		Lease: 15 * time.Second, Runtimes: []string{"sh"}, Slots: slots, Token: token,
	})
}

// worker signs a worker in with slots, at a home.
func (l *log) worker(name, home string, slots int) {
	l.t.Helper()
	l.commit(registry.KindSignIn, registry.SignIn{
		Name: name, Namespace: home, Session: name, SecretHash: registry.HashSecret(name), Home: home, Kind: "native",
		Lease: 15 * time.Second, Runtimes: []string{"sh"}, Slots: slots,
	})
}

func (l *log) submit(id string, n int, options ...func(*wire.SubmitJob)) {
	l.t.Helper()
	in := wire.SubmitJob{Runtime: "sh", Script: "cat", Range: &wire.Range{To: int64(n)}}
	for _, o := range options {
		o(&in)
	}
	spec, err := jobs.Check(in)
	if err != nil {
		l.t.Fatal(err)
	}
	l.commit(jobs.KindSubmit, jobs.Submit{ID: id, Spec: spec})
}

func (l *log) start(job string, n int) {
	p, _ := l.machine.View().Jobs.Part(job, n)
	l.commit(jobs.KindStart, jobs.Start{Parts: []jobs.Ref{p.Ref()}})
}

func (l *log) finish(job string, n int) {
	p, _ := l.machine.View().Jobs.Part(job, n)
	l.commit(jobs.KindFinish, jobs.Finish{Parts: []jobs.PartDone{{Ref: p.Ref(), OK: true, Result: json.RawMessage("1")}}})
}

// fails reports that the current attempt of a part failed.
func (l *log) fails(job string, n int) {
	p, _ := l.machine.View().Jobs.Part(job, n)
	l.commit(jobs.KindFinish, jobs.Finish{Parts: []jobs.PartDone{{Ref: p.Ref(), Error: "goodtool: not found"}}})
}

// finishAll plays all workers: whatever is assigned is done.
func (l *log) finishAll() (n int) {
	for p := range l.machine.View().Jobs.Busy() {
		l.finish(p.Job, p.N)
		n++
	}
	return n
}

// lead runs dispatch in fake time around play, and sees it end with its context.
func lead(t *testing.T, play func(*log)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		stop := l.startLeader()
		play(l)
		stop()
		if err := l.machine.View().Jobs.Verify(); err != nil {
			t.Error(err)
		}
	})
}

// startLeader starts dispatch; stop ends it and checks how it ended.
func (l *log) startLeader() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- dispatch.Run(ctx, dispatch.Config{
			Machine: l.machine, Proposer: propose.New(logFunc(l.propose), func() time.Time {
				l.mu.Lock()
				defer l.mu.Unlock()
				return time.Now().Add(l.wall)
			}),
			Alive: func(home string) bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return !l.dead[home]
			},
		})
	}()
	runUntilIdle()
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			l.t.Errorf("Run ended with %v, want the context's error", err)
		}
	}
}

// runUntilIdle lets all that is due now happen.
func runUntilIdle() { after(100 * time.Millisecond) }

// after lets fake time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (l *log) part(job string, n int, state string, attempt int, worker string) {
	l.t.Helper()
	p, _ := l.machine.View().Jobs.Part(job, n)
	if got, want := fmt.Sprint(p.State, " ", p.Attempt, " ", p.Worker), fmt.Sprint(state, " ", attempt, " ", worker); got != want {
		l.t.Errorf("part %d of %s is %s; want %s", n, job, got, want)
	}
}

func (l *log) job(id, state, reason string) {
	l.t.Helper()
	j, ok := l.machine.View().Jobs.Job(id)
	if !ok || j.State != state || j.Reason != reason {
		l.t.Errorf("job %s is %q, reason %q; want %q, reason %q", id, j.State, j.Reason, state, reason)
	}
}
