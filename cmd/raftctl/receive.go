package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// receiveOptions are the flags of receive.
type receiveOptions struct {
	as      string
	echo    bool
	count   int
	command []string // answers; nil: nobody does
}

func (a *app) receiveCmd() *cobra.Command {
	var r receiveOptions
	cmd := &cobra.Command{
		Use: "receive [-- COMMAND ARG...]", Short: "Sign in, print what comes and answer it",
		Long: "Signs in as a component and prints the messages that come, one a line, until interrupted, or until --count of them came or\n" +
			"a --timeout that was told is over (exit code 1).\n\n" +
			"With --echo every message is answered by its own content, and a call by its params. With a COMMAND every message starts it:\n" +
			"the content, or the params of a call, is its standard input, FOLKMOOT_FROM, FOLKMOOT_CONVERSATION and FOLKMOOT_METHOD (of a\n" +
			"call) are set, and what it writes to standard output is the answer: JSON if it reads as JSON, else text; nothing is no answer\n" +
			"to a message and null to a call. A call whose command fails is answered by an error.",
		Example: "  raftctl receive --as laser\n  raftctl receive --as laser --echo\n  raftctl receive --as adder -- jq '.x + .y'",
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash > 0 || dash < 0 && len(args) > 0 {
				return usage("receive takes no argument; a command that answers stands behind --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r.command = args
			if r.echo && len(args) > 0 {
				return usage("--echo answers by itself: leave it out or the command")
			}
			ctx := cmd.Context()
			if cmd.Flags().Changed("timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, a.flags.timeout)
				defer cancel()
			}
			return a.receive(ctx, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.as, "as", "", "name to sign in under (default: one of its own)")
	f.BoolVar(&r.echo, "echo", false, "answer every message by its own content")
	f.IntVar(&r.count, "count", 0, "end after so many messages (default: never)")
	return cmd
}

func (a *app) receive(ctx context.Context, r receiveOptions) error {
	s, err := a.openSession(ctx, wire.SignIn{Name: nameOrNew(r.as), Lease: wire.Duration(15 * time.Second)})
	if err != nil {
		return err
	}
	defer a.signOut(ctx, s)
	fmt.Fprintf(a.err, "signed in as %s\n", s.FullName())
	for n := 0; r.count == 0 || n < r.count; n++ {
		select {
		case got, ok := <-s.Messages():
			if !ok {
				return s.Err()
			}
			m := received(&got, n+1)
			if err := a.showMessage(m); err != nil {
				return err
			}
			a.answer(ctx, s, r, m)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%d messages within %s", n, a.flags.timeout)
			}
			return nil
		}
	}
	return nil
}

// showMessage prints one message a line.
func (a *app) showMessage(m wire.Received) error {
	switch a.flags.output {
	case "json", "yaml":
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if a.flags.output == "yaml" {
			fmt.Fprintln(a.out, "---")
			return writeYAML(a.out, b)
		}
		return writeJSON(a.out, b)
	case "name":
		_, err := fmt.Fprintf(a.out, "message/%s\n", clean(m.ConversationID))
		return err
	}
	line := fmt.Sprintf("%s  %s", a.now().Local().Format("15:04:05"), clean(m.From))
	if len(m.Content) > 0 {
		line += "  " + strings.ReplaceAll(plainText(m.Content), "\n", " ")
	}
	size := 0
	for _, p := range m.Payload {
		size += len(p)
	}
	if len(m.Payload) == 1 && len(m.Content) == 0 && utf8.Valid(m.Payload[0]) {
		line += "  " + clean(string(m.Payload[0]))
	} else if len(m.Payload) > 0 {
		line += fmt.Sprintf("  (%d frames of %d bytes)", len(m.Payload), size)
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

// incoming is a message as one who answers it sees it.
type incoming struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// answer answers a message as r says. What is an answer itself, or news of a coordinator, is not answered.
func (a *app) answer(ctx context.Context, s *client.Session, r receiveOptions, m wire.Received) {
	var in incoming
	object := json.Unmarshal(m.Content, &in) == nil
	call := object && in.Method != "" && len(in.ID) > 0 && string(in.ID) != "null"
	isAnswer := object && in.Method == "" && len(in.ID) > 0 && (len(in.Result) > 0 || len(in.Error) > 0)
	fromCoordinator := m.From == wire.Coordinator || strings.HasSuffix(m.From, "."+wire.Coordinator)
	if !r.echo && len(r.command) == 0 || isAnswer || fromCoordinator && !call {
		return
	}
	out := wire.SendMessage{To: m.From, ConversationID: m.ConversationID}
	var err error
	switch {
	case r.echo && call:
		out.Content = rpcResult(in.ID, in.Params)
	case r.echo:
		out.Content, out.Payload = m.Content, m.Payload
	default:
		var said json.RawMessage
		said, err = a.runCommand(ctx, r.command, m, in, call)
		switch {
		case call && err != nil:
			out.Content = rpcError(in.ID, err)
		case call:
			out.Content = rpcResult(in.ID, said)
		case err == nil && said == nil:
			return
		default:
			out.Content = said
		}
	}
	if err == nil || call {
		if failed := send(ctx, s, out); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		fmt.Fprintf(a.err, "answer to %s: %v\n", clean(m.From), err)
	}
}

// runCommand has a command answer a message; nil is that it said nothing.
func (a *app) runCommand(ctx context.Context, command []string, m wire.Received, in incoming, call bool) (json.RawMessage, error) {
	input := []byte(m.Content)
	switch {
	case call:
		input = in.Params
	case len(input) == 0 && len(m.Payload) > 0:
		input = m.Payload[0]
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "FOLKMOOT_FROM="+m.From, "FOLKMOOT_CONVERSATION="+m.ConversationID)
	if call {
		cmd.Env = append(cmd.Env, "FOLKMOOT_METHOD="+in.Method)
	}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), a.err
	cmd.WaitDelay = 2 * time.Second
	said, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	said = bytes.TrimRight(said, "\r\n")
	switch {
	case len(said) == 0:
		return nil, nil
	case !utf8.Valid(said):
		return nil, fmt.Errorf("%s: its output is not UTF-8", command[0])
	}
	return value(string(said)), nil
}

func rpcResult(id, result json.RawMessage) json.RawMessage {
	if len(result) == 0 {
		result = json.RawMessage("null")
	}
	return marshal(map[string]any{"jsonrpc": "2.0", "id": id, "result": result})
}

func rpcError(id json.RawMessage, err error) json.RawMessage {
	return marshal(map[string]any{"jsonrpc": "2.0", "id": id, "error": map[string]any{"code": -32000, "message": err.Error()}})
}

// marshal writes what has JSON.
func marshal(v any) json.RawMessage {
	b, _ := json.Marshal(v)
	return b
}
