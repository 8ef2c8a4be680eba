package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// askWays are how a component at one server asks one at another, by system.
var askWays = map[string]func(ctx context.Context, c *cluster, name string, payload []byte) (asker, error){
	"folkmoot":     askSDK,
	"folkmoot-raw": askRaw,
	"nats":         askNATS,
}

func theRoundtrips() measurement {
	return measurement{
		name: "roundtrip", base: "nats", run: roundtrips,
		systems: []string{"folkmoot", "folkmoot-raw", "nats"},
		help:    "request and answer of 128 bytes between clients of two servers; folkmoot: a method called with the product's Go client, raw: a plain message and one back",
		sheets:  []sheet{{what: "roundtrip", title: "round trips through two servers, 128 bytes each way", row: "pairs", columns: inMicros, by: p50}},
	}
}

// roundtrips measures request and answer of 128 bytes through two servers.
func roundtrips(ctx context.Context, o options, m measurement, dir string, res results) error {
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		for _, pairs := range o.pairs {
			c.run++
			stop := o.profile(c, fmt.Sprintf("roundtrip-%d", pairs))
			s, err := drive(ctx, pairs, o.duration, func(ctx context.Context, i int) (asker, error) {
				ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
				defer cancel()
				return askWays[system](ctx, c, fmt.Sprintf("run%dpair%d", c.run, i), make([]byte, 128))
			})
			stop()
			if err != nil {
				return fmt.Errorf("%d pairs: %w", pairs, err)
			}
			res.add(m.name, pairs, system, s)
			fmt.Fprintf(os.Stderr, "  %3d pairs: %8.0f/s  p50 %6.0f us  p99 %6.0f us  errors %d\n", pairs, s.rate, s.p50*1000, s.p99*1000, s.errors)
		}
		return nil
	})
}
