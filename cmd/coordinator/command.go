package main

import (
	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/cmd/version"
)

// command is the whole command line; without a sub-command it serves.
func command() *cobra.Command {
	root := serveCommand()
	root.Use = "coordinator"
	root.Short = "One coordinator of a Folkmoot cluster"
	root.Long = "One of the three or five coordinators of a Folkmoot cluster. Without a sub-command it serves.\n\n" +
		"Settings come from flags, from FOLKMOOT_... in the environment (--http-addr is FOLKMOOT_HTTP_ADDR) and from a YAML\n" +
		"file (--config), the first that has one wins; coordinator config show --origin tells which.\n\n" +
		"SIGTERM and SIGINT end it: /readyz says no at once, requests are still served for --drain, leadership is handed over;\n" +
		"it stays a member. A second one does not wait for requests. SIGHUP has it read its files again.\n\n" +
		"Exit status: 0 ended as asked, 1 failed, 2 wrong command line or configuration, 3 the storage failed or the log is not\n" +
		"understood, 4 another process runs as this coordinator, on a copy of its data directory, 5 it was removed from the\n" +
		"cluster, 6 (kept for this) the volume is full."
	root.Version = version.Line("coordinator")
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(serveCommand(), devCommand(), demoCommand(), workerCommand(), reapCommand(), configCommand(), versionCommand())
	return root
}
