//go:build !unix

package main

import "github.com/spf13/cobra"

// dataDirCmds are none where no coordinator runs.
func (a *app) dataDirCmds() []*cobra.Command { return nil }
