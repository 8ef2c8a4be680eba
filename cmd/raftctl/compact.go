//go:build unix

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/raftnode/disk"
)

func (a *app) compactCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "compact --data-dir DIR", Short: "Give back what the log's file of a stopped coordinator does not need", Args: cobra.NoArgs,
		Long: "Writes raft.db anew without the space of entries that are gone, and puts it in the place of the old one when it is whole: the\n" +
			"volume needs room for both. The coordinator must be stopped; a directory in use is refused. Needs no cluster.",
		Example:           "  raftctl compact --data-dir /var/lib/folkmoot",
		PersistentPreRunE: a.offline,
		RunE: func(*cobra.Command, []string) error {
			before, after, err := disk.Compact(dir)
			if err != nil {
				return err
			}
			return a.done(fmt.Appendf(nil, `{"before":%d,"after":%d}`, before, after), "compact", "raft.db had %d bytes and has %d", before, after)
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "`DIR` of the stopped coordinator")
	cmd.MarkFlagRequired("data-dir")
	return cmd
}
