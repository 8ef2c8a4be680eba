package main

import (
	"testing"

	"github.com/folkmoot/folkmoot/cmd/clipage"
)

//go:generate go test -run ^TestCLIPage$ . -update

// docs/cli.md says what --help says.
func TestCLIPage(t *testing.T) { clipage.Test(t, new(app).root(), *update) }
