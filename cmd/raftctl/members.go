package main

import (
	"context"
	"fmt"
	"strings"
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
		heads = append(heads, "version", "server id", "namespace", "http", "disk")
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
			cells = append(cells, m.Version, m.ServerID, m.Namespace, m.HTTPAddress, diskOf(m))
		}
		t.row(cells...)
	}
	return t
}

// diskOf is the state of a member's volume; "" where it is not known.
func diskOf(m wire.Member) string {
	if m.Disk == nil {
		return ""
	}
	return m.Disk.State
}

// memberChange is one change of the membership, with what to print of it.
type memberChange struct {
	question string // asked before it is done; "": none
	force    bool
	do       func(ctx context.Context, on client.MemberChange) (name, said string, meta client.Meta, err error)
}

// changeMembers carries a change out on the membership that was in sight when it was
// decided, and prints that before and after.
func (a *app) changeMembers(cmd *cobra.Command, change memberChange) error {
	before, err := a.membersNow(cmd, 0)
	if err != nil {
		return err
	}
	if change.question != "" {
		if err := a.confirm(change.question); err != nil {
			return err
		}
	}
	ctx, cancel := a.limited(cmd)
	defer cancel()
	name, said, meta, err := change.do(ctx, client.MemberChange{ConfigIndex: before.ConfigIndex, Force: change.force})
	if err != nil {
		return err
	}
	if err := a.done(meta.Body, name, "%s", said); err != nil || a.flags.output != "table" && a.flags.output != "wide" {
		return err
	}
	after, err := a.membersNow(cmd, meta.Index)
	if err != nil {
		fmt.Fprintf(a.err, "raftctl: the change is done; the members as they are after it cannot be listed: %v\n", err)
		return nil
	}
	_, err = fmt.Fprintf(a.out, "before: %s\nafter:  %s\n", membersLine(before), membersLine(after))
	return err
}

// membersNow lists the members as of an index of the log or later.
func (a *app) membersNow(cmd *cobra.Command, index uint64) (wire.Members, error) {
	ctx, cancel := a.limited(cmd)
	defer cancel()
	m, _, err := a.client.Members(ctx, client.Read{Index: index})
	return m, err
}

// membersLine is a membership in a line.
func membersLine(m wire.Members) string {
	var all []string
	for _, row := range m.Members {
		all = append(all, row.ID+" "+row.Suffrage)
	}
	return fmt.Sprintf("%s (configuration %d)", strings.Join(all, ", "), m.ConfigIndex)
}

func (a *app) membersAddCmd() *cobra.Command {
	var nonVoter bool
	cmd := &cobra.Command{
		Use: "add PEER-ADDRESS", Short: "Take a running coordinator into the cluster", Args: cobra.ExactArgs(1),
		Example: "  raftctl members add n4:7300\n  raftctl members add n4:7300 --non-voter",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMembers(cmd, memberChange{do: func(ctx context.Context, on client.MemberChange) (name, said string, meta client.Meta, err error) {
				m, meta, err := a.client.AddMember(ctx, wire.AddMember{Address: args[0], NonVoter: nonVoter}, on)
				return "member/" + m.ID, fmt.Sprintf("member %s (%s) at %s is in, as %s", m.ID, m.ServerID, m.Address, m.Suffrage), meta, err
			}})
		},
	}
	cmd.Flags().BoolVar(&nonVoter, "non-voter", false, "let it replicate and route, never vote")
	return cmd
}

// changeFunc changes one member.
type changeFunc = func(c *client.Client, ctx context.Context, id string, on client.MemberChange) (wire.MemberChangeResult, client.Meta, error)

// changeMember is a command that changes one member. What it has done is said by format,
// of the id.
func (a *app) changeMember(cmd *cobra.Command, format string, do changeFunc) *cobra.Command {
	var force string
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(1), a.completeMembers
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id := args[0]
		forced := cmd.Flags().Changed("force")
		if forced && force != id {
			return usage("--force %s: to change the member %s by force give its id again: --force %s", force, id, id)
		}
		change := memberChange{force: forced, do: func(ctx context.Context, on client.MemberChange) (name, said string, meta client.Meta, err error) {
			_, meta, err = do(a.client, ctx, id, on)
			return "member/" + id, fmt.Sprintf(format, id), meta, err
		}}
		if cmd.Name() == "remove" {
			change.question = "remove member " + id
		}
		return a.changeMembers(cmd, change)
	}
	if cmd.Name() != "promote" {
		cmd.Flags().StringVar(&force, "force", "", "`ID` again: take it away though too few voters are left that answer; nothing is written until more are back")
		cmd.RegisterFlagCompletionFunc("force", a.completeMembers)
	}
	return cmd
}

func (a *app) membersRemoveCmd() *cobra.Command {
	return a.changeMember(&cobra.Command{
		Use: "remove ID", Short: "Take a coordinator out of the cluster", Aliases: []string{"rm"},
		Example: "  raftctl members remove n4 --yes",
	}, "member %s is out", (*client.Client).RemoveMember)
}

func (a *app) membersVoteCmd(verb, short string, do changeFunc) *cobra.Command {
	return a.changeMember(&cobra.Command{Use: verb + " ID", Short: short, Example: "  raftctl members " + verb + " n4"}, "member %s "+verb+"d", do)
}
