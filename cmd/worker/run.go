package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/client/worker"
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

// settings are the flags, each of which FOLKMOOT_<FLAG> sets too.
type settings struct {
	addr, token, tokenFile, ca, cert, key string
	name, namespace, host, group, dir     string
	runtimes, labels                      []string
	slots                                 int
	lease, grace                          time.Duration
	logFormat, logLevel                   string
}

// run is the whole program; it gives the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var s settings
	host, _ := os.Hostname()
	started := false
	cmd := &cobra.Command{
		Use: "worker", Short: "Run parts of jobs for a cluster of coordinators", Args: cobra.NoArgs,
		Long: "Signs in at any of --addr and runs the parts it is given. When its coordinator goes away it takes its name to the\n" +
			"next one, parts and all. On SIGTERM it takes no more parts, lets those under way finish within --grace, and signs out;\n" +
			"a second signal ends it at once.\n\n" +
			"Every flag --foo-bar is FOLKMOOT_FOO_BAR in the environment. Exit codes: 0 ended, 1 refused, 2 usage.",
		Example:       "  worker --addr n1:7380,n2:7380 --slots 4\n  worker --name bench1 --runtimes sh --labels host=lab1,disk=fast",
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := s.config(cmd, stderr)
			if err != nil {
				return err
			}
			defer cfg.Client.Close()
			started = true
			cfg.Signed = func(in wire.SignedIn) {
				fmt.Fprintf(stdout, "%s signed in at %s\n", in.FullName, in.Home)
			}
			log.Info("worker starts", "name", cfg.Name, "runtimes", strings.Join(work.Names(cfg.Runtimes), ","), "slots", cfg.Slots)
			return worker.Run(ctx, cfg)
		},
	}
	cmd.Version = version.Line("worker")
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  worker version",
		Run: func(*cobra.Command, []string) { fmt.Fprintln(stdout, version.Line("worker")) },
	})
	f := cmd.Flags()
	f.StringVar(&s.addr, "addr", client.DefaultAddr, "coordinators, host:port,...: tried in turn")
	f.StringVar(&s.token, "token", "", "bearer token (better: --token-file)")
	f.StringVar(&s.tokenFile, "token-file", "", "file that holds the bearer token")
	f.StringVar(&s.ca, "ca", "", "PEM file of the CA to trust; makes https the default")
	f.StringVar(&s.cert, "cert", "", "PEM file of the client certificate")
	f.StringVar(&s.key, "key", "", "PEM file of the client key")
	f.StringVar(&s.name, "name", "", "name to sign in under; default: worker-<host name>-<process id>")
	f.StringVar(&s.namespace, "namespace", "", "namespace of the name; default: that of the coordinator asked")
	f.StringSliceVar(&s.runtimes, "runtimes", []string{"python3", "sh"}, "runtimes to offer; those that do not work here are left out")
	f.IntVar(&s.slots, "slots", 1, "parts at once")
	f.StringSliceVar(&s.labels, "labels", nil, "KEY=VALUE,...: jobs may ask for them")
	f.StringVar(&s.host, "host", host, "host, for its place")
	f.StringVar(&s.group, "group", "", "group of hosts, for its place")
	f.StringVar(&s.dir, "dir", "", "where parts get their temporary directories; default: the system's")
	f.DurationVar(&s.lease, "lease", client.DefaultLease, "how long the name lives without a sign of life")
	f.DurationVar(&s.grace, "grace", 10*time.Second, "how long parts may go on after SIGTERM")
	f.StringVar(&s.logFormat, "log-format", "", "text or json; default: text on a terminal, else json")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
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
		return exitRefused
	}
	return exitDone
}

// config checks the settings; its errors name the flag.
func (s *settings) config(cmd *cobra.Command, stderr io.Writer) (worker.Config, *slog.Logger, error) {
	fail := func(format string, args ...any) (worker.Config, *slog.Logger, error) {
		return worker.Config{}, nil, fmt.Errorf(format, args...)
	}
	if err := fromEnvironment(cmd); err != nil {
		return fail("%w", err)
	}
	log, err := logger(s.logFormat, s.logLevel, stderr)
	if err != nil {
		return fail("%w", err)
	}
	labels := map[string]string{}
	for _, l := range s.labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return fail("--labels %q: want KEY=VALUE", l)
		}
		if _, told := labels[k]; told {
			return fail("--labels: %s is told twice", k)
		}
		labels[k] = v
	}
	for _, r := range s.runtimes {
		if !slices.Contains([]string{"python3", "sh"}, r) {
			return fail("--runtimes %q: there are python3 and sh", r)
		}
	}
	runtimes, missing := work.Offered(s.runtimes)
	if len(runtimes) == 0 {
		return fail("--runtimes %s: none of them works here: %w", strings.Join(s.runtimes, ","), missing)
	}
	if missing != nil {
		log.Warn("some runtimes are not offered: they do not work here", "error", missing)
	}
	if s.slots < 1 {
		return fail("--slots %d: want at least 1", s.slots)
	}
	if s.grace <= 0 {
		s.grace = -1
	}
	if s.name == "" {
		host, _, _ := strings.Cut(s.host, ".")
		s.name = fmt.Sprintf("worker-%s-%d", host, os.Getpid())
	}
	if s.token != "" {
		s.token = strings.Clone(s.token) // it may be a piece of the argument that is blanked
		if err := work.Hide(s.token); err != nil {
			log.Warn("parts may read the token in /proc: give it by --token-file", "error", err)
		}
	}
	if s.token == "" && s.tokenFile != "" {
		b, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return fail("--token-file: %w", err)
		}
		s.token = strings.TrimSpace(string(b))
	}
	tls, err := client.LoadTLS(s.ca, s.cert, s.key)
	if err != nil {
		return fail("--ca/--cert/--key: %w", err)
	}
	c, err := client.New(client.Config{Addrs: client.SplitAddrs(s.addr), Token: s.token, TLS: tls, UserAgent: "folkmoot-worker"})
	if err != nil {
		return fail("--addr: %w", err)
	}
	return worker.Config{
		Client: c, Name: s.name, Namespace: s.namespace, Labels: labels,
		Place: wire.Place{Host: s.host, Group: s.group}, Lease: s.lease, Runtimes: runtimes, Slots: s.slots,
		Dir: s.dir, Grace: s.grace, Logger: log,
	}, log, nil
}

// fromEnvironment gives every flag that was not set the value of its variable.
func fromEnvironment(cmd *cobra.Command) error {
	also := map[string]string{"ca": "FOLKMOOT_CACERT", "cert": "FOLKMOOT_CLIENT_CERT", "key": "FOLKMOOT_CLIENT_KEY"}
	for _, name := range []string{
		"addr", "token", "token-file", "ca", "cert", "key", "name", "namespace", "runtimes", "slots",
		"labels", "host", "group", "dir", "lease", "grace", "log-format", "log-level",
	} {
		f := cmd.Flag(name)
		variable := "FOLKMOOT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		value := os.Getenv(variable)
		if value == "" && also[name] != "" {
			variable = also[name]
			value = os.Getenv(variable)
		}
		if f.Changed || value == "" {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			return fmt.Errorf("%s %q: %w", variable, value, err)
		}
	}
	return nil
}

func logger(format, level string, w io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	if format == "" {
		format = "json"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			format = "text"
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", format)
}
