package main

import (
	"context"
	"fmt"
	"sync"
)

// soakComponents is how many components are signed in while the others come and go,
// so that the snapshots that are taken meanwhile have something to write.
const soakComponents = 200_000

// soak lets 256 writers write for long and counts elections, which nothing
// but load could have caused.
func soak(ctx context.Context, o options, m measurement, dir string, _ results) error {
	o.rounds = 1
	return eachRound(ctx, o, m, dir, func(c *cluster, _ string) error { return soakOne(ctx, o, c) })
}

func soakOne(ctx context.Context, o options, c *cluster) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	if err := signInMany(ctx, c.servers[leader], soakComponents); err != nil {
		return fmt.Errorf("sign %d components in: %w", soakComponents, err)
	}
	before, err := farthest(ctx, c)
	if err != nil {
		return err
	}
	s, err := drive(ctx, 256, o.soak, func(ctx context.Context, i int) (asker, error) {
		cl, err := dialFolkmoot(ctx, c.servers[leader])
		if err != nil {
			return asker{}, err
		}
		var secret string
		return asker{close: cl.close, ask: func(ctx context.Context, k int) (err error) {
			name := fmt.Sprintf("soak%dk%d", i, k/2)
			if k%2 == 0 {
				secret, err = cl.enter(ctx, name, "1h", value())
				return err
			}
			return cl.leave(ctx, name, secret)
		}}, nil
	})
	if err != nil {
		return err
	}
	after, err := farthest(ctx, c)
	if err != nil {
		return err
	}
	fmt.Printf("%s: 256 writers, sign-ins and sign-outs in turn beside %d components, for %s: %.0f/s, p50 %.2f ms, p99 %.2f ms, errors %d, "+
		"terms %d to %d (elections: %d), last snapshot at %d, before at %d\n",
		c.system, soakComponents, o.soak, s.rate, s.p50, s.p99, s.errors, before.Term, after.Term, after.Term-before.Term, after.LastSnapshot, before.LastSnapshot)
	return nil
}

// signInMany signs n components in.
func signInMany(ctx context.Context, s *server, n int) error {
	const writers = 128
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			cl, err := dialFolkmoot(ctx, s)
			if err != nil {
				errs[w] = err
				return
			}
			defer cl.close()
			for k := w; k < n && errs[w] == nil; k += writers {
				errs[w] = cl.signIn(ctx, fmt.Sprintf("soak%d", k), "24h", value())
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

// farthest is the highest term and the newest snapshot that any server knows.
func farthest(ctx context.Context, c *cluster) (st folkmootState, err error) {
	for _, s := range c.servers {
		one, err := folkmootStatus(ctx, s.addr)
		if err != nil {
			return st, err
		}
		st.Term = max(st.Term, one.Term)
		st.LastSnapshot = max(st.LastSnapshot, one.LastSnapshot)
		st.Leader = one.Leader
	}
	return st, nil
}
