package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
)

func (a *app) workersCmd() *cobra.Command {
	r := reading{wantWatch: true}
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
					t := a.table(heads...).numbers("slots", "busy")
					for _, w := range l.Workers {
						cells := []any{w.FullName, w.Home, strings.Join(w.Runtimes, ","), w.Slots, w.Busy, labels(w.Labels, wide)}
						if wide {
							cells = append(cells, w.Place.Host, w.Place.Group)
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
