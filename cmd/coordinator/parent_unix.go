//go:build unix && !linux

package main

import "syscall"

// dieWithParent does nothing: only the reaper ends the children here.
func dieWithParent(*syscall.SysProcAttr) {}
