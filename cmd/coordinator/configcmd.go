package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/node"
)

// configCheckCommand has settings of its own: those of show are not its.
func configCheckCommand() *cobra.Command {
	s := newServeSettings()
	check := &cobra.Command{
		Use: "check", Short: "Say what serve would refuse in the configuration: exit status 2 and the flag", Args: noArgs,
		Long: "Say what serve would refuse in the configuration, with exit status 2 and the flag.\n\n" +
			"Every file that a setting names is read. The data directory is not touched and no port is opened, so it may be\n" +
			"used beside a running coordinator, before that is told to read its files again or is started anew.",
		Example: "  coordinator config check --config /etc/folkmoot/coordinator.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.config(os.Environ())
			if err != nil {
				return usageError{err}
			}
			if err := node.Check(c); err != nil {
				return usageError{err}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration can be used")
			return err
		},
	}
	check.Flags().AddFlagSet(s.FlagSet)
	return check
}

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
	parent.AddCommand(show, configCheckCommand())
	return parent
}
