//go:build unix

package main

import (
	"flag"
	"testing"

	"github.com/folkmoot/folkmoot/cmd/clipage"
)

//go:generate go test -run ^TestCLIPage$ . -update

var update = flag.Bool("update", false, "write the section of docs/cli.md anew")

// docs/cli.md says what --help says.
func TestCLIPage(t *testing.T) { clipage.Test(t, command("the host name", new(bool)), *update) }
