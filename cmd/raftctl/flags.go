package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/cmd/settings"
)

// flags are those that every command has. All but yes are settings, whose file
// is a context of the contexts file.
type flags struct {
	*settings.Set
	client          settings.Client
	output, context string
	timeout         time.Duration
	yes             bool
}

// outputs are the values of -o.
var outputs = []string{"table", "wide", "json", "yaml", "name"}

func (f *flags) define(root *cobra.Command) {
	f.Set = settings.New("context", contextLayer)
	f.client.Declare(f.Set)
	f.StringVarP(&f.output, "output", "o", "table", "table, wide, json (the REST answer as it came), yaml or name")
	f.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to try, over all addresses")
	f.StringVar(&f.context, "context", "", "which context of the contexts file to use")
	p := root.PersistentFlags()
	p.AddFlagSet(f.FlagSet)
	p.BoolVarP(&f.yes, "yes", "y", false, "do not ask before what cannot be taken back")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	root.RegisterFlagCompletionFunc("context", completeContexts)
}

// load applies the environment and the context to what no flag has set.
func (f *flags) load() error {
	if err := f.Load(settings.NonEmpty(os.Environ())); err != nil {
		return usage("%v", err)
	}
	return nil
}

// checkFlags refuses a command line that lacks a flag, or has too many. Cobra itself does it too late to be about usage.
func checkFlags(cmd *cobra.Command) error {
	err := cmd.ValidateRequiredFlags()
	if err == nil {
		err = cmd.ValidateFlagGroups()
	}
	if err != nil {
		return usage("%v", err)
	}
	return nil
}

// start loads the settings and makes the client.
func (a *app) start(cmd *cobra.Command) error {
	if cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd {
		a.started = true
		return nil // the command to be completed has the flags: complete starts with it
	}
	if err := checkFlags(cmd); err != nil {
		return err
	}
	if err := textOnly(cmd, cmd.Flags().Args()); err != nil {
		return err
	}
	if err := a.flags.load(); err != nil {
		return err
	}
	if err := a.checkOutput(); err != nil {
		return err
	}
	timeout := a.flags.timeout
	if timeout <= 0 {
		return usage("--timeout %s: want a time above zero", timeout)
	}
	config, err := a.flags.client.Config()
	if err != nil {
		return usage("%v", err)
	}
	config.Timeout, config.Attempt, config.Silent, config.UserAgent = timeout, min(timeout, client.DefaultAttempt), 3, "raftctl"
	if a.client, err = client.New(config); err != nil {
		return usage("--addr: %v", err)
	}
	a.started = true
	return nil
}

func (a *app) checkOutput() error {
	if !slices.Contains(outputs, a.flags.output) {
		return usage("--output %q: want one of %s", a.flags.output, strings.Join(outputs, ", "))
	}
	return nil
}

// limited bounds a change by --timeout where the client by itself would be more patient.
func (a *app) limited(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), a.flags.timeout)
}
