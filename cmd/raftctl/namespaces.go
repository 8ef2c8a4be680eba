package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
)

func (a *app) namespacesCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	list := r.define(&cobra.Command{
		Use: "list", Short: "List who presides over what and who is in it", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Example: "  raftctl namespaces list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				book, meta, err := a.client.Namespaces(ctx, read)
				names := slices.Sorted(maps.Keys(book))
				v := answer{body: meta.Body, table: func(wide bool) *table {
					t := a.table("namespace", "coordinator", "components").numbers("components")
					for _, n := range names {
						t.row(n, book[n].Coordinator, len(book[n].Components))
					}
					return t
				}}
				for _, n := range names {
					v.names = append(v.names, "namespace/"+n)
				}
				return v, meta, err
			})
		},
	})
	return group("namespaces", "The address book", list)
}
