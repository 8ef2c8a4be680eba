package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// failover kills the leader again and again, and each time waits for the next
// acknowledged write at the servers that are left.
func failover(ctx context.Context, o options, m measurement, dir string, res results) error {
	o.rounds = 1
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error { return killLeaders(ctx, o, c, res) })
}

func killLeaders(ctx context.Context, o options, c *cluster, res results) error {
	for kill := range o.kills {
		took, err := killLeader(ctx, c, kill)
		if err != nil {
			return fmt.Errorf("kill %d: %w", kill+1, err)
		}
		res.add("failover", 0, c.system, sample{p50: float64(took.Microseconds()) / 1000})
		fmt.Fprintf(os.Stderr, "  kill %d: %d ms\n", kill+1, took.Milliseconds())
	}
	return nil
}

func killLeader(ctx context.Context, c *cluster, kill int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	leader, err := c.leader(ctx)
	if err != nil {
		return 0, err
	}
	// One client at each other server, connected beforehand as a client would
	// be, each writing until one is acknowledged.
	first := make(chan time.Time, len(c.servers))
	var wg sync.WaitGroup
	ask, stop := context.WithCancel(ctx)
	defer stop()
	begun := make(chan struct{})
	for i := range c.servers {
		if i == leader {
			continue
		}
		cl, err := c.client(ask, i)
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			defer func() { cl.close() }()
			<-begun
			for n := 0; ask.Err() == nil; n++ {
				try, cancel := context.WithTimeout(ask, 100*time.Millisecond)
				err := cl.write(try, fmt.Sprintf("kill%d-%d-%d", kill, i, n), value())
				cancel()
				if err == nil {
					first <- time.Now()
					return
				}
				if c.system != "etcd" { // a request that timed out spoils a plain connection
					cl.close()
					if again, err := c.client(ask, i); err == nil {
						cl = again
					}
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	t0 := time.Now()
	c.servers[leader].kill()
	close(begun)
	var took time.Duration
	select {
	case t1 := <-first:
		took = t1.Sub(t0)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	stop()
	wg.Wait()
	if err := c.servers[leader].start(); err != nil {
		return 0, err
	}
	c.run++
	if err := c.warmUp(ctx); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second) // let the one that came back catch up
	return took, nil
}
