package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	show := &cobra.Command{
		Use: "show", Short: "Show every setting, and with --origin where it comes from", Args: noMore,
		Example: "  coordinator config show --origin --config /etc/folkmoot.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, os.Environ())
			if err != nil {
				return errUsage{err}
			}
			origin, _ := cmd.Flags().GetBool("origin")
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			keys := s.Keys()
			slices.Sort(keys)
			for _, k := range keys {
				if k == "origin" {
					continue
				}
				if origin {
					fmt.Fprintf(w, "%s\t%v\t%s\n", k, s.Get(k), s.origin[k])
				} else {
					fmt.Fprintf(w, "%s\t%v\n", k, s.Get(k))
				}
			}
			return w.Flush()
		},
	}
	serveFlags(show.Flags())
	show.Flags().Bool("origin", false, "say where each value comes from")
	parent.AddCommand(show)
	return parent
}
