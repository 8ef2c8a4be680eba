package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// client does one request at a time; it is used by one goroutine.
type client interface {
	write(ctx context.Context, key, value string) error
	read(ctx context.Context, key string, strict bool) error
	close()
}

// keys is how many rows the reads are spread over.
const keys = 1000

const valueSize = 256

// noise is text that nobody can press together; value is a piece of it.
var noise = func() string {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[rand.IntN(64)]
	}
	return string(b)
}()

// value is what one write carries: another text each time.
func value() string {
	at := rand.IntN(len(noise) - valueSize)
	return noise[at : at+valueSize]
}

// load runs n clients of the leader, or of all servers.
func load(ctx context.Context, c *cluster, what string, n int, duration time.Duration, spread bool) (sample, error) {
	if what == "strict" || what == "stale" {
		if err := fill(ctx, c); err != nil {
			return sample{}, fmt.Errorf("fill: %w", err)
		}
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return sample{}, err
	}
	dial := c.dial
	if what == "native" {
		dial = c.dialNative
	}
	c.run++
	return drive(ctx, n, duration, func(ctx context.Context, i int) (asker, error) {
		at := leader
		if spread {
			at = i % len(c.servers)
		}
		cl, err := dial(ctx, c.servers[at])
		if err != nil {
			return asker{}, err
		}
		return asker{close: cl.close, ask: func(ctx context.Context, k int) error {
			if what == "write" || what == "native" {
				return cl.write(ctx, fmt.Sprintf("r%dc%dk%d", c.run, i, k), value())
			}
			return cl.read(ctx, fmt.Sprintf("fill%d", (i*7919+k)%keys), what == "strict")
		}}, nil
	})
}

// asker makes one request after the other; k counts them.
type asker struct {
	ask   func(ctx context.Context, k int) error
	close func()
}

// drive runs n askers, each with one request under way, and returns what the
// requests that began and ended within the duration saw, after a second of
// warming up.
func drive(ctx context.Context, n int, duration time.Duration, open func(ctx context.Context, i int) (asker, error)) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, duration+60*time.Second)
	defer cancel()
	askers := make([]asker, n)
	defer func() {
		for _, a := range askers {
			if a.close != nil {
				a.close()
			}
		}
	}()
	for i := range askers {
		var err error
		if askers[i], err = open(ctx, i); err != nil {
			return sample{}, err
		}
	}
	type seen struct {
		took   []time.Duration
		errors int
		last   error
	}
	all := make([]seen, n)
	begin := time.Now().Add(time.Second) // after warming up
	end := begin.Add(duration)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s := &all[i]
			for k := 0; s.errors <= 100; k++ {
				t0 := time.Now()
				if t0.After(end) || ctx.Err() != nil {
					return
				}
				err := askers[i].ask(ctx, k)
				t1 := time.Now()
				if err != nil {
					s.errors++
					s.last = err
				} else if t0.After(begin) && t1.Before(end) {
					s.took = append(s.took, t1.Sub(t0))
				}
			}
		})
	}
	wg.Wait()
	var took []time.Duration
	var out sample
	var last error
	for _, s := range all {
		took = append(took, s.took...)
		out.errors += s.errors
		if s.last != nil {
			last = s.last
		}
	}
	if len(took) == 0 {
		return out, fmt.Errorf("no request succeeded: %w", last)
	}
	slices.Sort(took)
	ms := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
	}
	out.rate = float64(len(took)) / duration.Seconds()
	out.p50, out.p99 = ms(0.50), ms(0.99)
	return out, nil
}

// fill writes the rows that the reads ask for, once.
func fill(ctx context.Context, c *cluster) error {
	if c.filled {
		return nil
	}
	c.filled = true
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	const writers = 16
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			cl, err := c.client(ctx, leader)
			if err != nil {
				errs[w] = err
				return
			}
			defer cl.close()
			for k := w; k < keys && errs[w] == nil; k += writers {
				errs[w] = cl.write(ctx, fmt.Sprintf("fill%d", k), value())
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
