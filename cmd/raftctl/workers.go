package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// note says in a word that a worker gets fewer parts, and wide why.
func note(w wire.Worker, wide bool) string {
	switch {
	case w.Suspect == "":
		return ""
	case wide:
		return "suspect: " + w.Suspect
	}
	return "suspect"
}

func (a *app) workersCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	list := r.define(&cobra.Command{
		Use: "list", Short: "List who runs parts, and how busy they are", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Example: "  raftctl workers list\n  raftctl workers list --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				l, meta, err := a.client.Workers(ctx, read)
				v := answer{body: meta.Body, table: func(wide bool) *table {
					heads := []string{"name", "home", "runtimes", "slots", "busy", "labels"}
					if wide {
						heads = append(heads, "host", "group")
					}
					suspects := slices.ContainsFunc(l.Workers, func(w wire.Worker) bool { return w.Suspect != "" })
					if suspects {
						heads = append(heads, "note")
					}
					t := a.table(heads...).numbers("slots", "busy")
					for _, w := range l.Workers {
						cells := []any{w.FullName, w.Home, strings.Join(w.Runtimes, ","), w.Slots, w.Busy, labels(w.Labels, wide)}
						if wide {
							cells = append(cells, w.Place.Host, w.Place.Group)
						}
						if suspects {
							cells = append(cells, note(w, wide))
						}
						t.row(cells...)
					}
					return t
				}}
				for _, w := range l.Workers {
					v.names = append(v.names, "worker/"+w.FullName)
				}
				return v, meta, err
			})
		},
	})
	return group("workers", "Components that run parts of jobs", list)
}
