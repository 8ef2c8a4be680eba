package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/client/worker"
	"github.com/folkmoot/folkmoot/cmd/settings"
	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// workerCommand is a worker as the demo needs it, so that one binary is
// enough; the program worker has all the settings.
func workerCommand() *cobra.Command {
	var addr, name string
	var slots int
	cmd := &cobra.Command{
		Use: "worker", Short: "Run parts of jobs (the program worker has more settings)", Hidden: true, Args: noArgs,
		Example:      "  coordinator worker --addr 127.0.0.1:7380 --name w1",
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client.New(client.Config{Addrs: client.SplitAddrs(addr)})
			if err != nil {
				return usageError{err}
			}
			defer c.Close()
			log, _, err := settings.Logging{Level: "info"}.Open(os.Stderr)
			if err != nil {
				return err
			}
			runtimes, missing := work.Offered(nil)
			if len(runtimes) == 0 {
				return fmt.Errorf("no runtime works here: %w", missing)
			}
			if missing != nil {
				log.Warn("some runtimes are not offered: they do not work here", "error", missing)
			}
			return worker.Run(cmd.Context(), worker.Config{
				Client: c, Name: name, Runtimes: runtimes, Slots: slots, Logger: log,
				Grace: -1, // whoever ends a demo midway does not wait for its job
				Signed: func(in wire.SignedIn) {
					fmt.Fprintf(cmd.OutOrStdout(), "%s signed in at %s\n", in.FullName, in.Home)
				},
			})
		},
	}
	cmd.Flags().StringVar(&addr, "addr", client.DefaultAddr, "coordinators, tried in turn")
	cmd.Flags().StringVar(&name, "name", fmt.Sprintf("worker-%d", os.Getpid()), "name to sign in under")
	cmd.Flags().IntVar(&slots, "slots", 1, "parts at once")
	return cmd
}
