package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// millionWriters sign the components in.
const millionWriters = 256

// label is what a component of the million carries.
const label = "0123456789abcdef0123456789abcdef"

func componentName(i int64) string { return fmt.Sprintf("component%07d", i) }

// million signs many components in, all at one coordinator, looks at what they
// take of memory everywhere and starts one of the others again.
func million(ctx context.Context, o options, m measurement, dir string, _ results) error {
	o.rounds = 1
	return eachRound(ctx, o, m, dir, func(c *cluster, _ string) error { return fillUp(ctx, o, c) })
}

func fillUp(ctx context.Context, o options, c *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	home, err := c.leader(ctx)
	if err != nil {
		return err
	}
	before := make([]held, len(c.servers))
	for i, s := range c.servers {
		if before[i], err = holds(ctx, s); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := signMillionIn(ctx, c, home, o.components); err != nil {
		return err
	}
	took := time.Since(begin)
	n, own := float64(o.components), float64(len(namespace+"."+componentName(0))+len("v"+label))
	fmt.Printf("\n%s: %d components of %.0f bytes of own data (full name and label), signed in by REST at the leader within %.0f s, %.0f/s\n",
		c.system, o.components, own, took.Seconds(), n/took.Seconds())
	for i, s := range c.servers {
		if err := until(ctx, s, o.components); err != nil {
			return err
		}
		after, err := holds(ctx, s)
		if err != nil {
			return err
		}
		role := "replica"
		if i == home {
			role = "leader, home of all"
		}
		each := (after.alive - before[i].alive) / n
		fmt.Printf("  %s (%s): %.0f MiB resident (largest %.0f), %.0f MiB alive; a component takes %.0f bytes alive, %.0f beyond its own data; %.0f bytes resident\n",
			s.name, role, after.rss/(1<<20), after.peak/(1<<20), after.alive/(1<<20), each, each-own, (after.rss-before[i].rss)/n)
	}
	replica := c.servers[(home+1)%len(c.servers)]
	if err := restarted(ctx, replica, o.components, "kill -9", (*server).kill); err != nil {
		return err
	}
	return restarted(ctx, replica, o.components, "SIGTERM", (*server).end)
}

// restarted ends a coordinator, starts it again and waits until it is ready.
func restarted(ctx context.Context, s *server, components int, how string, end func(*server)) error {
	begin := time.Now()
	end(s)
	ended := time.Since(begin)
	begin = time.Now()
	if err := s.start(); err != nil {
		return err
	}
	for fetch("http://"+s.ops+"/readyz", "", 5*time.Second) != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", s.name, ctx.Err())
		}
	}
	ready := time.Since(begin)
	if err := until(ctx, s, components); err != nil {
		return err
	}
	all := time.Since(begin)
	rss, err := memory(s.cmd.Process.Pid, "VmRSS")
	if err != nil {
		return err
	}
	fmt.Printf("  %s: ended by %s within %.2f s, started again: ready after %.2f s, all components known after %.2f s, %.0f MiB resident\n",
		s.name, how, ended.Seconds(), ready.Seconds(), all.Seconds(), rss/(1<<20))
	return nil
}

// held is the memory of a coordinator in bytes.
type held struct{ rss, peak, alive float64 }

// holds looks at the memory after a collection.
func holds(ctx context.Context, s *server) (h held, err error) {
	if err := fetch("http://"+s.ops+"/debug/pprof/heap?gc=1", "", time.Minute); err != nil {
		return h, err
	}
	st, err := folkmootStatus(ctx, s.addr)
	if err != nil {
		return h, err
	}
	h.alive = float64(st.HeapBytes)
	if h.rss, err = memory(s.cmd.Process.Pid, "VmRSS"); err != nil {
		return h, err
	}
	h.peak, err = memory(s.cmd.Process.Pid, "VmHWM")
	return h, err
}

// until waits for a coordinator to know n components.
func until(ctx context.Context, s *server, n int) error {
	for {
		st, err := folkmootStatus(ctx, s.addr)
		if err == nil && st.Components >= n {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s knows %d of %d components: %w", s.name, st.Components, n, errors.Join(err, ctx.Err()))
		}
	}
}

// signMillionIn signs n components in at a coordinator, for a day.
func signMillionIn(ctx context.Context, c *cluster, at, n int) error {
	var next atomic.Int64
	errs := make(chan error, millionWriters)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range millionWriters {
		cl, err := dialFolkmoot(ctx, c.servers[at])
		if err != nil {
			cancel()
			wg.Wait()
			return err
		}
		wg.Go(func() {
			defer cl.close()
			for ctx.Err() == nil {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				if err := cl.signInSurely(ctx, componentName(i)); err != nil {
					errs <- err
					cancel()
					return
				}
				if i%100_000 == 0 {
					fmt.Fprintf(os.Stderr, "  %d components\n", i)
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
}

// signInSurely repeats a sign-in whose outcome is not known; a name that is
// taken then was taken by it.
func (f *folkmootClient) signInSurely(ctx context.Context, name string) error {
	for try := 0; ; try++ {
		err := f.signIn(ctx, name, "24h", label)
		var r *refused
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &r):
			return err
		case r.status == http.StatusConflict && try > 0:
			return nil
		case r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout || try == 100:
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
