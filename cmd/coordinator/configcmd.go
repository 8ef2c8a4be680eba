package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/cmd/settings"
)

func configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	s := newServeSettings()
	var origin bool
	show := &cobra.Command{
		Use: "show", Short: "Show every setting, and with --origin where it comes from", Args: noArgs,
		Example: "  coordinator config show --origin --config /etc/folkmoot.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.Load(os.Environ()); err != nil {
				return usageError{err}
			}
			return settings.Print(cmd.OutOrStdout(), s.Rows(), origin)
		},
	}
	show.Flags().AddFlagSet(s.FlagSet)
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	parent.AddCommand(show)
	return parent
}
