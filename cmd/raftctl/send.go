package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) sendCmd() *cobra.Command {
	var as string
	var asJSON, wait bool
	cmd := &cobra.Command{
		Use: "send NAME TEXT", Short: "Send a message to a component", Args: cobra.ExactArgs(2),
		Long: "Signs in for the time it takes, sends TEXT as the message's content (a JSON string, or with --json the JSON it is)\n" +
			"and tells the outcome. With --wait it prints the content of the first answer in the same conversation instead, or exits\n" +
			"with 1 when none came within --timeout.",
		Example:           "  raftctl send n1.laser 'power down'\n  raftctl send n1.laser '{\"power\": 0}' --json\n  raftctl send n1.laser 'how are you?' --wait",
		ValidArgsFunction: a.completeComponents,
		RunE: func(cmd *cobra.Command, args []string) error {
			content, _ := json.Marshal(args[1])
			if asJSON {
				if content = []byte(args[1]); !json.Valid(content) {
					return usage("TEXT is not the JSON that --json promises")
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), a.flags.timeout)
			defer cancel()
			to, err := a.fullName(ctx, args[0])
			if err != nil {
				return err
			}
			m := wire.SendMessage{To: to, Content: content}
			if wait {
				return a.sendAndWait(ctx, as, m)
			}
			return a.signedIn(ctx, as, func(secret string) error {
				sent, meta, err := a.client.Send(ctx, secret, m, "")
				if err != nil {
					return err
				}
				return a.done(meta.Body, "message/"+sent.ConversationID, "%s to %s (conversation %s)", sent.Outcome, to, sent.ConversationID)
			})
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "name to sign in under (default: one of its own)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "TEXT is JSON")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for an answer and print it")
	return cmd
}

// sendAndWait sends a message and prints the first answer to it.
func (a *app) sendAndWait(ctx context.Context, as string, m wire.SendMessage) error {
	s, err := a.openSession(ctx, wire.SignIn{Name: nameOrNew(as), Lease: wire.Duration(30 * time.Second)})
	if err != nil {
		return err
	}
	defer a.signOut(ctx, s)
	m.ConversationID = uuid.UUID(client.NewConversation()).String()
	if err := send(ctx, s, m); err != nil {
		return err
	}
	for n := 1; ; n++ {
		select {
		case got, ok := <-s.Messages():
			if !ok {
				return s.Err()
			}
			if answer := received(&got, n); answer.ConversationID == m.ConversationID {
				return a.showAnswer(answer)
			}
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return fmt.Errorf("%s has it, and did not answer within %s (conversation %s)", m.To, a.flags.timeout, m.ConversationID)
			}
			return errReported
		}
	}
}

// showAnswer prints the content of an answer; with -o json the whole message.
func (a *app) showAnswer(m wire.Received) error {
	var in incoming
	refused := json.Unmarshal(m.Content, &in) == nil && len(in.Error) > 0 && in.Method == ""
	var err error
	switch {
	case a.flags.output == "json" || a.flags.output == "yaml" || a.flags.output == "name" || len(m.Content) == 0:
		err = a.showMessage(m)
	case refused:
	default:
		_, err = fmt.Fprintln(a.out, plainText(m.Content))
	}
	if err == nil && refused {
		return fmt.Errorf("%s answered with an error: %s", clean(m.From), clean(string(compact(in.Error))))
	}
	return err
}
