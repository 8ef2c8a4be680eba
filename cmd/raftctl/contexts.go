package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
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

func (c cluster) settings() map[string]string {
	return map[string]string{
		"addr": c.Addr, "token": c.Token, "token-file": c.TokenFile, "ca": c.CA, "cert": c.Cert,
		"key": c.Key, "output": c.Output, "timeout": c.Timeout,
	}
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
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, usage("contexts: %v", err)
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&all); err != nil {
		return all, usage("contexts file %s: %v", file, err)
	}
	return all, nil
}

// loadContext gives the context named, or the current one; with neither it is empty.
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
		Use: "list", Short: "List the contexts", Args: cobra.NoArgs, Example: "  raftctl contexts list",
		PersistentPreRunE: offline,
		RunE: func(*cobra.Command, []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			t := a.table("", "CONTEXT", "ADDRESSES")
			for _, n := range all.names() {
				mark := ""
				if n == all.Current {
					mark = "*"
				}
				t.row(mark, n, all.Contexts[n].Addr)
			}
			return t.render(a.out)
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
	cmd := group("contexts", "Clusters one speaks to often, in ~/.config/folkmoot/contexts.yaml", list, use)
	cmd.Long = `Contexts are named settings in ~/.config/folkmoot/contexts.yaml:

  current: lab
  contexts:
    lab:
      addr: n1.lab:7380,n2.lab:7380
      token_file: /home/me/.lab-token
      ca: /home/me/lab-ca.pem`
	return cmd
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
	tmp := file + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	return nil
}
