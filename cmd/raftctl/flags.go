package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
)

// flags are those that every command has.
type flags struct {
	addr, token, tokenFile, ca, cert, key, output, context string
	timeout                                                time.Duration
	yes                                                    bool
}

// outputs are the values of -o.
var outputs = []string{"table", "wide", "json", "yaml", "name"}

// settings are the flags that environment and contexts can set, with their variables in order of precedence.
var settings = map[string][]string{
	"addr":       {"FOLKMOOT_ADDR"},
	"token":      {"FOLKMOOT_TOKEN"},
	"token-file": {"FOLKMOOT_TOKEN_FILE"},
	"ca":         {"FOLKMOOT_CACERT", "FOLKMOOT_CA"},
	"cert":       {"FOLKMOOT_CLIENT_CERT", "FOLKMOOT_CERT"},
	"key":        {"FOLKMOOT_CLIENT_KEY", "FOLKMOOT_KEY"},
	"output":     {"FOLKMOOT_OUTPUT"},
	"timeout":    {"FOLKMOOT_TIMEOUT"},
	"context":    {"FOLKMOOT_CONTEXT"},
}

func (f *flags) define(root *cobra.Command) {
	p := root.PersistentFlags()
	p.StringVar(&f.addr, "addr", client.DefaultAddr, "coordinators, host:port,...: tried in turn")
	p.StringVar(&f.token, "token", "", "bearer token (better: --token-file)")
	p.StringVar(&f.tokenFile, "token-file", "", "file that holds the bearer token")
	p.StringVar(&f.ca, "ca", "", "PEM file of the CA to trust; makes https the default")
	p.StringVar(&f.cert, "cert", "", "PEM file of the client certificate")
	p.StringVar(&f.key, "key", "", "PEM file of the client key")
	p.StringVarP(&f.output, "output", "o", "table", "table, wide, json (the REST answer as it came), yaml or name")
	p.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to try, over all addresses")
	p.StringVar(&f.context, "context", "", "which context of the contexts file to use")
	p.BoolVarP(&f.yes, "yes", "y", false, "do not ask before what cannot be taken back")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	root.RegisterFlagCompletionFunc("context", completeContexts)
}

// start reads the settings, in the order flag, environment, context, default, and makes the client.
func (a *app) start(cmd *cobra.Command) error {
	if cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd {
		a.started = true
		return nil // the command to be completed has the flags: complete starts with it
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return usage("%v", err)
	}
	if err := textOnly(cmd, cmd.Flags().Args()); err != nil {
		return err
	}
	if err := a.settle(cmd); err != nil {
		return err
	}
	f := a.flags
	if err := a.checkOutput(); err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usage("--timeout %s: want a time above zero", f.timeout)
	}
	token := f.token
	if token == "" && f.tokenFile != "" {
		b, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return usage("--token-file: %v", err)
		}
		token = strings.TrimSpace(string(b))
	}
	tls, err := client.LoadTLS(f.ca, f.cert, f.key)
	if err != nil {
		return usage("--ca/--cert/--key: %v", err)
	}
	a.client, err = client.New(client.Config{
		Addrs: client.SplitAddrs(f.addr), Token: token, TLS: tls, Timeout: f.timeout,
		Attempt: min(f.timeout, client.DefaultAttempt), Silent: 3, UserAgent: "raftctl",
	})
	if err != nil {
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

// settle gives each setting that no flag set its value from the environment or else from the context.
func (a *app) settle(cmd *cobra.Command) error {
	fromEnv := func(name string) (string, string) {
		for _, v := range settings[name] {
			if s := os.Getenv(v); s != "" {
				return v, s
			}
		}
		return "", ""
	}
	changed := func(name string) bool { f := cmd.Flag(name); return f != nil && f.Changed }
	if v, s := fromEnv("context"); v != "" && !changed("context") {
		a.flags.context = s
	}
	chosen, err := loadContext(a.flags.context)
	if err != nil {
		return err
	}
	fromContext := chosen.settings()
	// A token named closer to the caller beats a token file named farther away, and the other way round.
	for _, pair := range [][2]string{{"token", "token-file"}, {"token-file", "token"}} {
		if _, env := fromEnv(pair[0]); changed(pair[0]) || env != "" {
			delete(fromContext, pair[1])
		}
	}
	for name := range settings {
		if changed(name) || name == "context" {
			continue
		}
		if changed("token") && name == "token-file" || changed("token-file") && name == "token" {
			continue
		}
		source, value := fromEnv(name)
		if source == "" {
			source, value = "context "+chosen.name, fromContext[name]
		}
		if value == "" {
			continue
		}
		if err := cmd.Flag(name).Value.Set(value); err != nil {
			return usage("%s: --%s %q: %v", source, name, value, err)
		}
	}
	return nil
}

// limited bounds a change by --timeout where the client by itself would be more patient.
func (a *app) limited(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), a.flags.timeout)
}
