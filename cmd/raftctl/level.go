package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) levelCmd() *cobra.Command {
	return group("level", "What commands the cluster offers, and what its members know", a.levelGetCmd(), a.levelRaiseCmd())
}

func (a *app) levelGetCmd() *cobra.Command {
	r := readFlags{}
	return r.define(&cobra.Command{
		Use: "get", Short: "Show the cluster's level, and the one that each member knows", Args: cobra.NoArgs, Example: "  raftctl level get",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				l, meta, err := a.client.Level(ctx, read)
				v := answer{
					body: meta.Body, names: []string{fmt.Sprint("level/", l.Level)},
					table: func(bool) *table { return a.levelTable(l) },
					below: func(w io.Writer) { fmt.Fprintln(w, levelLine(l)) },
				}
				return v, meta, err
			})
		},
	})
}

func (a *app) levelTable(l wire.Level) *table {
	t := a.table("id", "knows level", "version", "server id").numbers("knows level")
	for _, m := range l.Members {
		knows := any(m.Level)
		if m.Level == 0 {
			knows = "?"
		}
		t.row(m.ID, knows, m.Version, m.ServerID)
	}
	return t
}

// levelLine says where the cluster is, and what it could be raised to.
func levelLine(l wire.Level) string {
	if l.Known > l.Level {
		return fmt.Sprintf("the cluster is at level %d; all members know %d: raftctl level raise", l.Level, l.Known)
	}
	return fmt.Sprintf("the cluster is at level %d, the highest that all members know", l.Level)
}

func (a *app) levelRaiseCmd() *cobra.Command {
	var to int
	cmd := &cobra.Command{
		Use: "raise", Short: "Raise the cluster's level once all members run a version that knows it", Args: cobra.NoArgs,
		Long: "What a newer version writes into the log is offered once the level is raised; until then members of the version before can\n" +
			"run beside it. There is no way back: an older binary can be no member from then on. Nothing happens while a member does not\n" +
			"know the level; that one is named. Done again, it changes nothing.",
		Example: "  raftctl level raise\n  raftctl level raise --to 2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("to") && to < 1 {
				return usage("--to %d: a level is at least 1", to)
			}
			ctx, cancel := a.limited(cmd)
			defer cancel()
			l, meta, err := a.client.RaiseLevel(ctx, to)
			if err != nil {
				return err
			}
			name := fmt.Sprint("level/", l.Level)
			if l.Before == l.Level {
				return a.done(meta.Body, name, "the cluster is at level %d already", l.Level)
			}
			return a.done(meta.Body, name, "level %d before, %d now", l.Before, l.Level)
		},
	}
	cmd.Flags().IntVar(&to, "to", 0, "which level; newest is the highest that the coordinator asked knows")
	cmd.Flags().Lookup("to").DefValue = "newest"
	return cmd
}
