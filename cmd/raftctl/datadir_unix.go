//go:build unix

package main

import "github.com/spf13/cobra"

// dataDirCmds work on the files of a stopped coordinator, which runs on Unix.
func (a *app) dataDirCmds() []*cobra.Command { return []*cobra.Command{a.compactCmd(), a.recoverCmd()} }
