package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
	"github.com/folkmoot/folkmoot/wire"
)

// log is where proposals go; fail, if set, refuses them.
type log struct {
	mu      sync.Mutex
	fail    error
	tries   int
	batches [][]registry.Fence
	reasons []string
}

func (l *log) propose(_ context.Context, sessions []registry.Fence, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	if l.fail != nil {
		return l.fail
	}
	l.batches, l.reasons = append(l.batches, slices.Clone(sessions)), append(l.reasons, reason)
	return nil
}

func (l *log) failing(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// gone returns all that was expired, by name.
func (l *log) gone() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		for _, f := range b {
			names = append(names, f.FullName)
		}
	}
	return names
}

// keep runs a Keeper over l for the rest of the test's bubble.
func keep(t *testing.T, l *log) *lease.Keeper {
	t.Helper()
	k := lease.New(lease.Config{Propose: l.propose})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v, want the context's error", err)
		}
	})
	return k
}

func fence(name string, epoch uint64) registry.Fence {
	return registry.Fence{FullName: "n1." + name, Session: "session of " + name, Epoch: epoch}
}

// pass lets time go by and everybody come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A lease that is not renewed ends its session within half a second.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		k := keep(t, l)
		k.Grant(fence("laser", 3), 15*time.Second)
		pass(14900 * time.Millisecond)
		if got := l.gone(); len(got) != 0 {
			t.Fatalf("expired %v before the lease ran out", got)
		}
		pass(600 * time.Millisecond)
		if len(l.batches) != 1 || !slices.Equal(l.batches[0], []registry.Fence{fence("laser", 3)}) || l.reasons[0] != lease.Reason {
			t.Fatalf("proposed %v because %v, want the one fence", l.batches, l.reasons)
		}
		if k.Len() != 0 {
			t.Errorf("%d leases are kept of ended sessions", k.Len())
		}
	})
}

// Heartbeats keep a session for ever; without them it lasts one lease more.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		k := keep(t, l)
		k.Grant(fence("laser", 1), 15*time.Second)
		for range 100 {
			pass(10 * time.Second)
			if !k.Renew("session of laser") {
				t.Fatal("the lease is not there to be renewed")
			}
		}
		pass(14900 * time.Millisecond)
		if got := l.gone(); len(got) != 0 {
			t.Fatalf("expired %v although it beat", got)
		}
		pass(600 * time.Millisecond)
		if got := l.gone(); !slices.Equal(got, []string{"n1.laser"}) {
			t.Fatalf("expired %v after the last beat, want n1.laser", got)
		}
	})
}

// A session that ended or moved is not proposed; one granted again under a new
// epoch has its full term.
func TestDropAndGrantAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		k := keep(t, l)
		k.Grant(fence("laser", 1), 5*time.Second)
		k.Grant(fence("stage", 1), 5*time.Second)
		pass(3 * time.Second)
		k.Drop("session of laser")
		k.Grant(fence("stage", 3), 5*time.Second)
		k.Grant(fence("stage", 2), time.Second) // a late event of the session before
		pass(4 * time.Second)
		if got := l.gone(); len(got) != 0 {
			t.Fatalf("expired %v, want none yet", got)
		}
		if k.Renew("session of laser") {
			t.Error("a dropped lease was renewed")
		}
		pass(2 * time.Second)
		if len(l.batches) != 1 || l.batches[0][0] != fence("stage", 3) {
			t.Fatalf("proposed %v, want stage in epoch 3", l.batches)
		}
	})
}

// What cannot be proposed is proposed again, but not what was renewed meanwhile.
func TestProposalsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		l.failing(wire.NotTried("no leader"))
		k := keep(t, l)
		k.Grant(fence("laser", 1), 2*time.Second)
		k.Grant(fence("stage", 1), 2*time.Second)
		pass(10 * time.Second)
		if l.tries < 3 || l.tries > 20 {
			t.Errorf("tried %d times in 8 s, want about one a second", l.tries)
		}
		k.Renew("session of laser")
		l.failing(nil)
		pass(1500 * time.Millisecond)
		if got := l.gone(); !slices.Equal(got, []string{"n1.stage"}) {
			t.Fatalf("expired %v, want only the one that did not come back", got)
		}
	})
}

// An end that may come about cannot be averted, nor does an answer say so: it is
// proposed until it is certain.
func TestAnEndOnItsWayIsNotAverted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		l.failing(wire.Unknown(context.DeadlineExceeded))
		k := keep(t, l)
		k.Grant(fence("laser", 1), 2*time.Second)
		pass(time.Second)
		if k.Ending("session of laser") {
			t.Fatal("it is ending within its lease")
		}
		pass(2 * time.Second)
		k.Renew("session of laser")
		if !k.Ending("session of laser") {
			t.Fatal("it is not ending though its end may come about")
		}
		l.failing(nil)
		pass(1500 * time.Millisecond)
		if got := l.gone(); !slices.Equal(got, []string{"n1.laser"}) {
			t.Fatalf("expired %v, want the one whose end was not certain", got)
		}
	})
}

// A lease that was shortened ends then, unless it is renewed, and for that reason;
// one that ends sooner, and one of another epoch, are as they were.
func TestShorten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		k := keep(t, l)
		for _, name := range []string{"gone", "back", "moved", "other"} {
			k.Grant(fence(name, 2), 20*time.Second)
		}
		k.Grant(fence("short", 1), 1500*time.Millisecond)
		pass(time.Second)
		for _, name := range []string{"gone", "back"} {
			k.Shorten(fence(name, 2), time.Second, "left")
		}
		k.Shorten(fence("moved", 1), time.Second, "left")
		k.Shorten(fence("short", 1), time.Second, "left")
		k.Shorten(fence("nobody", 1), time.Second, "left")
		pass(900 * time.Millisecond)
		k.Renew("session of back")
		if got := l.gone(); !slices.Equal(got, []string{"n1.short"}) {
			t.Errorf("expired %v within the time, want the one whose lease was over", got)
		}
		pass(600 * time.Millisecond)
		if got := l.gone(); !slices.Equal(got, []string{"n1.short", "n1.gone"}) {
			t.Errorf("expired %v, want the one that did not come back as well", got)
		}
		l.mu.Lock()
		if want := []string{lease.Reason, "left"}; !slices.Equal(l.reasons, want) {
			t.Errorf("the reasons are %q, want %q", l.reasons, want)
		}
		l.mu.Unlock()
		pass(20 * time.Second)
		if n := len(l.gone()); n != 5 {
			t.Errorf("%d expired after their leases, want 5", n)
		}
	})
}

// Many leases that end together go in batches of at most 500.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		k := keep(t, l)
		for i := range 1234 {
			k.Grant(fence(fmt.Sprintf("c%04d", i), 1), time.Second)
		}
		pass(2 * time.Second)
		sizes := []int{}
		for _, b := range l.batches {
			sizes = append(sizes, len(b))
		}
		if !slices.Equal(sizes, []int{500, 500, 234}) {
			t.Fatalf("batches of %v, want 500, 500, 234", sizes)
		}
		if unique := slices.Compact(slices.Sorted(slices.Values(l.gone()))); len(unique) != 1234 {
			t.Fatalf("%d names expired, want 1234", len(unique))
		}
	})
}

// A process that stood still could not hear heartbeats: leases run on by that
// much.
func TestPauseExtendsLeases(t *testing.T) {
	l := &log{}
	k := lease.New(lease.Config{Propose: l.propose})
	k.Grant(fence("laser", 1), 5*time.Second)
	start := time.Now()
	lease.Look(k, t.Context(), start, start.Add(60*time.Second))
	if got := l.gone(); len(got) != 0 {
		t.Fatalf("expired %v after a pause of 60 s, want none", got)
	}
	lease.Look(k, t.Context(), start.Add(65*time.Second), start.Add(65200*time.Millisecond))
	if got := l.gone(); len(got) != 1 {
		t.Fatalf("expired %v without a beat after the pause, want n1.laser", got)
	}
}

// A slow proposal is no pause: heartbeats are heard meanwhile.
func TestBlockedProposalIsNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		var first sync.Once
		slow := func(ctx context.Context, s []registry.Fence, reason string) error {
			first.Do(func() { time.Sleep(8 * time.Second) })
			return l.propose(ctx, s, reason)
		}
		k := lease.New(lease.Config{Propose: slow})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		k.Grant(fence("laser", 1), time.Second)
		k.Grant(fence("stage", 1), 5*time.Second)
		pass(10 * time.Second)
		if got := slices.Sorted(slices.Values(l.gone())); !slices.Equal(got, []string{"n1.laser", "n1.stage"}) {
			t.Errorf("expired %v, want both", got)
		}
		cancel()
		<-done
	})
}

// A beat costs no memory; BenchmarkManySessionsBeat has its time.
func TestABeatAllocatesNothing(t *testing.T) {
	k, ids := manySessions()
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i = (i + 7919) % len(ids)
		if !k.Renew(ids[i]) {
			t.Fatalf("%s has no lease", ids[i])
		}
	}); n > 0 {
		t.Errorf("a beat allocates %v times", n)
	}
}

// 1,000 beats a second are to stay under 1 % of a core: 10 us each.
func BenchmarkManySessionsBeat(b *testing.B) {
	k, ids := manySessions()
	for i := 0; b.Loop(); i++ {
		if !k.Renew(ids[i%len(ids)]) {
			b.Fatalf("%s has no lease", ids[i%len(ids)])
		}
	}
}

// manySessions are 10,000 leases.
func manySessions() (*lease.Keeper, []string) {
	k := lease.New(lease.Config{Propose: (&log{}).propose})
	ids := make([]string, 10_000)
	for i := range ids {
		f := fence(fmt.Sprintf("c%05d", i), 1)
		ids[i] = f.Session
		k.Grant(f, time.Hour)
	}
	return k, ids
}
