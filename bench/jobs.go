package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	sdk "github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// Workers of the empty parts.
const (
	jobWorkers = 4
	jobSlots   = 8
)

func theJobs() measurement {
	return measurement{
		name: "jobs", base: "sh-alone", run: jobs,
		systems: []string{"folkmoot", "folkmoot-none"},
		help:    "empty parts from submit to the last result, 4 workers of 8 slots; folkmoot: each part is an sh that runs `:` (sh-alone: as many as the machine runs in a loop), none: workers that run nothing",
		sheets:  []sheet{{what: "jobs", title: "empty parts, submit to last result, 3 coordinators, 4 workers of 8 slots", row: "parts", columns: []column{columnRate}, by: rate}},
	}
}

// jobs measures empty parts from submit to the last result: folkmoot has real
// workers, each part a sh that does nothing; folkmoot-none has workers that
// say at once that a part is done, which shows what the coordinators can do.
func jobs(ctx context.Context, o options, m measurement, dir string, res results) error {
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		crew, err := hire(ctx, o, c, dir, jobWorkers, jobSlots)
		defer crew.dismiss()
		if err != nil {
			return err
		}
		if _, err := runJob(ctx, c, ":", min(o.parts, 100)); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
		stop := o.profile(c, "jobs")
		took, err := runJob(ctx, c, ":", o.parts)
		stop()
		if err != nil {
			return err
		}
		s := sample{rate: float64(o.parts) / took.Seconds()}
		res.add(m.name, o.parts, system, s)
		fmt.Fprintf(os.Stderr, "  %d parts: %.0f/s\n", o.parts, s.rate)
		if system != "folkmoot" {
			return nil
		}
		bare, err := bareShells(ctx, o.duration)
		if err != nil {
			return err
		}
		res.add(m.name, o.parts, m.base, sample{rate: bare})
		fmt.Fprintf(os.Stderr, "  sh alone: %.0f/s\n", bare)
		return nil
	})
}

// runJob hands a job of n parts in at the first coordinator and reads the
// results at the second.
func runJob(ctx context.Context, c *cluster, script string, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	at := make([]*sdk.Client, 2)
	for i := range at {
		var err error
		if at[i], err = sdk.New(sdk.Config{Addrs: []string{c.servers[i].addr}}); err != nil {
			return 0, err
		}
		defer at[i].Close()
	}
	begin := time.Now()
	job, _, err := at[0].Submit(ctx, wire.SubmitJob{Name: "bench", Runtime: "sh", Script: script, Range: &wire.Range{To: int64(n)}})
	if err != nil {
		return 0, err
	}
	got := 0
	for r, err := range at[1].Results(ctx, job.ID, true) {
		if err != nil {
			return 0, fmt.Errorf("after %d of %d results: %w", got, n, err)
		}
		if r.State != "done" {
			return 0, fmt.Errorf("part %d is %s: %s", r.Part, r.State, r.Error)
		}
		got++
	}
	if got != n {
		return 0, fmt.Errorf("%d of %d results", got, n)
	}
	return time.Since(begin), nil
}

// bareShells is how many sh that do nothing this machine runs in a second.
func bareShells(ctx context.Context, duration time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	counts := make([]int, runtime.NumCPU())
	errs := make([]error, len(counts))
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range counts {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = exec.Command("sh", "-c", ":").Run()
				counts[i]++
			}
		})
	}
	wg.Wait()
	n := 0
	for _, c := range counts {
		n += c
	}
	return float64(n) / time.Since(begin).Seconds(), errors.Join(errs...)
}
