//go:build unix && !linux

package main

import "syscall"

// dieWithParent does nothing: only the keeper ends the children here.
func dieWithParent(*syscall.SysProcAttr) {}
