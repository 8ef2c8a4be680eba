package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// sample is what one measurement saw.
type sample struct {
	rate     float64 // successful requests per second
	p50, p99 float64 // milliseconds
	errors   int
}

// results holds all samples by what was measured, clients and system.
type results map[string]map[int]map[string][]sample

func (r results) add(what string, clients int, system string, s sample) {
	if r[what] == nil {
		r[what] = map[int]map[string][]sample{}
	}
	if r[what][clients] == nil {
		r[what][clients] = map[string][]sample{}
	}
	r[what][clients][system] = append(r[what][clients][system], s)
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

var titles = map[string]string{
	"write":    "replicated writes/s (REST sign-ins of 256 bytes; etcd: puts of 256 bytes)",
	"strict":   "strict reads/s",
	"stale":    "stale reads/s",
	"failover": "leader killed to next acknowledged write, ms",
}

// print writes one table a measurement, each system as a ratio to etcd.
func (r results) print(w io.Writer, o options) {
	for _, what := range []string{"write", "strict", "stale"} {
		if r[what] == nil {
			continue
		}
		fmt.Fprintf(w, "\n%s, median of %d\n", titles[what], o.rounds)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "clients\t")
		for _, s := range o.systems {
			fmt.Fprintf(t, "%s\tp50 ms\tp99 ms\t", s)
			if s != "etcd" {
				fmt.Fprintf(t, "x etcd\t")
			}
		}
		fmt.Fprintln(t)
		for _, n := range o.clients {
			fmt.Fprintf(t, "%d\t", n)
			etcd := median(r[what][n]["etcd"], func(s sample) float64 { return s.rate })
			for _, s := range o.systems {
				all := r[what][n][s]
				rate := median(all, func(s sample) float64 { return s.rate })
				fmt.Fprintf(t, "%.0f\t%.2f\t%.2f\t", rate, median(all, func(s sample) float64 { return s.p50 }), median(all, func(s sample) float64 { return s.p99 }))
				if s != "etcd" {
					fmt.Fprintf(t, "%s\t", ratio(rate, etcd))
				}
			}
			fmt.Fprintln(t)
		}
		t.Flush()
		for n, by := range r[what] {
			for s, all := range by {
				for _, x := range all {
					if x.errors > 0 {
						fmt.Fprintf(w, "  %s: %d requests failed with %d clients\n", s, x.errors, n)
					}
				}
			}
		}
	}
	if f := r["failover"]; f != nil {
		fmt.Fprintf(w, "\n%s, %d kills\n", titles["failover"], o.kills)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, strings.Join([]string{"system", "median", "min", "max", "x etcd", ""}, "\t"))
		ms := func(s sample) float64 { return s.p50 }
		etcd := median(f[0]["etcd"], ms)
		for _, s := range o.systems {
			all := f[0][s]
			if len(all) == 0 {
				continue
			}
			lo := slices.MinFunc(all, func(a, b sample) int { return int(a.p50 - b.p50) })
			hi := slices.MaxFunc(all, func(a, b sample) int { return int(a.p50 - b.p50) })
			fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%s\t\n", s, median(all, ms), lo.p50, hi.p50, ratio(median(all, ms), etcd))
		}
		t.Flush()
	}
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
