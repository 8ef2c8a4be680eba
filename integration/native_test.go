package integration_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// nativeCluster starts three coordinators and returns the doors of each for
// native sessions, its own first.
func nativeCluster(t *testing.T) (*cluster, map[string][]string) {
	t.Helper()
	c := startCluster(t, 3)
	doors := map[string][]string{}
	for i := range c.nodes {
		for _, p := range slices.Concat(c.nodes[i:], c.nodes[:i]) {
			doors[c.nodes[i].name] = append(doors[c.nodes[i].name], p.component)
		}
	}
	return c, doors
}

// component signs in at the first of the doors.
func (c *cluster) component(name string, at []string, more client.Component) *client.Session {
	c.t.Helper()
	more.Addrs, more.SignIn.Name = at, name
	if more.Logger == nil {
		said := &logFile{}
		more.Logger = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.t.Cleanup(func() {
			if c.t.Failed() {
				c.t.Logf("log of component %s:\n%s", name, said.String())
			}
		})
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	n, err := client.Dial(ctx, more)
	if err != nil {
		c.t.Fatalf("sign in %s at %s: %v", name, at[0], err)
	}
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = n.Close(ctx)
	})
	return n
}

// ledger is what one sender heard of its messages and what their receiver got.
type ledger struct {
	mu       sync.Mutex
	outcomes map[string]wire.Code // "" is delivered
	got      map[string]int
	order    []string // of one sender's
}

func newLedger() *ledger { return &ledger{outcomes: map[string]wire.Code{}, got: map[string]int{}} }

func (l *ledger) told(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, twice := l.outcomes[what]; twice {
		panic(fmt.Sprintf("two outcomes of %s: %q and %q", what, before, wire.CodeOf(err)))
	}
	l.outcomes[what] = wire.CodeOf(err)
}

// read takes messages in until the component is over.
func (l *ledger) read(n *client.Session) {
	for m := range n.Messages() {
		l.mu.Lock()
		what := string(m.Payload[0])
		l.got[what]++
		l.order = append(l.order, what)
		l.mu.Unlock()
	}
}

// send keeps sending numbered messages, several at a time, until stop is
// closed; delivered is told when each one began that was.
func (l *ledger) send(ctx context.Context, n *client.Session, to string, stop <-chan struct{}, delivered func(begun time.Time)) {
	var wg sync.WaitGroup
	for lane := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				what := fmt.Sprintf("%d.%06d", lane, i)
				begun := time.Now()
				err := n.Send(ctx, wire.Message{To: to, Payload: [][]byte{[]byte(what)}})
				l.told(what, err)
				if err == nil {
					delivered(begun)
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
}

// check holds outcomes against what arrived. lossy: the receiver's own home
// was killed, with what its mailbox held.
func (l *ledger) check(t *testing.T, what string, lossy bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[wire.Code]int{}
	for m, code := range l.outcomes {
		counts[code]++
		switch got := l.got[m]; {
		case got > 1:
			t.Errorf("%s: message %s came %d times", what, m, got)
		case got == 0 && code == "" && !lossy:
			t.Errorf("%s: message %s was delivered and did not come", what, m)
		case got == 1 && code != "" && code != wire.CodeUnknown:
			t.Errorf("%s: message %s was told to be %s and came", what, m, code)
		}
	}
	for m := range l.got {
		if _, ok := l.outcomes[m]; !ok {
			t.Errorf("%s: message %s came and its sender heard nothing", what, m)
		}
	}
	last := map[byte]int{}
	for _, m := range l.order {
		n, err := strconv.Atoi(m[2:])
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := last[m[0]]; ok && n <= before {
			t.Errorf("%s: message %s came after %d", what, m, before)
		}
		last[m[0]] = n
	}
	t.Logf("%s: outcomes %v, %d came", what, counts, len(l.got))
	if counts[""] == 0 {
		t.Errorf("%s: nothing was delivered", what)
	}
}

// takeOverWithin bounds how long a component may be without a home. Where the
// leader was killed it counts from the election: nobody can sign in before.
func takeOverWithin() time.Duration {
	if raceEnabled {
		return 3 * time.Second
	}
	return time.Second
}

// sinceElection returns when a coordinator knew of a leader other than gone,
// after begin.
func sinceElection(t *testing.T, at *process, gone string, begin time.Time) time.Duration {
	t.Helper()
	eventually(t, "a new leader", func(ctx context.Context) error {
		l, _, err := at.api().Leader(ctx)
		if err == nil && l.ID == gone {
			err = fmt.Errorf("%s names %s still", at.name, gone)
		}
		return err
	})
	return time.Since(begin)
}

// When a home is killed its sessions are signed in at another coordinator
// within a second, under their names, and the next messages reach them; what
// was under way is unknown, nothing is silent and nothing comes twice.
func TestNativeTakeOver(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			c, doors := nativeCluster(t)
			victim := c.leader()
			if who == "follower" {
				victim = c.follower()
			}
			var survivor *process
			for _, p := range c.nodes {
				if p != victim {
					survivor = p
				}
			}
			inbox := client.Component{Inbox: true, Methods: map[string]client.Method{
				"wait": func(ctx context.Context, _ *client.Request) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
			}}
			near := c.component("near", doors[victim.name], inbox) // its home is killed
			far := c.component("far", doors[survivor.name], inbox) // its home is not
			probe := c.component("probe", doors[victim.name], client.Component{})
			out, in := newLedger(), newLedger()
			var readers sync.WaitGroup
			readers.Go(func() { out.read(far) })
			readers.Go(func() { in.read(near) })

			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			stop := make(chan struct{})
			var killed atomic.Int64
			var outAgain, inAgain atomic.Int64 // nanoseconds from the kill to the next delivery that began after it
			since := func(at *atomic.Int64) func(time.Time) {
				return func(begun time.Time) {
					if k := killed.Load(); k != 0 && begun.UnixNano() > k {
						at.CompareAndSwap(0, time.Now().UnixNano()-k)
					}
				}
			}
			var senders sync.WaitGroup
			senders.Go(func() { out.send(ctx, near, far.FullName(), stop, since(&outAgain)) })
			senders.Go(func() { in.send(ctx, far, near.FullName(), stop, since(&inAgain)) })
			call := make(chan error, 1)
			go func() { call <- probe.Call(ctx, far.FullName(), "wait", nil, nil) }()
			time.Sleep(500 * time.Millisecond) // traffic
			name, session := near.FullName(), near.Welcome().Session
			home := make(chan time.Time, 1)
			go func() { // when it is signed in elsewhere
				for near.Welcome().Home == victim.name && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				home <- time.Now()
			}()
			begin := time.Now()
			killed.Store(begin.UnixNano())
			victim.kill()
			elected := time.Duration(0)
			if who == "leader" {
				elected = sinceElection(t, survivor, victim.name, begin)
			}

			if err := <-call; wire.CodeOf(err) != wire.CodeUnknown {
				t.Errorf("a call that was under way when its home was killed: %v, want unknown", err)
			}
			eventually(t, "deliveries in both directions", func(context.Context) error {
				if outAgain.Load() == 0 || inAgain.Load() == 0 {
					return errors.New("not yet")
				}
				return nil
			})
			time.Sleep(300 * time.Millisecond) // more of it
			close(stop)
			senders.Wait()
			moved := near.Welcome()
			if moved.FullName != name || moved.Session != session || moved.Home == victim.name || near.Moves() == 0 || near.Context().Err() != nil {
				t.Errorf("%s is %+v after the kill of %s", name, moved, victim.name)
			}
			c.has(name, moved.Home)
			outTook, inTook, signedIn := time.Duration(outAgain.Load()), time.Duration(inAgain.Load()), (<-home).Sub(begin)
			t.Logf("%s killed: signed in elsewhere after %v (a leader was known after %v), sends from it went on after %v, to it after %v", who, signedIn, elected, outTook, inTook)
			if slowest := max(outTook, inTook, signedIn) - elected; slowest > takeOverWithin() {
				t.Errorf("the take-over took %v, want at most %v", slowest, takeOverWithin())
			}
			// What is in the mailboxes is read before both are closed.
			eventually(t, "an empty mailbox", func(ctx context.Context) error {
				out.mu.Lock()
				defer out.mu.Unlock()
				for m, code := range out.outcomes {
					if code == "" && out.got[m] == 0 {
						return fmt.Errorf("message %s was delivered and has not come", m)
					}
				}
				return nil
			})
			_ = near.Close(ctx)
			_ = far.Close(ctx)
			readers.Wait()
			out.check(t, "out of the killed home", false)
			in.check(t, "to the killed home", true)
		})
	}
}

// A coordinator that stops in order tells its sessions to go elsewhere; a
// whole cluster that was killed gets them back without anybody's help.
func TestNativeSessionsOutliveCoordinators(t *testing.T) {
	t.Parallel()
	c, doors := nativeCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	lease := client.Component{Inbox: true, SignIn: wire.SignIn{Lease: wire.Duration(time.Minute)}}
	laser := c.component("laser", doors["n2"], lease)
	gui := c.component("gui", doors["n3"], lease)
	session := laser.Welcome().Session
	begin := time.Now()
	c.node("n2").stop()
	eventually(t, "the move", func(context.Context) error {
		if laser.Welcome().Home == "n2" {
			return errors.New("still at n2")
		}
		return nil
	})
	t.Logf("moved %v after its home was told to stop", time.Since(begin))
	if err := gui.Send(ctx, wire.Message{To: laser.FullName(), Payload: [][]byte{[]byte("1")}}); err != nil {
		t.Errorf("after an orderly stop: %v", err)
	}
	if m := <-laser.Messages(); string(m.Payload[0]) != "1" {
		t.Errorf("got %q", m.Payload[0])
	}
	c.node("n2").start()
	c.waitHealthy(3)
	for _, p := range c.nodes {
		p.kill()
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	eventually(t, "a message", func(ctx context.Context) error {
		return gui.Send(ctx, wire.Message{To: laser.FullName(), Payload: [][]byte{[]byte("2")}})
	})
	if m := <-laser.Messages(); string(m.Payload[0]) != "2" {
		t.Errorf("got %q", m.Payload[0])
	}
	if laser.Welcome().Session != session || laser.Context().Err() != nil {
		t.Errorf("the session did not outlive the cluster: %+v", laser.Welcome())
	}
}
