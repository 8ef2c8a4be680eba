package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/cmd/version"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Example: "  coordinator version",
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), version.Line("coordinator"))
		},
	}
}
