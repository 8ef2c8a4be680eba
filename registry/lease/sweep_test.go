package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
)

// cluster is a machine whose log is a list in memory, and who is alive.
type cluster struct {
	t       *testing.T
	machine *fsm.Machine

	mu    sync.Mutex
	index uint64
	dead  map[string]time.Time // home: when it was heard last
	fail  error
	tries int
	sizes []int
}

func newCluster(t *testing.T, ids ...string) *cluster {
	c := &cluster{t: t, machine: fsm.New(), dead: map[string]time.Time{}}
	for _, id := range ids {
		c.apply(registry.KindAnnounce, registry.Announce{Coordinator: registry.Coordinator{
			ID: id, ServerID: id + "/1", Namespace: id, PeerAddr: id + ":7300", Level: 1,
		}})
	}
	return c
}

func (c *cluster) apply(kind string, body any) any {
	c.t.Helper()
	command, err := fsm.Encode(kind, time.Now(), fsm.Author{By: "test"}, body)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	r := c.machine.Apply(c.index, [][]byte{command})[0]
	if r.Err != nil {
		c.t.Fatalf("%s: %v", kind, r.Err)
	}
	return r.Value
}

// signIn signs in with a lease shorter than every grace here, so that the grace
// alone counts.
func (c *cluster) signIn(home, name string, takeOver bool) {
	c.t.Helper()
	c.signInFor(home, name, time.Second, takeOver)
}

func (c *cluster) signInFor(home, name string, lease time.Duration, takeOver bool) {
	c.t.Helper()
	c.apply(registry.KindSignIn, registry.SignIn{
		Name: name, Namespace: "n1", Session: "s-" + name, SecretHash: registry.HashSecret(name), Home: home, Lease: lease, TakeOver: takeOver,
	})
}

func (c *cluster) propose(_ context.Context, sessions []registry.Fence, reason string) error {
	c.mu.Lock()
	fail := c.fail
	c.tries++
	c.sizes = append(c.sizes, len(sessions))
	c.mu.Unlock()
	if fail != nil {
		return fail
	}
	c.apply(registry.KindExpire, registry.Expire{Sessions: sessions, Reason: reason})
	return nil
}

// alive judges as a leader does: who was heard within the window is alive.
func (c *cluster) alive(id string) (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, dead := c.dead[id]; dead {
		return time.Since(last) <= window, last
	}
	return true, time.Now()
}

// kill makes a home silent from now on; false brings it back.
func (c *cluster) kill(id string, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !dead {
		delete(c.dead, id)
	} else if _, was := c.dead[id]; !was {
		c.dead[id] = time.Now()
	}
}

// window is how long a home that is silent counts as alive.
const window = 3 * time.Second

func (c *cluster) names() (names []string) {
	for s := range c.machine.View().Registry.Sessions() {
		names = append(names, s.Name)
	}
	return names
}

// silent is for how long a home was not heard.
func (c *cluster) silent(id string) time.Duration {
	_, last := c.alive(id)
	return time.Since(last)
}

// lead runs a sweep as the leader n1 until the returned function is called.
func (c *cluster) lead() (stop func()) { return c.leadWith(10 * time.Second) }

func (c *cluster) leadWith(grace time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- lease.Sweep(ctx, lease.SweepConfig{
			Self: "n1", View: c.machine.View, Alive: c.alive, Propose: c.propose, Window: window, Grace: grace,
		})
	}()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			c.t.Errorf("the sweep ended with %v", err)
		}
	}
}

// However short the grace is, nobody else gets a name while the session that has
// it may be used by its client's own clock: each lease is waited for in full, from
// when the home may have renewed it for the last time.
func TestALeaseOutlivesTheGrace(t *testing.T) {
	for _, lost := range []struct{ lease, grace time.Duration }{
		{7 * time.Second, 2 * time.Second},
		{15 * time.Second, 10 * time.Second},
		{time.Minute, 2 * time.Second},
		{time.Second, 10 * time.Second},
		{10 * time.Minute, time.Millisecond},
	} {
		t.Run(fmt.Sprintf("lease %v grace %v", lost.lease, lost.grace), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1", "n2")
				c.signInFor("n2", "stage", lost.lease, false)
				defer c.leadWith(lost.grace)()
				pass(5 * time.Second)
				c.kill("n2", true)
				// Until the window ends the home may renew the lease.
				pass(window + max(lost.lease, lost.grace) - time.Millisecond)
				if got := c.names(); len(got) != 1 {
					t.Fatalf("%v after it was heard the home has lost the session, whose lease of %v it may have renewed for %v",
						window+max(lost.lease, lost.grace), lost.lease, window)
				}
				pass(2 * time.Second)
				if got := c.names(); len(got) != 0 {
					t.Errorf("two seconds later %v are signed in, want none", got)
				}
			})
		})
	}
}

// A new leader, which never heard of the home, waits as long from its election.
func TestANewLeaderWaitsForLeasesAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		c.signInFor("n2", "stage", 20*time.Second, false)
		c.kill("n2", true)
		pass(time.Minute)
		defer c.lead()()
		pass(window + 20*time.Second - time.Millisecond)
		if got := c.names(); len(got) != 1 {
			t.Fatal("the session expired within its lease: its home may have renewed it until this leader was elected, and a while longer")
		}
		pass(2 * time.Second)
		if got := c.names(); len(got) != 0 {
			t.Errorf("two seconds later %v are signed in, want none", got)
		}
	})
}

// Sessions of one home end each by its own lease.
func TestEachLeaseIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		for name, lease := range map[string]time.Duration{"a": 5 * time.Second, "b": 20 * time.Second, "c": time.Minute} {
			c.signInFor("n2", name, lease, false)
		}
		defer c.lead()()
		c.kill("n2", true)
		for _, step := range []struct {
			after time.Duration
			want  []string
		}{
			{window + 9*time.Second, []string{"a", "b", "c"}}, // the grace of 10 s
			{window + 13*time.Second, []string{"b", "c"}},
			{window + 19*time.Second, []string{"b", "c"}},
			{window + 23*time.Second, []string{"c"}},
			{window + 59*time.Second, []string{"c"}},
			{window + 63*time.Second, nil},
		} {
			pass(step.after - c.silent("n2"))
			if got := c.names(); !slices.Equal(got, step.want) {
				t.Errorf("%v after it was heard: %v, want %v", step.after, got, step.want)
			}
		}
	})
}

// A home that is lost for the whole grace loses its sessions, with the reason;
// those of others stay, and so does one that moved meanwhile.
func TestLostHomeExpiresAfterGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2", "n3")
		c.signIn("n1", "laser", false)
		c.signIn("n2", "stage", false)
		c.signIn("n2", "camera", false)
		stop := c.lead()
		defer stop()
		c.kill("n2", true)
		pass(9 * time.Second)
		if got := c.names(); len(got) != 3 {
			t.Fatalf("signed in within the grace: %v, want all three", got)
		}
		c.signIn("n3", "camera", true)
		pass(4 * time.Second)
		if got := c.names(); !slices.Equal(got, []string{"camera", "laser"}) {
			t.Fatalf("signed in after the grace: %v, want the moved camera and the laser of a living home", got)
		}
		if e, ok := c.machine.View().Registry.Ended("s-stage"); !ok || !strings.Contains(e.Reason, "home n2 lost") {
			t.Errorf("the reason is %q, want that home n2 is lost", e.Reason)
		}
	})
}

// A home that comes back within the grace loses nothing, however often.
func TestHomeThatComesBackKeepsItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		c.signIn("n2", "stage", false)
		defer c.lead()()
		for range 5 {
			c.kill("n2", true)
			pass(8 * time.Second)
			c.kill("n2", false)
			pass(3 * time.Second)
		}
		if got := c.names(); len(got) != 1 {
			t.Fatal("a home that always came back lost its session")
		}
	})
}

// Nothing expires because the leader changed: each one begins the grace anew.
func TestLeaderChangeExpiresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		c.signIn("n2", "stage", false)
		c.kill("n2", true)
		for range 5 {
			stop := c.lead()
			pass(9 * time.Second)
			stop()
		}
		if got := c.names(); len(got) != 1 {
			t.Fatal("45 s under five leaders of 9 s each: the session expired")
		}
		defer c.lead()()
		pass(13 * time.Second)
		if got := c.names(); len(got) != 0 {
			t.Fatalf("signed in after a whole grace: %v, want none", got)
		}
	})
}

// A lost home's sessions end in batches of at most 500, and a failed proposal
// is made again.
func TestLostHomeInBatchesWithRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		for i := range 1100 {
			c.signIn("n2", fmt.Sprintf("c%04d", i), false)
		}
		c.fail = errors.New("no quorum")
		defer c.lead()()
		c.kill("n2", true)
		pass(15 * time.Second)
		if got := c.names(); len(got) != 1100 || c.tries < 2 {
			t.Fatalf("%d sessions, %d tries: want 1100 and several", len(got), c.tries)
		}
		c.mu.Lock()
		c.fail, c.sizes = nil, nil
		c.mu.Unlock()
		pass(3 * time.Second)
		if got := c.names(); len(got) != 0 || !slices.Equal(c.sizes, []int{500, 500, 100}) {
			t.Fatalf("%d sessions left, batches of %v: want none, 500, 500, 100", len(got), c.sizes)
		}
	})
}

// A home that was removed from the cluster is lost like a dead one, and the
// leader's own sessions are never judged by it.
func TestRemovedHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		c.signIn("n1", "laser", false)
		c.signIn("n2", "stage", false)
		c.apply(registry.KindForget, registry.Forget{ID: "n2", ServerID: "n2/1"})
		c.kill("n1", true)
		c.kill("n2", true)
		defer c.lead()()
		pass(13 * time.Second)
		if got := c.names(); !slices.Equal(got, []string{"laser"}) {
			t.Fatalf("signed in: %v, want the leader's own laser", got)
		}
	})
}

// A leader that stood still heard of nobody meanwhile: it begins all graces
// anew.
func TestPauseBeginsGracesAnew(t *testing.T) {
	c := newCluster(t, "n1", "n2")
	c.signIn("n2", "stage", false)
	c.dead["n2"] = time.Now().Add(-time.Hour) // its looks are timed by the test
	look := lease.Sweeper(lease.SweepConfig{Self: "n1", View: c.machine.View, Alive: c.alive, Propose: c.propose})
	start := time.Now()
	at := func(last, now time.Duration) { look(t.Context(), start.Add(last), start.Add(now)) }
	at(0, time.Second)
	at(time.Second, time.Minute)
	at(time.Minute, 69*time.Second)
	if got := c.names(); len(got) != 1 {
		t.Fatal("the session expired though its home was missed for 9 s only, beside the pause")
	}
	at(69*time.Second, 70*time.Second)
	at(70*time.Second, 79*time.Second) // late again
	at(79*time.Second, 80*time.Second)
	for s := 80 * time.Second; s < 90*time.Second; s += time.Second {
		at(s, s+time.Second)
	}
	if got := c.names(); len(got) != 0 {
		t.Errorf("signed in after a whole grace: %v, want none", got)
	}
}

// A home that answers again while its sessions are about to expire keeps them.
func TestHomeIsAskedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		c.signIn("n2", "stage", false)
		var asked time.Time
		alive := func(string) (bool, time.Time) {
			again := asked.Equal(time.Now()) // within one look
			asked = time.Now()
			return again, time.Time{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := lease.Sweep(ctx, lease.SweepConfig{Self: "n1", View: c.machine.View, Alive: alive, Propose: c.propose})
		if got := c.names(); !errors.Is(err, context.DeadlineExceeded) || len(got) != 1 {
			t.Errorf("%v; signed in: %v, want stage still", err, got)
		}
	})
}
