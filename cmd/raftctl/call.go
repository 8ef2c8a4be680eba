package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) callCmd() *cobra.Command {
	var object string
	cmd := &cobra.Command{
		Use: "call NAME METHOD [KEY=VALUE ...]", Short: "Call a component's method and print its result", Args: cobra.MinimumNArgs(2),
		Long: "Calls a method by JSON-RPC with the named params, or those of --params, and prints the result: a text as it is, anything\n" +
			"else as JSON. A value that reads as JSON is JSON, anything else is text. It waits for the answer as long as --timeout says;\n" +
			"an error that the component answers is exit code 1. NAME may be COORDINATOR: call COORDINATOR rpc.discover lists what it can.",
		Example:           "  raftctl call n1.laser fire power=3 mode=slow\n  raftctl call n1.laser move --params '[1, 2]'\n  raftctl call COORDINATOR rpc.discover -o yaml",
		ValidArgsFunction: a.completeComponents,
		RunE: func(cmd *cobra.Command, args []string) error {
			params, err := callParams(args[2:], object)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			to, err := a.fullName(ctx, args[0])
			if err != nil {
				return err
			}
			var result json.RawMessage
			call := func(secret string) error {
				_, err := a.client.Call(ctx, to, args[1], params, &result, client.CallOptions{Secret: secret, Timeout: a.flags.timeout})
				return err
			}
			if to == wire.Coordinator || strings.HasSuffix(to, "."+wire.Coordinator) {
				err = a.signedIn(ctx, "", call)
			} else {
				err = call("")
			}
			if err != nil {
				return err
			}
			return a.showJSON(result)
		},
	}
	cmd.Flags().StringVar(&object, "params", "", "the params as JSON, an object or an array, instead of KEY=VALUE")
	return cmd
}

// callParams are the params of a call; nil is none.
func callParams(pairs []string, object string) (any, error) {
	switch {
	case object != "" && len(pairs) > 0:
		return nil, usage("params are KEY=VALUE or --params, not both")
	case object != "":
		text := strings.TrimSpace(object)
		if !json.Valid([]byte(text)) || text[0] != '{' && text[0] != '[' {
			return nil, usage("--params %s: want a JSON object or array", truncate(object, 80))
		}
		return json.RawMessage(text), nil
	case len(pairs) == 0:
		return nil, nil
	}
	named, err := keyValues("param", pairs)
	if err != nil {
		return nil, err
	}
	params := map[string]json.RawMessage{}
	for k, v := range named {
		params[k] = value(v)
	}
	return params, nil
}

// signedIn does what needs a session in one of its own; as is its name, "" one that nobody has.
func (a *app) signedIn(ctx context.Context, as string, do func(secret string) error) error {
	in, _, err := a.client.SignIn(ctx, wire.SignIn{Name: nameOrNew(as), Lease: wire.Duration(30 * time.Second)}, "")
	if err != nil {
		return err
	}
	err = do(in.Secret)
	out, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	a.client.SignOut(out, in.FullName, in.Secret) // else the lease does it
	return err
}

// nameOrNew is a name to sign in under.
func nameOrNew(as string) string {
	if as == "" {
		return "raftctl-" + client.NewKey()[:8]
	}
	return as
}

// showJSON prints a JSON value: for people a text as it is.
func (a *app) showJSON(value json.RawMessage) error {
	switch a.flags.output {
	case "json":
		return writeJSON(a.out, value)
	case "yaml":
		return writeYAML(a.out, value)
	}
	_, err := fmt.Fprintln(a.out, plainText(value))
	return err
}

// plainText is a JSON string's text, line by line clean, and any other JSON in one line.
func plainText(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) != nil || len(value) == 0 || value[0] != '"' {
		return clean(string(compact(value)))
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(strings.TrimSuffix(lines[i], "\r"))
	}
	return strings.Join(lines, "\n")
}
