package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// options are the flags.
type options struct {
	only         []string
	systems      []string // empty: those of the measurement
	clients      []int
	pairs        []int
	duration     time.Duration
	rounds       int
	kills        int
	soak         time.Duration
	window       time.Duration
	messages     int
	tokens       int
	lecoMessages int
	sessions     int
	parts        int
	components   int
	spread       bool
	coordinator  string // path of the binary
	worker       string // the same
	profiles     string // folder
	keep         bool

	leco bool // coordinators have a LECO door; the measurement sets it
}

// wants tells whether a measurement is asked for.
func (o options) wants(name string) bool { return slices.Contains(o.only, name) }

// of are the systems that a measurement runs.
func (o options) of(m measurement) []string {
	switch {
	case len(o.systems) > 0:
		return slices.DeleteFunc(slices.Clone(o.systems), func(s string) bool { return !slices.Contains(m.systems, s) })
	case m.usual != nil:
		return m.usual
	}
	return m.systems
}

// readFlags reads the command line; it ends the program where that is wrong or
// asks for help.
func readFlags() options {
	var o options
	f := flag.CommandLine
	only := f.String("only", "write,strict,stale,failover", "what to measure, of the list above")
	systems := f.String("systems", "", "run only these (default: all of the measurement; idle and million: folkmoot)")
	clients := f.String("clients", "1,16,64,256", "write, native, strict, stale: numbers of clients, each with one request under way")
	pairs := f.String("pairs", "1,4", "messages, roundtrip: numbers of senders, each with a receiver of its own")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "of each measurement that counts requests, after a second of warming up")
	f.IntVar(&o.rounds, "rounds", 3, "of which the median is shown (failover, soak, idle and million: one)")
	f.IntVar(&o.kills, "kills", 7, "failover: leaders killed")
	f.DurationVar(&o.soak, "soak", 10*time.Minute, "soak: how long 256 writers write")
	f.IntVar(&o.messages, "messages", 2_000_000, "messages: how many of 128 bytes, over all pairs; half as many of 1 KiB, a twentieth of 16 KiB")
	f.IntVar(&o.tokens, "tokens", 10_000, "security: how many tokens the state has")
	f.IntVar(&o.sessions, "sessions", 10_000, "idle: how many sessions")
	f.DurationVar(&o.window, "window", time.Minute, "idle: how long they are watched, and the same before")
	f.IntVar(&o.parts, "parts", 10_000, "jobs: how many parts")
	f.IntVar(&o.components, "components", 1_000_000, "million: how many components")
	f.IntVar(&o.lecoMessages, "leco-messages", 100_000, "leco: how many messages")
	f.BoolVar(&o.spread, "spread", false, "write, native, strict, stale: spread the clients over all three servers instead of asking the leader")
	f.StringVar(&o.coordinator, "coordinator", "", "coordinator binary (default: built from the checkout)")
	f.StringVar(&o.worker, "worker", "", "worker binary (default: built from the checkout)")
	f.StringVar(&o.profiles, "profiles", "", "folder for a processor profile of every coordinator in every load; it costs some speed")
	f.BoolVar(&o.keep, "keep", false, "keep the data directories")
	f.Usage = func() { usage(f.Output()) }
	flag.Parse()
	o.only = strings.Split(*only, ",")
	if *systems != "" {
		o.systems = strings.Split(*systems, ",")
	}
	var err error
	if o.clients, err = numbers(*clients); err != nil {
		fail("-clients", err)
	}
	if o.pairs, err = numbers(*pairs); err != nil {
		fail("-pairs", err)
	}
	if err := o.check(flag.Args()); err != nil {
		fail("flags", err)
	}
	return o
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "bench: %s: %v; -help says what there is\n", what, err)
	os.Exit(2)
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Measures a cluster of coordinators beside its peers, on this machine alone. Run it in the bench folder.\n\nMeasurements (-only, a list):")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range measurements() {
		fmt.Fprintf(t, "  %s\t%s\n\t  systems: %s\n", m.name, m.help, strings.Join(m.systems, ", "))
	}
	t.Flush()
	fmt.Fprintln(w, "\nSystems: folkmoot keeps its log in raft-boltdb, folkmoot-wal in raft-wal.\n\nFlags:")
	flag.CommandLine.PrintDefaults()
}

// check refuses what no measurement could run with.
func (o options) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q is no flag", rest[0])
	}
	list := measurements()
	for _, name := range o.only {
		i := slices.IndexFunc(list, func(m measurement) bool { return m.name == name })
		if i < 0 {
			return fmt.Errorf("-only %q is no measurement", name)
		}
		if len(o.of(list[i])) == 0 {
			return fmt.Errorf("-only %s has none of -systems %s, but %s", name, strings.Join(o.systems, ","), strings.Join(list[i].systems, ","))
		}
	}
	for _, name := range o.systems {
		if !slices.ContainsFunc(list, func(m measurement) bool { return slices.Contains(m.systems, name) }) {
			return fmt.Errorf("-systems %q is no system", name)
		}
	}
	for _, n := range []struct {
		flag       string
		n, largest int
	}{
		{"-rounds", o.rounds, 100},
		{"-kills", o.kills, 100},
		{"-messages", o.messages, 100_000_000},
		{"-tokens", o.tokens, 10_000},
		{"-sessions", o.sessions, 19_000},
		{"-window", int(o.window / time.Second), 600},
		{"-parts", o.parts, 100_000},
		{"-components", o.components, 5_000_000},
		{"-leco-messages", o.lecoMessages, 10_000_000},
		{"-duration", int(o.duration / time.Second), 600},
		{"-soak", int(o.soak / time.Second), 6 * 3600},
	} {
		if n.n < 1 || n.n > n.largest {
			return fmt.Errorf("%s is from 1 to %d, in seconds where it is a time", n.flag, n.largest)
		}
	}
	return nil
}

func numbers(list string) ([]int, error) {
	var out []int
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4096 {
			return nil, fmt.Errorf("%q: numbers from 1 to 4096", s)
		}
		out = append(out, n)
	}
	return out, nil
}
