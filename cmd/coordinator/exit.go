package main

import "errors"

// errUsage marks an error of the command line or the configuration.
type errUsage struct{ error }

func (e errUsage) Unwrap() error { return e.error }

// exitCode is 2 for a wrong command line, else 1.
func exitCode(err error) int {
	var usage errUsage
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}
