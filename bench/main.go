// Command bench measures a cluster of three coordinators beside three etcd
// servers, in one run on one machine, and prints the ratios. Every server is a
// process of its own, on loopback, with real disks; the load comes from this
// process. Each round starts every system afresh, so that drift of the machine
// hits all of them alike.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// options are the flags.
type options struct {
	only     []string
	systems  []string
	clients  []int
	duration time.Duration
	rounds   int
	kills    int
	soak     time.Duration
	spread   bool
	binary   string
	keep     bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "etcd-server" {
		etcdmain.Main(os.Args[1:])
		return
	}
	var o options
	only := flag.String("only", "write,strict,stale,failover", "what to measure: write, strict, stale, failover, soak")
	systems := flag.String("systems", "folkmoot,folkmoot-wal,etcd", "folkmoot (raft-boltdb), folkmoot-wal, etcd")
	clients := flag.String("clients", "1,16,64,256", "numbers of clients, each with one request under way")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "of each measurement, after a second of warming up")
	flag.IntVar(&o.rounds, "rounds", 3, "of which the median is shown")
	flag.IntVar(&o.kills, "kills", 7, "leaders killed for the fail-over time")
	flag.DurationVar(&o.soak, "soak", 10*time.Minute, "how long 256 writers write for -only soak")
	flag.BoolVar(&o.spread, "spread", false, "spread the clients over all three servers instead of asking the leader")
	flag.StringVar(&o.binary, "coordinator", "", "coordinator binary (default: built from the checkout)")
	flag.BoolVar(&o.keep, "keep", false, "keep the data directories")
	flag.Parse()
	o.only, o.systems = strings.Split(*only, ","), strings.Split(*systems, ",")
	for _, s := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4096 {
			fmt.Fprintf(os.Stderr, "bench: -clients %q: numbers from 1 to 4096\n", s)
			os.Exit(2)
		}
		o.clients = append(o.clients, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "folkmoot-bench-")
	if err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(dir)
	}
	if o.binary == "" {
		o.binary = filepath.Join(dir, "coordinator")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "./cmd/coordinator")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the coordinator (run this in the bench folder): %w\n%s", err, out)
		}
	}
	if slices.Contains(o.only, "soak") {
		return soak(ctx, o, dir)
	}
	res := results{}
	for round := range o.rounds {
		for _, system := range o.systems {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, system)
			if err := measure(ctx, o, system, filepath.Join(dir, fmt.Sprintf("%s-%d", system, round)), res); err != nil {
				return fmt.Errorf("%s: %w", system, err)
			}
		}
	}
	if slices.Contains(o.only, "failover") {
		for _, system := range o.systems {
			fmt.Fprintf(os.Stderr, "fail-over: %s\n", system)
			if err := failover(ctx, o, system, filepath.Join(dir, system+"-failover"), res); err != nil {
				return fmt.Errorf("%s: %w", system, err)
			}
		}
	}
	res.print(os.Stdout, o)
	return nil
}

// measure starts one system, runs every load on it and ends it.
func measure(ctx context.Context, o options, system, dir string, res results) error {
	c, err := start(ctx, o, system, dir)
	if err != nil {
		return err
	}
	defer c.stop()
	for _, what := range []string{"write", "strict", "stale"} {
		if !slices.Contains(o.only, what) {
			continue
		}
		for _, n := range o.clients {
			s, err := load(ctx, c, what, n, o.duration, o.spread)
			if err != nil {
				return fmt.Errorf("%s with %d clients: %w", what, n, err)
			}
			res.add(what, n, system, s)
			fmt.Fprintf(os.Stderr, "  %-7s %4d clients: %8.0f/s  p50 %6.2f ms  p99 %6.2f ms  errors %d\n", what, n, s.rate, s.p50, s.p99, s.errors)
		}
	}
	return nil
}
