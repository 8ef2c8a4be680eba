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
		"file (--config), the first that has one wins; coordinator config show --origin tells which."
	root.Version = version.Line("coordinator")
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(serveCommand(), devCommand(), demoCommand(), workerCommand(), keepCommand(), configCommand(), versionCommand())
	return root
}
