package main

import (
	"context"
	"fmt"
	"os"
)

// measurement is one of those that -only names.
type measurement struct {
	name    string
	help    string
	systems []string // all that it knows
	usual   []string // those it runs unless told otherwise; nil: all
	base    string   // what the others are compared with
	sheets  []sheet
	run     func(ctx context.Context, o options, m measurement, dir string, res results) error
}

var (
	writers = []string{"folkmoot", "folkmoot-wal", "etcd"}
	ours    = []string{"folkmoot", "folkmoot-wal"}
)

func measurements() []measurement {
	return []measurement{
		asked("write", "writes by REST (sign-ins with a label of 256 bytes) beside etcd's puts of 256 bytes",
			"replicated writes (REST sign-ins of 256 bytes; etcd: puts of 256 bytes)"),
		asked("native", "writes by native sessions, one connection a client; each signs in (a label of 256 bytes) and out in turn and both count, since both are replicated",
			"replicated writes by native sessions (sign-ins of 256 bytes and sign-outs in turn, both counted; etcd: puts of 256 bytes)"),
		asked("strict", "linearizable reads of one row", "strict reads"),
		asked("stale", "reads of one row from the server that is asked", "stale reads"),
		{name: "failover", help: "leader killed to the next acknowledged write", systems: writers, base: "etcd", run: failover},
		{name: "soak", help: "256 writers for long; counts elections", systems: ours, run: soak},
		theSecurity(),
		theMessages(),
		theRoundtrips(),
		theLeco(),
		{name: "idle", help: "processor, memory and log of a coordinator with many idle native sessions", systems: ours, usual: ours[:1], run: idle},
		theJobs(),
		theSpeedup(),
		{name: "million", help: "many components: memory and restart", systems: ours, usual: ours[:1], run: million},
	}
}

// asked is a load of requests by numbers of clients.
func asked(name, help, title string) measurement {
	return measurement{
		name: name, help: help, systems: writers, base: "etcd", run: nil,
		sheets: []sheet{{what: name, title: title, row: "clients", columns: inMillis, by: rate}},
	}
}

// loads runs all wanted loads of requests on one cluster of each system.
func loads(ctx context.Context, o options, list []measurement, dir string, res results) error {
	m := measurement{name: "requests", systems: writers}
	return eachRound(ctx, o, m, dir, func(c *cluster, system string) error {
		for _, m := range list {
			for _, n := range o.clients {
				stop := o.profile(c, fmt.Sprintf("%s-%d", m.name, n))
				s, err := load(ctx, c, m.name, n, o.duration, o.spread)
				stop()
				if err != nil {
					return fmt.Errorf("%s with %d clients: %w", m.name, n, err)
				}
				res.add(m.name, n, system, s)
				fmt.Fprintf(os.Stderr, "  %-7s %4d clients: %8.0f/s  p50 %6.2f ms  p99 %6.2f ms  errors %d\n", m.name, n, s.rate, s.p50, s.p99, s.errors)
			}
		}
		return nil
	})
}
