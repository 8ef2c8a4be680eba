package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/node"
)

// shutdownLimit bounds a graceful end: transfer 5 s, draining 20 s, stores.
const shutdownLimit = 40 * time.Second

func serveCommand() *cobra.Command {
	s := newServeSettings()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one coordinator until it is interrupted (the default command)",
		Example: `  coordinator serve --data-dir /var/lib/folkmoot
  coordinator serve --id n1 --join 127.0.0.1:7301,127.0.0.1:7302,127.0.0.1:7303 --bootstrap-expect 3`,
		Args:          noSubcommand,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.config(os.Environ())
			if err != nil {
				return usageError{err}
			}
			hangUps := newHangUps(c.Logger)
			defer hangUps.stop()
			return serve(cmd.Context(), c, func(n *node.Node) {
				hangUps.call(n.Reload)
				fmt.Fprintln(cmd.OutOrStdout(), ready(n.Addrs()))
			})
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.Flags().AddFlagSet(s.FlagSet)
	return cmd
}

// ready is the line that names every port of a coordinator: a port that was
// given as 0 is known from here alone.
func ready(a node.Addrs) string {
	line := fmt.Sprintf("coordinator %s ready to be asked: http=%s peer=%s component=%s ops=%s", a.ID, a.HTTP, a.Peer, a.Component, a.Ops)
	for _, door := range []struct{ name, addr string }{
		{"leco", a.LECO},
		{"leco-data", a.LECOData[0]},
		{"leco-data-subscribers", a.LECOData[1]},
		{"leco-log", a.LECOLogs[0]},
		{"leco-log-subscribers", a.LECOLogs[1]},
	} {
		if door.addr != "" {
			line += fmt.Sprintf(" %s=%s", door.name, door.addr)
		}
	}
	return line
}

func noSubcommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q: serve, dev, demo, config or version", args[0])}
	}
	return nil
}

// noArgs refuses arguments of a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but was given %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

// serve opens a node, passes it to opened and runs it until ctx ends; one that was
// removed from its cluster may be opened anew.
func serve(ctx context.Context, c node.Config, opened func(*node.Node)) error {
	for {
		err := serveOnce(ctx, c, opened)
		var reopen *node.ReopenError
		if !errors.As(err, &reopen) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		c.Logger.Info("opening anew", "reason", err)
	}
}

func serveOnce(ctx context.Context, c node.Config, opened func(*node.Node)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n, err := node.Open(ctx, c)
	if err != nil {
		return err
	}
	defer hurryAtSecondSignal(ctx, c.Logger, n.Hurry)()
	opened(n)
	defer context.AfterFunc(ctx, func() { c.Logger.Info("coordinator stops", "reason", context.Cause(ctx)) })()
	limitMemory()
	tuned := make(chan struct{})
	go func() {
		defer close(tuned)
		tuneGC(ctx)
	}()
	err = n.Run(ctx)
	stop()
	<-tuned
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	if closeErr := n.Close(end); err == nil {
		err = closeErr
	}
	return err
}
