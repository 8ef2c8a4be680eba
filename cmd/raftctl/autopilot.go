package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) autopilotCmd() *cobra.Command {
	return group("autopilot", "What the leader changes of the membership by itself, and how the members are",
		a.autopilotGetCmd(), a.autopilotSetCmd(), a.autopilotHealthCmd())
}

func (a *app) autopilotGetCmd() *cobra.Command {
	r := readFlags{}
	return r.define(&cobra.Command{
		Use: "get", Short: "Show the settings, and how the members are", Args: cobra.NoArgs, Example: "  raftctl autopilot get\n  raftctl autopilot get -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				p, meta, err := a.client.Autopilot(ctx, read)
				return a.autopilotAnswer(p, meta), meta, err
			})
		},
	})
}

func (a *app) autopilotAnswer(p wire.Autopilot, meta client.Meta) answer {
	v := answer{
		body: meta.Body, table: func(bool) *table { return a.healthTable(p) },
		below: func(w io.Writer) { fmt.Fprintf(w, "%s\n%s\n", healthLine(p), settingsLine(p)) },
	}
	for _, s := range p.Servers {
		v.names = append(v.names, "member/"+s.ID)
	}
	return v
}

func (a *app) healthTable(p wire.Autopilot) *table {
	t := a.table("id", "healthy", "reason", "server id")
	for _, s := range p.Servers {
		t.row(s.ID, stateColor(yesNo(s.Healthy)), s.Reason, s.ServerID)
	}
	return t
}

func healthLine(p wire.Autopilot) string {
	well := "healthy"
	if !p.Healthy {
		well = "not healthy"
	}
	switch {
	case p.FailureTolerance < 0:
		return well + ", and no leader is known"
	case p.FailureTolerance == 0:
		return well + "; no voter may fail"
	case p.FailureTolerance == 1:
		return well + "; 1 voter may fail"
	}
	return fmt.Sprintf("%s; %d voters may fail", well, p.FailureTolerance)
}

// illnesses are a line for each member that is not well.
func illnesses(p wire.Autopilot) (lines []string) {
	for _, s := range p.Servers {
		if !s.Healthy {
			lines = append(lines, fmt.Sprintf("%s (%s) %s", s.ID, s.ServerID, s.Reason))
		}
	}
	return lines
}

func settingsLine(p wire.Autopilot) string {
	return fmt.Sprintf("cleanup_dead=%t dead_after=%s min_voters=%d stabilization=%s max_lag=%d",
		p.CleanupDead, time.Duration(p.DeadAfter), p.MinVoters, time.Duration(p.Stabilization), p.MaxLag)
}

func (a *app) autopilotHealthCmd() *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Tell whether all members are well; exit status 1 if not", Args: cobra.NoArgs,
		Example: "  raftctl autopilot health && kubectl apply -k overlays/prod",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd)
			defer cancel()
			p, meta, err := a.client.Autopilot(ctx, client.Read{})
			if err != nil {
				return err
			}
			if !p.Healthy {
				return errors.New(strings.Join(append([]string{healthLine(p)}, illnesses(p)...), "\n"))
			}
			return a.show(a.out, a.autopilotAnswer(p, meta))
		},
	}
}

// autopilotSettings are the settings by name: each reads its value.
var autopilotSettings = map[string]func(*wire.AutopilotSettings, string) error{
	"cleanup_dead": func(s *wire.AutopilotSettings, v string) error {
		return parseInto(&s.CleanupDead, v, strconv.ParseBool)
	},
	"dead_after": func(s *wire.AutopilotSettings, v string) error { return parseInto(&s.DeadAfter, v, parseDuration) },
	"min_voters": func(s *wire.AutopilotSettings, v string) error { return parseInto(&s.MinVoters, v, strconv.Atoi) },
	"stabilization": func(s *wire.AutopilotSettings, v string) error {
		return parseInto(&s.Stabilization, v, parseDuration)
	},
	"max_lag": func(s *wire.AutopilotSettings, v string) error {
		return parseInto(&s.MaxLag, v, func(v string) (uint64, error) { return strconv.ParseUint(v, 10, 63) })
	},
}

func parseDuration(v string) (wire.Duration, error) {
	d, err := time.ParseDuration(v)
	return wire.Duration(d), err
}

func parseInto[T any](to **T, v string, parse func(string) (T, error)) error {
	value, err := parse(v)
	*to = &value
	return err
}

func (a *app) autopilotSetCmd() *cobra.Command {
	names := "cleanup_dead, dead_after, min_voters, stabilization, max_lag"
	return &cobra.Command{
		Use: "set NAME=VALUE...", Short: "Set some of it; the rest stays as it is", Args: cobra.MinimumNArgs(1),
		Long: "The settings are " + names + ".\nA member that has not answered for dead_after is removed, one at a time: never below min_voters voters,\n" +
			"and never if fewer than a majority of the others answer. One that has been well for stabilization, and is\nat most max_lag entries behind, gets its vote.",
		Example: "  raftctl autopilot set dead_after=2h\n  raftctl autopilot set cleanup_dead=false min_voters=5",
		RunE: func(cmd *cobra.Command, args []string) error {
			var in wire.AutopilotSettings
			for _, arg := range args {
				name, value, found := strings.Cut(arg, "=")
				set := autopilotSettings[name]
				switch {
				case set == nil:
					return usage("%q: the settings are %s", name, names)
				case !found:
					return usage("%s: want %s=VALUE", arg, name)
				}
				if err := set(&in, value); err != nil {
					return usage("%s=%s: that is no value for it", name, value)
				}
			}
			ctx, cancel := a.limited(cmd)
			defer cancel()
			p, meta, err := a.client.SetAutopilot(ctx, in)
			if err != nil {
				return err
			}
			return a.done(meta.Body, "autopilot", "%s", settingsLine(p))
		},
	}
}
