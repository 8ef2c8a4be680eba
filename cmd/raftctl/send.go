package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) sendCmd() *cobra.Command {
	var as string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "send NAME TEXT", Short: "Send a message to a component", Args: cobra.ExactArgs(2),
		Long: "Signs in for the time it takes, sends TEXT as the message's content (a JSON string, or with --json the JSON it is)\n" +
			"and tells the outcome.",
		Example:           "  raftctl send n1.laser 'power down'\n  raftctl send n1.laser '{\"power\": 0}' --json",
		ValidArgsFunction: a.completeComponents,
		RunE: func(cmd *cobra.Command, args []string) error {
			content, _ := json.Marshal(args[1])
			if asJSON {
				if content = []byte(args[1]); !json.Valid(content) {
					return usage("TEXT is not the JSON that --json promises")
				}
			}
			if as == "" {
				as = "raftctl-" + client.NewKey()[:8]
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), a.flags.timeout)
			defer cancel()
			to, err := a.fullName(ctx, args[0])
			if err != nil {
				return err
			}
			in, _, err := a.client.SignIn(ctx, wire.SignIn{Name: as, Lease: wire.Duration(30 * time.Second)}, "")
			if err != nil {
				return err
			}
			sent, meta, err := a.client.Send(ctx, in.Secret, wire.SendMessage{To: to, Content: content}, "")
			out, stop := context.WithTimeout(context.WithoutCancel(cmd.Context()), 2*time.Second)
			defer stop()
			a.client.SignOut(out, in.FullName, in.Secret) // else the lease does it
			if err != nil {
				return err
			}
			return a.done(meta.Body, "message/"+sent.ConversationID, "%s to %s (conversation %s)", sent.Outcome, to, sent.ConversationID)
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "name to sign in under; default: one of its own")
	cmd.Flags().BoolVar(&asJSON, "json", false, "TEXT is JSON")
	return cmd
}
