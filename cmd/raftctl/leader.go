package main

import (
	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) leaderCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "leader", Short: "Name the leader", Args: cobra.NoArgs, Example: "  raftctl leader\n  raftctl leader -o name",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, meta, err := a.client.Leader(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(a.out, answer{
				body: meta.Body, names: []string{"member/" + l.ID},
				table: func(bool) *table { return a.leaderTable(l) },
			})
		},
	}
	var to string
	transfer := &cobra.Command{
		Use: "transfer", Short: "Hand leadership to another coordinator", Args: cobra.NoArgs,
		Example: "  raftctl leader transfer\n  raftctl leader transfer --to n2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd)
			defer cancel()
			l, meta, err := a.client.TransferLeadership(ctx, to)
			if err != nil {
				return err
			}
			return a.done(meta.Body, "member/"+l.ID, "%s leads, in term %d", l.ID, l.Term)
		},
	}
	transfer.Flags().StringVar(&to, "to", "", "id of the coordinator to lead; default: the best follower")
	transfer.RegisterFlagCompletionFunc("to", a.completeMembers)
	cmd.AddCommand(transfer)
	return cmd
}

func (a *app) leaderTable(l wire.Leader) *table {
	t := a.table("id", "address", "http", "term", "server id").numbers("term")
	t.row(stateColor(l.ID), l.Address, l.HTTPAddress, l.Term, l.ServerID)
	return t
}
