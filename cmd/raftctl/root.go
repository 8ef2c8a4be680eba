package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/cmd/version"
)

// app is one invocation.
type app struct {
	in       io.Reader
	out, err io.Writer
	flags    flags
	client   *client.Client
	started  bool // past the reading of the command line: errors are no longer about usage
	now      func() time.Time
	width    func() int // columns of the terminal; 0: the output is no terminal
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr, now: time.Now, width: func() int { return widthOf(stdout) }}
	if a.color() {
		text.EnableColors()
	} else {
		text.DisableColors()
	}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if a.client != nil {
		a.client.Close()
	}
	return a.report(cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "raftctl",
		Short: "Ask a cluster of coordinators and tell it what to do",
		Long: "raftctl speaks to any coordinator of a cluster; they all take every request.\n\n" +
			"Exit codes: 0 done, 1 refused or failed, 2 usage, 3 unavailable, 4 unknown outcome.\n" +
			"Settings: flags, then FOLKMOOT_ADDR, _TOKEN, _TOKEN_FILE, _CACERT, _CLIENT_CERT, _CLIENT_KEY, _CONTEXT, _OUTPUT,\n" +
			"_TIMEOUT, then the context of ~/.config/folkmoot/contexts.yaml; raftctl config show --origin tells which.",
		Example:           "  raftctl status\n  raftctl --addr n1:7380,n2:7380 members list\n  raftctl jobs run hello.py --items 1,2,3 --follow",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.start(cmd) },
	}
	root.Version = version.Line("raftctl")
	root.SetVersionTemplate("{{.Version}}\n")
	a.flags.define(root)
	root.AddCommand(a.auditCmd())
	root.AddCommand(a.dataDirCmds()...)
	root.AddCommand(a.statusCmd(), a.membersCmd(), a.leaderCmd(), a.autopilotCmd(), a.rolloutCmd(), a.levelCmd(), a.componentsCmd(), a.namespacesCmd(), a.jobsCmd(),
		a.workersCmd(), a.tokensCmd(), a.snapshotCmd(), a.debugCmd(), a.caCmd(), a.eventsCmd(), a.waitCmd(), a.callCmd(), a.sendCmd(), a.receiveCmd(), a.contextsCmd(), a.configCmd(), a.versionCmd(), a.completionCmd(root))
	return root
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  raftctl version",
		PersistentPreRunE: func(*cobra.Command, []string) error { a.started = true; return nil },
		Run:               func(*cobra.Command, []string) { fmt.Fprintln(a.out, version.Line("raftctl")) },
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: needSub}
	var example []string
	for _, s := range subs {
		cmd.AddCommand(s)
		first, _, _ := strings.Cut(s.Example, "\n")
		example = append(example, first)
	}
	cmd.Example = strings.Join(example, "\n")
	return cmd
}

func needSub(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	var names []string
	for _, s := range cmd.Commands() {
		names = append(names, s.Name())
	}
	return usage("%s needs one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
}

// terminal reports whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// widthOf is how many columns a terminal has, 0 of anything else.
func widthOf(w any) int {
	if !terminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

func (a *app) color() bool {
	return terminal(a.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// confirm asks before something that cannot be taken back; off a terminal only --yes will do.
func (a *app) confirm(question string) error {
	if a.flags.yes {
		return nil
	}
	if !terminal(a.in) || !terminal(a.err) {
		return usage("%s: not without --yes, since nobody can be asked here", question)
	}
	fmt.Fprintf(a.err, "%s? Type yes: ", question)
	var answer string
	if _, err := fmt.Fscanln(a.in, &answer); err != nil || !strings.EqualFold(answer, "yes") {
		return errors.New("not confirmed, nothing was done")
	}
	return nil
}
