package main

import (
	"errors"

	"github.com/folkmoot/folkmoot/node"
)

// usageError marks an error of the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode is 2 for a wrong command line or configuration, 4 while another
// process runs as this coordinator, 5 for one that was removed, 6 for one whose
// volume has hardly any space left, else 1. A
// storage that fails later ends the process with 3.
func exitCode(err error) int {
	var usage usageError
	var config *node.ConfigError
	if errors.As(err, &usage) || errors.As(err, &config) {
		return 2
	}
	switch status := node.FatalStatus(err); status {
	case node.StatusSuperseded, node.StatusRemoved, node.StatusDisk:
		return status
	}
	return 1
}
