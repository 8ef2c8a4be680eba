package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// contexts is the file ~/.config/folkmoot/contexts.yaml.
type contexts struct {
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]cluster `yaml:"contexts"`
}

// cluster is one cluster and how to reach it.
type cluster struct {
	name      string
	Addr      string `yaml:"addr,omitempty"`
	Token     string `yaml:"token,omitempty"`
	TokenFile string `yaml:"token_file,omitempty"`
	CA        string `yaml:"ca,omitempty"`
	Cert      string `yaml:"cert,omitempty"`
	Key       string `yaml:"key,omitempty"`
	Output    string `yaml:"output,omitempty"`
	Timeout   string `yaml:"timeout,omitempty"`
}

// clusterKeys are what a context may hold.
var clusterKeys = []string{"addr", "token", "token_file", "ca", "cert", "key", "output", "timeout"}

// layer returns the settings that the context holds.
func (c cluster) layer() settings.Layer {
	l := settings.Layer{Origin: "context " + c.name, Label: "context " + c.name, Values: map[string]settings.Value{}}
	for name, text := range map[string]string{
		"addr": c.Addr, "token": c.Token, "token-file": c.TokenFile, "ca": c.CA, "cert": c.Cert,
		"key": c.Key, "output": c.Output, "timeout": c.Timeout,
	} {
		if text != "" {
			l.Values[name] = settings.Value{Text: text}
		}
	}
	return l
}

// contextLayer is the file of raftctl's settings: the context named, or the
// current one.
func contextLayer(name string) (settings.Layer, error) {
	c, err := loadContext(name)
	if err != nil || c.name == "" {
		return settings.Layer{}, err
	}
	return c.layer(), nil
}

func contextsFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "folkmoot", "contexts.yaml"), nil
}

// readContexts reads the file; none is as good as an empty one.
func readContexts() (contexts, error) {
	all := contexts{Contexts: map[string]cluster{}}
	file, err := contextsFile()
	if err != nil {
		return all, nil // no home, no contexts
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, usage("contexts: %v", err)
	}
	if err := errors.Join(yaml.Unmarshal(b, &all), checkContexts(b)); err != nil {
		return all, usage("contexts file %s: %v", file, err)
	}
	return all, nil
}

// checkContexts refuses keys of a contexts file that mean nothing.
func checkContexts(b []byte) error {
	var tree map[string]any
	if yaml.Unmarshal(b, &tree) != nil {
		return nil // changed already
	}
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if err := settings.KnownKey(key, []string{"current", "contexts"}); err != nil {
			return err
		}
	}
	all, _ := tree["contexts"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c, _ := all[name].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(c)) {
			if err := settings.KnownKey(key, clusterKeys); err != nil {
				return fmt.Errorf("context %s: %w", name, err)
			}
		}
	}
	return nil
}

// loadContext returns the context named, or the current one; with neither it is empty.
func loadContext(name string) (cluster, error) {
	all, err := readContexts()
	if err != nil {
		return cluster{}, err
	}
	if name == "" {
		name = all.Current
	}
	if name == "" {
		return cluster{}, nil
	}
	c, ok := all.Contexts[name]
	if !ok {
		return c, usage("no context %q in the contexts file (there are: %v)", name, all.names())
	}
	c.name = name
	return c, nil
}

func (all contexts) names() []string {
	var names []string
	for n := range all.Contexts {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, _ := readContexts()
	return all.names(), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) contextsCmd() *cobra.Command {
	offline := func(*cobra.Command, []string) error { a.started = true; return nil }
	list := &cobra.Command{
		Use: "list", Short: "List the contexts", Args: cobra.NoArgs, Example: "  raftctl contexts list\n  raftctl contexts list -o json",
		PersistentPreRunE: offline,
		RunE: func(*cobra.Command, []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			if err := a.checkOutput(); err != nil {
				return err
			}
			return a.show(a.out, a.contextsAnswer(all))
		},
	}
	use := &cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), Example: "  raftctl contexts use lab",
		PersistentPreRunE: offline, ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			if _, ok := all.Contexts[args[0]]; !ok {
				return usage("no context %q in the contexts file (there are: %v)", args[0], all.names())
			}
			all.Current = args[0]
			return all.write()
		},
	}
	cmd := group("contexts", "Clusters one speaks to often, in ~/.config/folkmoot/contexts.yaml", list, a.contextsAddCmd(offline), use)
	cmd.Long = `Contexts are named settings in ~/.config/folkmoot/contexts.yaml:

  current: lab
  contexts:
    lab:
      addr: n1.lab:7380,n2.lab:7380
      token_file: /home/me/.lab-token
      ca: /home/me/lab-ca.pem`
	return cmd
}

// contextsAnswer shows contexts without their tokens.
func (a *app) contextsAnswer(all contexts) answer {
	type row struct {
		Name      string `json:"name"`
		Current   bool   `json:"current"`
		Addr      string `json:"addr,omitempty"`
		TokenFile string `json:"token_file,omitempty"`
		CA        string `json:"ca,omitempty"`
		Cert      string `json:"cert,omitempty"`
		Key       string `json:"key,omitempty"`
		Output    string `json:"output,omitempty"`
		Timeout   string `json:"timeout,omitempty"`
	}
	v := answer{}
	rows := []row{}
	for _, n := range all.names() {
		c := all.Contexts[n]
		rows = append(rows, row{n, n == all.Current, c.Addr, c.TokenFile, c.CA, c.Cert, c.Key, c.Output, c.Timeout})
		v.names = append(v.names, "context/"+n)
	}
	v.body = marshal(map[string]any{"contexts": rows})
	v.table = func(bool) *table {
		t := a.table("", "CONTEXT", "ADDRESSES")
		for _, r := range rows {
			mark := ""
			if r.Current {
				mark = "*"
			}
			t.row(mark, r.Name, r.Addr)
		}
		return t
	}
	return v
}

func (a *app) contextsAddCmd(offline func(*cobra.Command, []string) error) *cobra.Command {
	var replace, use bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Keep the settings of this command line as a context", Args: cobra.ExactArgs(1),
		Long: "Keeps what --addr, --token-file, --token, --ca, --cert, --key, --output and --timeout say on this command line as a context.\n" +
			"The first context is the current one, later ones with --use or by contexts use.",
		Example:           "  raftctl contexts add lab --addr n1.lab:7380,n2.lab:7380 --token-file ~/.lab-token --ca lab-ca.pem",
		PersistentPreRunE: offline,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.contextOf(cmd)
			if err != nil {
				return err
			}
			all, err := readContexts()
			if err != nil {
				return err
			}
			if _, known := all.Contexts[args[0]]; known && !replace {
				return usage("there is a context %q in the contexts file: --replace replaces it", args[0])
			}
			if all.Contexts == nil {
				all.Contexts = map[string]cluster{}
			}
			all.Contexts[args[0]] = c
			if use || all.Current == "" {
				all.Current = args[0]
			}
			if err := all.write(); err != nil {
				return err
			}
			current := ""
			if all.Current == args[0] {
				current = ", the current one"
			}
			_, err = fmt.Fprintf(a.out, "context %s added%s\n", args[0], current)
			return err
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of a context of that name")
	cmd.Flags().BoolVar(&use, "use", false, "make it the current one")
	return cmd
}

// contextOf makes a context of the flags that were given. Files are named from the root, since it is used from anywhere.
func (a *app) contextOf(cmd *cobra.Command) (c cluster, err error) {
	for name, to := range map[string]*string{
		"addr": &c.Addr, "token": &c.Token, "token-file": &c.TokenFile, "ca": &c.CA, "cert": &c.Cert, "key": &c.Key, "output": &c.Output, "timeout": &c.Timeout,
	} {
		if !cmd.Flag(name).Changed {
			continue
		}
		*to = cmd.Flag(name).Value.String()
		if slices.Contains([]string{"token-file", "ca", "cert", "key"}, name) {
			if *to, err = filepath.Abs(*to); err == nil {
				_, err = os.Stat(*to)
			}
			if err != nil {
				return c, usage("--%s: %v", name, err)
			}
		}
	}
	switch {
	case c.Addr == "":
		return c, usage("contexts add: --addr is needed")
	case c.Token != "" && c.TokenFile != "":
		return c, usage("contexts add: --token or --token-file, not both")
	}
	if _, err := client.New(client.Config{Addrs: client.SplitAddrs(c.Addr)}); err != nil {
		return c, usage("--addr: %v", err)
	}
	return c, a.checkOutput()
}

// write replaces the file at once, so that a crash leaves the old or the new one.
func (all contexts) write() error {
	file, err := contextsFile()
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	if err := durable.WriteText(file, b); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	return nil
}
