package main

import (
	"errors"

	"github.com/folkmoot/folkmoot/node"
)

// errUsage marks an error of the command line or the configuration.
type errUsage struct{ error }

func (e errUsage) Unwrap() error { return e.error }

// exitCode is 2 for a wrong command line, else 1.
func exitCode(err error) int {
	var usage errUsage
	var config *node.ConfigError
	if errors.As(err, &usage) || errors.As(err, &config) {
		return 2
	}
	return 1
}
