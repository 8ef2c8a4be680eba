package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
			p := process{c: c, supervisor: newSupervisor(c.Logger), hangUps: newHangUps(c.Logger), out: cmd.OutOrStdout()}
			defer p.hangUps.stop()
			return p.serve(cmd.Context())
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

// process is a coordinator as a process of its own.
type process struct {
	c          node.Config
	supervisor supervisor
	hangUps    *hangUps
	out        io.Writer
}

// serve opens a node and runs it until ctx ends; one that was removed from its
// cluster may be opened anew.
func (p *process) serve(ctx context.Context) error {
	limitMemory() // before anything is bounded by it
	for {
		err := p.serveOnce(ctx)
		var reopen *node.ReopenError
		if !errors.As(err, &reopen) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		p.c.Logger.Info("opening anew", "reason", err)
	}
}

func (p *process) serveOnce(asked context.Context) error {
	ctx, stop := context.WithCancel(asked)
	defer stop()
	opened := p.supervisor.opening()
	n, err := node.Open(ctx, p.c)
	opened()
	if err != nil {
		return err
	}
	defer hurryAtSecondSignal(ctx, p.c.Logger, n.Hurry)()
	p.hangUps.call(func() { p.supervisor.reload(n.Reload) })
	defer p.hangUps.call(nil)
	fmt.Fprintln(p.out, ready(n.Addrs()))
	defer p.supervisor.opened(n)()
	defer p.sayWhenAsked(asked, n)()
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

// sayWhenAsked says that the process stops once it is asked to, and not when a node
// ends for another reason: it may be opened anew. The function that it returns
// takes that back, or waits until it is said.
func (p *process) sayWhenAsked(asked context.Context, n *node.Node) func() {
	said := make(chan struct{})
	takeBack := context.AfterFunc(asked, func() {
		defer close(said)
		p.c.Logger.Info("coordinator stops", "reason", context.Cause(asked))
		p.supervisor.stopping(n.StopTime() + shutdownLimit)
	})
	return func() {
		if !takeBack() {
			<-said
		}
	}
}
