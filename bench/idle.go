package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// idlePing is the time between two signs of life of an idle session.
const idlePing = 10 * time.Second

// idle measures what many sessions cost that only say that they live, all at
// the leader.
func idle(ctx context.Context, o options, m measurement, dir string, _ results) error {
	o.rounds = 1
	return eachRound(ctx, o, m, dir, func(c *cluster, _ string) error { return idleAt(ctx, o, c) })
}

func idleAt(ctx context.Context, o options, c *cluster) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	s := c.servers[leader]
	before, err := watchStill(ctx, s, o.window)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := time.Now()
	all, err := signAllIn(ctx, s, o.sessions)
	defer func() {
		for _, one := range all {
			one.close()
		}
	}()
	defer cancel()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	var lost atomic.Int64
	for _, one := range all {
		wg.Go(func() {
			for {
				if _, err := one.next(); err != nil {
					if ctx.Err() == nil {
						lost.Add(1)
					}
					return
				}
			}
		})
	}
	wg.Go(func() { pingInTurn(ctx, all) })
	// One round of pings first, so that nothing of the sign-ins is left.
	select {
	case <-time.After(idlePing):
	case <-ctx.Done():
		return ctx.Err()
	}
	stop := o.profile(c, "idle")
	during, err := watchStill(ctx, s, o.window)
	stop()
	if err != nil {
		return err
	}
	st, err := folkmootStatus(ctx, s.addr)
	if err != nil {
		return err
	}
	if lost.Load() > 0 || st.LocalSessions < o.sessions {
		return fmt.Errorf("%d of %d sessions were lost, the coordinator counts %d", lost.Load(), o.sessions, st.LocalSessions)
	}
	rss, err := memory(s.cmd.Process.Pid, "VmRSS")
	if err != nil {
		return err
	}
	fmt.Printf("\n%s: %d native sessions at the leader, a ping each %s, for %s (signed in within %.1f s)\n", c.system, o.sessions, idlePing, o.window, took.Seconds())
	fmt.Printf("  processor: %.2f %% of a core (%.2f %% before the sessions)\n", 100*during.core, 100*before.core)
	fmt.Printf("  entries in the log: %d (%d before the sessions, in the same time)\n", during.entries, before.entries)
	fmt.Printf("  memory: %.0f MiB resident\n", rss/(1<<20))
	return nil
}

// still is what one coordinator used and wrote while nothing but heartbeats
// happened.
type still struct {
	core    float64 // of one
	entries uint64
}

// watchStill looks at a coordinator for a while.
func watchStill(ctx context.Context, s *server, window time.Duration) (still, error) {
	st0, err := folkmootStatus(ctx, s.addr)
	if err != nil {
		return still{}, err
	}
	cpu0, err := cpu(s.cmd.Process.Pid)
	if err != nil {
		return still{}, err
	}
	t0 := time.Now()
	select {
	case <-time.After(window):
	case <-ctx.Done():
		return still{}, ctx.Err()
	}
	cpu1, err := cpu(s.cmd.Process.Pid)
	if err != nil {
		return still{}, err
	}
	took := time.Since(t0)
	st1, err := folkmootStatus(ctx, s.addr)
	return still{core: float64(cpu1-cpu0) / float64(took), entries: st1.LastIndex - st0.LastIndex}, err
}

// signAllIn opens n sessions, some at a time: a coordinator takes 64
// connections that have said nothing yet.
func signAllIn(ctx context.Context, s *server, n int) ([]*session, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	const atOnce = 32
	all := make([][]*session, atOnce)
	errs := make([]error, atOnce)
	var wg sync.WaitGroup
	for w := range atOnce {
		wg.Go(func() {
			pinged := time.Now()
			for i := w; i < n && errs[w] == nil; i += atOnce {
				if time.Since(pinged) > idlePing {
					pinged = time.Now()
					for _, one := range all[w] {
						_ = one.ping()
					}
				}
				one, err := openSession(ctx, s.native, hello{name: fmt.Sprintf("idle%d", i), ping: idlePing, lease: 3 * idlePing, buffer: 4 << 10})
				if errs[w] = err; err == nil {
					all[w] = append(all[w], one)
				}
			}
		})
	}
	wg.Wait()
	var list []*session
	for _, part := range all {
		list = append(list, part...)
	}
	return list, errors.Join(errs...)
}

// pingInTurn has every session say that it lives once in idlePing, evenly
// spread.
func pingInTurn(ctx context.Context, all []*session) {
	const step = 20 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	begin := time.Now()
	for sent := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		due := int(float64(len(all)) * float64(time.Since(begin)) / float64(idlePing))
		for ; sent < due; sent++ {
			_ = all[sent%len(all)].ping()
		}
	}
}
