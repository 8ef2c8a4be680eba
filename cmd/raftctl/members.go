package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) membersCmd() *cobra.Command {
	return group("members", "The coordinators of the cluster", a.membersListCmd(), a.membersAddCmd(), a.membersRemoveCmd(),
		a.membersVoteCmd("promote", "Give a coordinator a vote", (*client.Client).Promote),
		a.membersVoteCmd("demote", "Take a coordinator's vote; it goes on replicating", (*client.Client).Demote))
}

func (a *app) membersListCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	return r.define(&cobra.Command{
		Use: "list", Short: "List the coordinators", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Example: "  raftctl members list\n  raftctl members list -o wide --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, time.Second, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				m, meta, err := a.client.Members(ctx, read)
				v := answer{body: meta.Body, table: func(wide bool) *table { return a.membersTable(m.Members, wide) }}
				for _, row := range m.Members {
					v.names = append(v.names, "member/"+row.ID)
				}
				return v, meta, err
			})
		},
	})
}

func (a *app) membersTable(rows []wire.Member, wide bool) *table {
	heads := []string{"id", "address", "state", "suffrage", "alive", "last index", "lag", "last contact"}
	if wide {
		heads = append(heads, "version", "server id", "namespace", "http")
	}
	t := a.table(heads...).numbers("last index", "lag", "last contact")
	var newest uint64
	for _, m := range rows {
		newest = max(newest, m.LastIndex)
	}
	for _, m := range rows {
		contact := "never"
		switch {
		case m.LastContactMs >= 10_000:
			contact = shortDuration(time.Duration(m.LastContactMs) * time.Millisecond)
		case m.LastContactMs >= 0:
			contact = fmt.Sprintf("%.0fms", m.LastContactMs)
		}
		cells := []any{m.ID, m.Address, stateColor(m.State), m.Suffrage, stateColor(yesNo(m.Alive)), m.LastIndex, newest - m.LastIndex, contact}
		if wide {
			cells = append(cells, m.Version, m.ServerID, m.Namespace, m.HTTPAddress)
		}
		t.row(cells...)
	}
	return t
}

func (a *app) membersAddCmd() *cobra.Command {
	var nonVoter bool
	cmd := &cobra.Command{
		Use: "add PEER-ADDRESS", Short: "Take a running coordinator into the cluster", Args: cobra.ExactArgs(1),
		Example: "  raftctl members add n4:7300\n  raftctl members add n4:7300 --non-voter",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := a.limited(cmd)
			defer cancel()
			m, meta, err := a.client.AddMember(ctx, wire.AddMember{Address: args[0], NonVoter: nonVoter})
			if err != nil {
				return err
			}
			return a.done(meta.Body, "member/"+m.ID, "member %s (%s) at %s is in, as %s", m.ID, m.ServerID, m.Address, m.Suffrage)
		},
	}
	cmd.Flags().BoolVar(&nonVoter, "non-voter", false, "let it replicate and route, never vote")
	return cmd
}

func (a *app) membersRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID", Short: "Take a coordinator out of the cluster", Aliases: []string{"rm"}, Args: cobra.ExactArgs(1),
		Example:           "  raftctl members remove n4 --yes",
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm("remove member " + args[0]); err != nil {
				return err
			}
			ctx, cancel := a.limited(cmd)
			defer cancel()
			meta, err := a.client.RemoveMember(ctx, args[0])
			if err != nil {
				return err
			}
			return a.done(meta.Body, "member/"+args[0], "member %s is out", args[0])
		},
	}
}

func (a *app) membersVoteCmd(verb, short string, do func(*client.Client, context.Context, string) (client.Meta, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1), Example: "  raftctl members " + verb + " n4",
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := a.limited(cmd)
			defer cancel()
			meta, err := do(a.client, ctx, args[0])
			if err != nil {
				return err
			}
			return a.done(meta.Body, "member/"+args[0], "member %s %sd", args[0], verb)
		},
	}
}
