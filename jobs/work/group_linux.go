package work

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// group is a running process group.
type group struct{ cmd *exec.Cmd }

// startGroup starts cmd in a process group of its own, which dies with this
// process. The calling goroutine keeps its thread until wait has returned: the
// kernel ends the child when the thread that made it ends (prctl(2)).
func startGroup(cmd *exec.Cmd) (*group, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	// No core files. The child may be past its first steps: this is tidiness,
	// not protection.
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	return &group{cmd: cmd}, nil
}

// wait waits for the leader, kills the rest of the group while the leader's
// number cannot be given to another process, and reaps the leader. before is
// called between the leader's end and its reaping: afterwards nobody may signal
// the group.
func (g *group) wait(before func()) error {
	defer runtime.UnlockOSThread()
	for {
		err := unix.Waitid(unix.P_PID, g.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	before()
	g.kill()
	return exited(g.cmd.Wait())
}
