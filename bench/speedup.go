package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

func theSpeedup() measurement {
	return measurement{
		name: "speedup", systems: []string{"folkmoot"}, run: speedup,
		help: "a job of 60 parts that wait 0.25 s, with 1 to 5 workers of one slot",
		sheets: []sheet{{what: "speedup", title: "60 parts that wait 0.25 s (sh)", row: "workers", columns: []column{
			{"s", "%.2f", func(s sample) float64 { return s.took }},
			{"speed-up", "%.2f", func(s sample) float64 { return s.speedup }},
			{"of each worker", "%.2f", func(s sample) float64 { return s.each }},
		}}},
	}
}

// speedup measures how much sooner a job of waiting parts ends with more
// workers.
func speedup(ctx context.Context, o options, m measurement, dir string, res results) error {
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		var alone time.Duration
		for n := 1; n <= 5; n++ {
			took, err := waitingJob(ctx, o, c, dir, n)
			if err != nil {
				return fmt.Errorf("%d workers: %w", n, err)
			}
			if n == 1 {
				alone = took
			}
			s := sample{took: took.Seconds(), speedup: alone.Seconds() / took.Seconds()}
			s.each = s.speedup / float64(n)
			res.add(m.name, n, system, s)
			fmt.Fprintf(os.Stderr, "  %d workers: %.2f s, %.2f times as fast as one\n", n, s.took, s.speedup)
		}
		return nil
	})
}

// waitingJob is the time that n workers take for the job, after a part for each
// to warm up.
func waitingJob(ctx context.Context, o options, c *cluster, dir string, n int) (time.Duration, error) {
	crew, err := hire(ctx, o, c, dir, n, 1)
	defer crew.dismiss()
	if err != nil {
		return 0, err
	}
	if _, err := runJob(ctx, c, ":", n); err != nil {
		return 0, err
	}
	return runJob(ctx, c, "sleep 0.25", 60)
}
