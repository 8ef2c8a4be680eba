package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// eachRound starts every system afresh in every round and hands it over.
func eachRound(ctx context.Context, o options, m measurement, dir string, do func(c *cluster, system string) error) error {
	for round := range o.rounds {
		for _, system := range o.of(m) {
			fmt.Fprintf(os.Stderr, "%s, round %d of %d: %s\n", m.name, round+1, o.rounds, system)
			c, err := start(ctx, o, system, filepath.Join(dir, fmt.Sprintf("%s-%s-%d", m.name, system, round)))
			if err != nil {
				return fmt.Errorf("%s: %w", system, err)
			}
			err = do(c, system)
			c.stop()
			if err != nil {
				return fmt.Errorf("%s: %w", system, err)
			}
		}
	}
	return nil
}
