package main

import (
	"context"
	"fmt"
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

var value = string(slices.Repeat([]byte("v"), 256))

// load runs n clients, each with one request under way, and returns what the
// requests that began and ended within the duration saw.
func load(ctx context.Context, c *cluster, what string, n int, duration time.Duration, spread bool) (sample, error) {
	if what != "write" && !c.filled {
		if err := fill(ctx, c); err != nil {
			return sample{}, fmt.Errorf("fill: %w", err)
		}
		c.filled = true
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, duration+30*time.Second)
	defer cancel()
	type seen struct {
		took   []time.Duration
		errors int
		last   error
	}
	all := make([]seen, n)
	begin := time.Now().Add(time.Second) // after warming up
	end := begin.Add(duration)
	c.run++
	var wg sync.WaitGroup
	for i := range n {
		at := leader
		if spread {
			at = i % len(c.servers)
		}
		cl, err := c.client(ctx, at)
		if err != nil {
			return sample{}, err
		}
		run := c.run
		wg.Go(func() {
			defer cl.close()
			s := &all[i]
			for k := 0; ; k++ {
				t0 := time.Now()
				if t0.After(end) {
					return
				}
				var err error
				if what == "write" {
					err = cl.write(ctx, fmt.Sprintf("r%dc%dk%d", run, i, k), value)
				} else {
					err = cl.read(ctx, fmt.Sprintf("fill%d", (i*7919+k)%keys), what == "strict")
				}
				t1 := time.Now()
				if err != nil {
					s.errors++
					s.last = err
					if s.errors > 100 {
						return
					}
					continue
				}
				if t0.After(begin) && t1.Before(end) {
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

// fill writes the rows that the reads ask for.
func fill(ctx context.Context, c *cluster) error {
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
				errs[w] = cl.write(ctx, fmt.Sprintf("fill%d", k), value)
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
