package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// sample is what one measurement saw.
type sample struct {
	rate          float64 // successful requests, or messages received, per second
	p50, p99      float64 // milliseconds
	errors        int     // requests failed; messages lost, twice or out of order
	note          string
	took          float64 // seconds
	speedup, each float64 // against one worker; of each worker
}

// results holds all samples by what was measured, row (clients, pairs) and
// system.
type results map[string]map[int]map[string][]sample

func (r results) add(what string, row int, system string, s sample) {
	if r[what] == nil {
		r[what] = map[int]map[string][]sample{}
	}
	if r[what][row] == nil {
		r[what][row] = map[string][]sample{}
	}
	r[what][row][system] = append(r[what][row][system], s)
}

func median(samples []sample, of func(sample) float64) float64 {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s))
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// sheet says how the results of one kind are printed.
type sheet struct {
	what    string // the key of the results
	title   string
	row     string // the head of the rows
	columns []column
	by      func(sample) float64 // what is compared with the base; nil: nothing
}

// column is one figure of a system.
type column struct {
	head   string
	format string
	of     func(sample) float64
}

func rate(s sample) float64 { return s.rate }
func p50(s sample) float64  { return s.p50 }

var (
	columnRate = column{"/s", "%.0f", rate}
	inMillis   = []column{columnRate, {"p50 ms", "%.2f", p50}, {"p99 ms", "%.2f", func(s sample) float64 { return s.p99 }}}
	inMicros   = []column{
		columnRate,
		{"p50 us", "%.0f", func(s sample) float64 { return 1000 * s.p50 }},
		{"p99 us", "%.0f", func(s sample) float64 { return 1000 * s.p99 }},
	}
)

// print writes one table for each sheet: each system beside the others and as
// a ratio to the base.
func (r results) print(w io.Writer, o options, m measurement) {
	for _, s := range m.sheets {
		if r[s.what] != nil {
			r.sheet(w, o, m, s)
		}
	}
}

func (r results) sheet(w io.Writer, o options, m measurement, s sheet) {
	fmt.Fprintf(w, "\n%s, median of %d\n", s.title, o.rounds)
	systems := o.of(m)
	if !slices.Contains(systems, m.base) && m.base != "" {
		systems = append(slices.Clone(systems), m.base)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\t", s.row)
	for _, system := range systems {
		for i, c := range s.columns {
			if i == 0 {
				fmt.Fprintf(t, "%s ", system)
			}
			fmt.Fprintf(t, "%s\t", c.head)
		}
		if s.by != nil && system != m.base {
			fmt.Fprintf(t, "x %s\t", m.base)
		}
	}
	fmt.Fprintln(t)
	for _, row := range slices.Sorted(maps.Keys(r[s.what])) {
		by := r[s.what][row]
		fmt.Fprintf(t, "%d\t", row)
		for _, system := range systems {
			for _, c := range s.columns {
				if len(by[system]) == 0 {
					fmt.Fprint(t, "-\t")
					continue
				}
				fmt.Fprintf(t, c.format+"\t", median(by[system], c.of))
			}
			if s.by != nil && system != m.base {
				fmt.Fprintf(t, "%s\t", ratio(median(by[system], s.by), median(by[m.base], s.by)))
			}
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	for row, by := range r[s.what] {
		for system, all := range by {
			for _, x := range all {
				if x.errors > 0 {
					fmt.Fprintf(w, "  %s: %d failed with %d %s\n", system, x.errors, row, s.row)
				}
			}
		}
	}
}

// printFailover writes the times of all kills.
func (r results) printFailover(w io.Writer, o options, m measurement) {
	f := r["failover"]
	if f == nil {
		return
	}
	fmt.Fprintf(w, "\nleader killed to next acknowledged write, ms, %d kills\n", o.kills)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, strings.Join([]string{"system", "median", "min", "max", "x etcd", ""}, "\t"))
	etcd := median(f[0]["etcd"], p50)
	for _, s := range o.of(m) {
		all := f[0][s]
		if len(all) == 0 {
			continue
		}
		lo := slices.MinFunc(all, func(a, b sample) int { return int(a.p50 - b.p50) })
		hi := slices.MaxFunc(all, func(a, b sample) int { return int(a.p50 - b.p50) })
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%s\t\n", s, median(all, p50), lo.p50, hi.p50, ratio(median(all, p50), etcd))
	}
	t.Flush()
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
