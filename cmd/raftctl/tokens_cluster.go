package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) tokensCreateCmd() *cobra.Command {
	var in wire.NewToken
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "create --grant RIGHT@NAMESPACE", Short: "Make a token; its secret is told only here", Args: cobra.NoArgs,
		Long: "A grant is RIGHT@NAMESPACE, with * for all namespaces, or cluster:read, cluster:write or admin alone. Rights: read, write and admin of a\n" +
			"namespace; components:read|write, messages:send, jobs:read|write|work, services:read|write, locks:read|write,\n" +
			"flows:read|write|send. What is printed is a file for --token-file.",
		Example: "  raftctl tokens create --grant write@lab1 --ttl 720h >lab1.token\n" +
			"  raftctl tokens create --name grafana --grant read@* --grant cluster:read >grafana.token",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(in.Grants) == 0 {
				return usage("tokens create: give at least one --grant, like --grant write@lab1")
			}
			if ttl < 0 || cmd.Flags().Changed("ttl") && ttl == 0 {
				return usage("--ttl %s: want a time above zero; without --ttl the token lasts until it is revoked", ttl)
			}
			in.TTL = wire.Duration(ttl)
			ctx, cancel := a.limited(cmd)
			defer cancel()
			t, meta, err := a.client.CreateToken(ctx, in)
			if err != nil {
				return err
			}
			return a.done(meta.Body, "token/"+t.ID, "# %s\n%s", clean(a.tokenLine(t)), t.Token)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.Grants, "grant", nil, "RIGHT@NAMESPACE or RIGHT, several by comma or told several times")
	f.StringVar(&in.Name, "name", "", "what it is for: shown in lists")
	f.DurationVar(&ttl, "ttl", 0, "how long it lasts; without it, until it is revoked")
	return cmd
}

// tokenLine is what a token is in one line, without its secret.
func (a *app) tokenLine(t wire.Token) string {
	line := t.ID
	if t.Name != "" {
		line += " " + t.Name
	}
	line += ": " + strings.Join(t.Grants, " ")
	if t.Expires != nil {
		line += ", until " + t.Expires.UTC().Format(time.RFC3339)
	}
	return line
}

func (a *app) tokensListCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	return r.define(&cobra.Command{
		Use: "list", Short: "List the tokens of the cluster, without their secrets", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Long:    "Lists the tokens of the cluster's state. Those of a coordinator's --token-file are in no list.",
		Example: "  raftctl tokens list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				rows, meta, err := a.allTokens(ctx, read)
				return a.tokensAnswer(meta.Body, rows...), meta, err
			})
		},
	})
}

// allTokens lists all tokens. What is not one page as it came is put together in the Body of the Meta.
func (a *app) allTokens(ctx context.Context, read client.Read) ([]wire.Token, client.Meta, error) {
	page, meta, err := a.client.Tokens(ctx, client.Page{}, read)
	rows := page.Tokens
	if err != nil || page.Next == "" {
		return rows, meta, err
	}
	for page.Next != "" {
		if page, _, err = a.client.Tokens(ctx, client.Page{After: page.Next}, client.Read{Consistency: read.Consistency}); err != nil {
			return nil, meta, err
		}
		rows = append(rows, page.Tokens...)
	}
	meta.Body = marshal(wire.Tokens{Tokens: rows})
	return rows, meta, nil
}

// tokensAnswer shows tokens.
func (a *app) tokensAnswer(body []byte, rows ...wire.Token) answer {
	v := answer{body: body, table: func(wide bool) *table {
		heads := []string{"id", "name", "grants", "created", "expires", "last used"}
		if wide {
			heads = append(heads, "created by")
		}
		t := a.table(heads...)
		for _, k := range rows {
			cells := []any{k.ID, k.Name, strings.Join(k.Grants, " "), a.age(k.Created), a.until(k.Expires), a.ageOf(k.LastUsed)}
			if wide {
				cells = append(cells, k.CreatedBy)
			}
			t.row(cells...)
		}
		return t
	}}
	for _, k := range rows {
		v.names = append(v.names, "token/"+k.ID)
	}
	return v
}

// until is how long there is until t; never is a time that does not come.
func (a *app) until(t *time.Time) string {
	switch {
	case t == nil:
		return "never"
	case !t.After(a.now()):
		return "expired"
	}
	return "in " + shortDuration(t.Sub(a.now()))
}

// ageOf is age of a time that there need not be.
func (a *app) ageOf(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return a.age(*t)
}

func (a *app) tokensGetCmd() *cobra.Command {
	r := readFlags{}
	return r.define(&cobra.Command{
		Use: "get ID", Short: "Show one token, without its secret", Args: cobra.ExactArgs(1), Example: "  raftctl tokens get t_0mlyq1tf4c",
		ValidArgsFunction: a.completeTokens,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				t, meta, err := a.client.Token(ctx, args[0], read)
				return a.tokensAnswer(meta.Body, t), meta, err
			})
		},
	})
}

func (a *app) tokensRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token: it opens nothing more, and its sessions end", Aliases: []string{"rm"}, Args: cobra.ExactArgs(1),
		Example:           "  raftctl tokens revoke t_0mlyq1tf4c --yes",
		ValidArgsFunction: a.completeTokens,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm("revoke token " + args[0] + ", and end its sessions"); err != nil {
				return err
			}
			ctx, cancel := a.limited(cmd)
			defer cancel()
			meta, err := a.client.RevokeToken(ctx, args[0])
			if err != nil {
				return err
			}
			return a.done(meta.Body, "token/"+args[0], "token %s is revoked", args[0])
		},
	}
}

func (a *app) tokensJoinCmd() *cobra.Command {
	var id string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "join --id ID", Short: "Make a token by which one coordinator gets its certificate, once", Args: cobra.NoArgs,
		Long: "What is printed is a file for --join-token-file of raftctl ca request, on the host of the new coordinator. The token opens the\n" +
			"signing of one certificate for this id, and nothing else. A member must have ca-key.pem.",
		Example: "  raftctl tokens join --id n4 >join",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !authority.IsMemberID(id) {
				return usage("--id %q: %s", id, authority.MemberIDRule)
			}
			if ttl <= 0 { // 0 in the request would be the default
				return usage("--ttl %s: want a time above zero", ttl)
			}
			ctx, cancel := a.limited(cmd)
			defer cancel()
			t, meta, err := a.client.CreateJoinToken(ctx, wire.NewJoinToken{ID: id, TTL: wire.Duration(ttl)})
			if err != nil {
				return err
			}
			return a.done(meta.Body, "join/"+t.ID, "# join token for %s, until %s\n%s", clean(t.ID), t.Expires.UTC().Format(time.RFC3339), t.Token)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "the --id of the coordinator")
	cmd.Flags().DurationVar(&ttl, "ttl", wire.DefaultJoinTTL, "how long it is good")
	_ = cmd.MarkFlagRequired("id")
	return cmd
}

func (a *app) tokensSelfCmd() *cobra.Command {
	return &cobra.Command{
		Use: "self", Short: "Show what the token that is sent is, and may do", Args: cobra.NoArgs, Example: "  raftctl tokens self --token-file lab1.token",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd)
			defer cancel()
			t, meta, err := a.client.TokenSelf(ctx)
			if err != nil {
				return err
			}
			return a.show(a.out, a.tokensAnswer(meta.Body, t))
		},
	}
}

func (a *app) tokenIDs(ctx context.Context, _ string) ([]cobra.Completion, error) {
	var out []cobra.Completion
	all, _, err := a.client.Tokens(ctx, client.Page{Limit: 200}, client.Read{Consistency: "stale"})
	for _, t := range all.Tokens {
		out = append(out, cobra.CompletionWithDesc(t.ID, strings.TrimSpace(t.Name+" "+strings.Join(t.Grants, " "))))
	}
	return out, err
}

func (a *app) completeTokens(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFirst(cmd, args, typed, a.tokenIDs)
}
