package main

import (
	"github.com/spf13/cobra"
)

// configCmd shows the settings; it asks nobody.
func (a *app) configCmd() *cobra.Command {
	var origin bool
	show := &cobra.Command{
		Use: "show", Short: "Show every setting, and with --origin where it comes from", Args: cobra.NoArgs,
		Example:           "  raftctl config show --origin\n  raftctl config show --context lab -o json",
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.flags.load() },
		RunE: func(*cobra.Command, []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			a.started = true
			return a.show(a.out, a.settingsAnswer(origin))
		},
	}
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	return group("config", "Look at the configuration", show)
}

// settingsAnswer shows the settings without the token.
func (a *app) settingsAnswer(origin bool) answer {
	rows := a.flags.Rows()
	v := answer{body: marshal(map[string]any{"settings": rows})}
	for _, r := range rows {
		v.names = append(v.names, "setting/"+r.Name)
	}
	v.table = func(wide bool) *table {
		if !origin && !wide {
			t := a.table("SETTING", "VALUE")
			for _, r := range rows {
				t.row(r.Name, r.Value)
			}
			return t
		}
		t := a.table("SETTING", "VALUE", "ORIGIN")
		for _, r := range rows {
			t.row(r.Name, r.Value, r.Origin)
		}
		return t
	}
	return v
}
