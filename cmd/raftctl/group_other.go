//go:build !unix

package main

import "os/exec"

// inGroup does nothing: cmd itself is killed when its context ends, what it has begun goes on.
func inGroup(*exec.Cmd) {}

func killGroup(*exec.Cmd) {}
