//go:build unix

package work

import (
	"errors"
	"os/exec"
	"syscall"
)

func (g *group) terminate() { _ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGTERM) }
func (g *group) kill()      { _ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) }

// exited drops the error that only says how the process ended.
func exited(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return nil
	}
	return err
}
