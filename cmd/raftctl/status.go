package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) statusCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	cmd := &cobra.Command{
		Use: "status", Short: "How the coordinator that answers is doing", Args: cobra.NoArgs,
		Example: "  raftctl status\n  raftctl status --addr n2:7380 -o json\n  raftctl status --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, time.Second, func(ctx context.Context, _ client.Read) (answer, client.Meta, error) {
				s, meta, err := a.client.Status(ctx)
				return answer{
					body: meta.Body, table: func(wide bool) *table { return a.statusTable(s, wide) },
					names: []string{"member/" + s.ID},
				}, meta, err
			})
		},
	}
	cmd.Flags().BoolVarP(&r.watch, "watch", "w", false, "show it again every second while it changes")
	return cmd
}

func (a *app) statusTable(s wire.Status, wide bool) *table {
	t := a.table("coordinator", s.ID)
	t.w.ResetHeaders()
	t.row("coordinator", fmt.Sprintf("%s (%s)", s.ID, s.ServerID))
	t.row("namespace", s.Namespace)
	t.row("cluster", s.ClusterID)
	t.row("state", stateColor(s.State))
	t.row("leader", s.Leader)
	t.row("term", s.Term)
	ready := yesNo(s.Ready)
	if s.ReadyReason != "" {
		ready += ": " + s.ReadyReason
	}
	t.row("ready", ready)
	if s.Warning != "" {
		t.row("warning", s.Warning)
	}
	t.row("index", fmt.Sprintf("%d applied, %d committed, %d last", s.AppliedIndex, s.CommitIndex, s.LastIndex))
	tolerance := fmt.Sprintf("%d may fail", s.Tolerance)
	if s.Tolerance < 0 {
		tolerance = "how many may fail is not known"
	}
	t.row("members", fmt.Sprintf("%d, %d of them voters, %s", s.Members, s.Voters, tolerance))
	t.row("components", fmt.Sprintf("%d, %d of them here", s.Components, s.LocalSessions))
	t.row("workers", s.Workers)
	t.row("jobs", counts(s.Jobs))
	if z := s.JobSize; z != nil {
		t.row("job memory", fmt.Sprintf("results %.1f of %.1f MiB, input %.1f of %.1f MiB",
			mebi(z.ResultBytes), mebi(z.MaxResultBytes), mebi(z.InputBytes), mebi(z.MaxInputBytes)))
	}
	t.row("links", texts(links(s.Links, wide)))
	if slow := s.SlowConsumers; slow != nil && counts(slow.Doors) != "" {
		row := counts(slow.Doors)
		if slow.LastAt != nil {
			row += fmt.Sprintf(", last %s from %s %s ago", cmp.Or(slow.Last, "one not signed in"), slow.Remote, shortDuration(a.now().Sub(*slow.LastAt)))
		}
		t.row("cut off as slow", row)
	}
	if d := s.Disk; d != nil && (d.Low || wide) {
		row := fmt.Sprintf("%.1f of %.1f GiB free", float64(d.Free)/(1<<30), float64(d.Size)/(1<<30))
		if d.Low {
			row += ": " + diskState(d)
		}
		t.row("disk", row)
	}
	t.row("up", fmt.Sprintf("%s, version %s", shortDuration(time.Duration(s.UptimeMs)*time.Millisecond), s.Version))
	t.row("http", s.HTTPAddress)
	t.row("peer", s.PeerAddress)
	if s.InsecureReason != "" {
		t.row("insecure", s.InsecureReason)
	}
	if wide {
		t.row("messages", counts(s.MessageCounts))
		t.row("writes", counts(s.WriteCounts))
		t.row("log store", s.LogStore)
		t.row("data", s.DataDir)
		t.row("snapshot", s.LastSnapshot)
		t.row("timeouts", texts(s.RaftTimeouts))
		t.row("leaders seen", s.LeaderChanges)
		t.row("process", fmt.Sprintf("%d, %s, %d goroutines, %d MiB heap", s.ProcessID, s.GoVersion, s.Goroutines, s.HeapBytes>>20))
	}
	return t
}

// diskState is the state of a volume that is not well.
func diskState(d *wire.DiskSpace) string {
	switch d.State {
	case wire.DiskFull, wire.DiskCritical:
		return d.State
	}
	return "nearly full"
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

func counts[N int | uint64](m map[string]N) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] > 0 {
			out = append(out, fmt.Sprintf("%d %s", m[k], k))
		}
	}
	return strings.Join(out, ", ")
}

// links tells each link in a few words: of a long error only what it came down to, unless wide.
func links(m map[string]string, wide bool) map[string]string {
	if wide {
		return m
	}
	out := map[string]string{}
	for id, state := range m {
		if i := strings.LastIndex(state, ": "); i >= 0 {
			state = "down (" + truncate(state[i+2:], 40) + ")"
		}
		out[id] = state
	}
	return out
}

func texts(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+" "+m[k])
	}
	return strings.Join(out, ", ")
}
