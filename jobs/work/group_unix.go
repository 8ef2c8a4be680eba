//go:build unix && !linux

package work

import (
	"os/exec"
	"syscall"
)

// group is a running process group.
type group struct{ cmd *exec.Cmd }

// startGroup starts cmd in a process group of its own.
func startGroup(cmd *exec.Cmd) (*group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &group{cmd: cmd}, nil
}

// wait waits for the leader and kills the rest of the group.
func (g *group) wait(before func()) error {
	err := g.cmd.Wait()
	before()
	g.kill()
	return exited(err)
}
