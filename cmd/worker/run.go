//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client/worker"
	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/cmd/version"
	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// Exit codes: as raftctl's, as far as a worker can have them.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	host, _ := os.Hostname()
	started := false
	cmd := command(host, &started)
	cmd.SetArgs(args)
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "worker: %v\n", err)
		if !started {
			fmt.Fprintln(stderr, "See worker --help.")
			return exitUsage
		}
		if hint := tokenHint(err); hint != "" {
			fmt.Fprintln(stderr, hint)
		}
		return exitRefused
	}
	return exitDone
}

// tokenHint says what to do about a refusal that a token is to blame for; "" is another error.
func tokenHint(err error) string {
	refusal := (*wire.Error)(nil)
	switch errors.As(err, &refusal); {
	case refusal == nil:
	case refusal.Code == wire.CodeUnauthorized:
		return "give a token that is known there by --token-file or FOLKMOOT_TOKEN_FILE; worker config show --origin tells which is used"
	case refusal.Needs != "":
		return fmt.Sprintf("token %s has no grant for %s: a worker needs components:write in the namespace that it signs in under, by default that of the coordinator, and jobs:work in those of its jobs", refusal.Token, refusal.Needs)
	}
	return ""
}

// command returns the whole command line. It sets started once the settings
// are good: later errors are not about usage.
func command(host string, started *bool) *cobra.Command {
	s := newWorkerSettings(host)
	cmd := &cobra.Command{
		Use: "worker", Short: "Run parts of jobs for a cluster of coordinators", Args: cobra.NoArgs,
		Long: "Signs in at any of --addr and runs the parts it is given. When its coordinator goes away it takes its name to the\n" +
			"next one, parts and all. On SIGTERM it takes no more parts, lets those under way finish within --grace, and signs out;\n" +
			"a second signal ends it at once.\n\n" +
			"Settings come from flags, from FOLKMOOT_... in the environment (--foo-bar is FOLKMOOT_FOO_BAR) and from a YAML file\n" +
			"(--config), the first that has one wins; worker config show --origin tells which.\n\n" +
			"Exit codes: 0 ended, 1 refused, 2 usage.",
		Example:       "  worker --addr n1:7380,n2:7380 --slots 4\n  worker --name bench1 --runtimes sh --labels host=lab1,disk=fast",
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.config(settings.NonEmpty(os.Environ()), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer cfg.Client.Close()
			*started = true
			cfg.Signed = func(in wire.SignedIn) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s signed in at %s\n", in.FullName, in.Home)
			}
			cfg.Logger.Info("worker starts", "name", cfg.Name, "runtimes", strings.Join(work.Names(cfg.Runtimes), ","), "slots", cfg.Slots)
			return worker.Run(cmd.Context(), cfg)
		},
	}
	cmd.Version = version.Line("worker")
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.Flags().AddFlagSet(s.FlagSet)
	cmd.AddCommand(configCommand(host), installCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  worker version",
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version.Line("worker")) },
	})
	return cmd
}

func configCommand(host string) *cobra.Command {
	s := newWorkerSettings(host)
	var origin bool
	show := &cobra.Command{
		Use: "show", Short: "Show every setting, and with --origin where it comes from", Args: cobra.NoArgs,
		Example: "  worker config show --origin --config /etc/folkmoot-worker.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.Load(settings.NonEmpty(os.Environ())); err != nil {
				return err
			}
			return settings.Print(cmd.OutOrStdout(), s.Rows(), origin)
		},
	}
	show.Flags().AddFlagSet(s.FlagSet)
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	parent.AddCommand(show)
	return parent
}
