package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// reaper is the end of a pipe to a process that outlives the demo, whatever
// ends it: kill -9, a closed terminal, a reader that went away. When the pipe
// ends it kills the processes that it watches and removes the folder.
type reaper struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// goneWithin bounds how long processes that were killed are waited for.
const goneWithin = 5 * time.Second

// newReaper starts the process that keeps dir, in a session of its own, where
// no signal to the demo's group or terminal finds it.
func newReaper(binary, dir string) (*reaper, error) {
	cmd := exec.Command(binary, "keep", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reaper of %s: %w", dir, err)
	}
	return &reaper{cmd: cmd, pipe: pipe}, nil
}

// watch adds a process group to be killed at the end, forget removes it.
// A reaper that has died is noticed by close.
func (r *reaper) watch(pid int)  { fmt.Fprintf(r.pipe, "+%d\n", pid) }
func (r *reaper) forget(pid int) { fmt.Fprintf(r.pipe, "-%d\n", pid) }

// close returns when everything is gone.
func (r *reaper) close() error {
	r.pipe.Close()
	return r.cmd.Wait()
}

// reapCommand is the other end of the pipe.
func reapCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keep DIR", Short: "End what a demo started, once it has ended", Hidden: true, Args: cobra.ExactArgs(1),
		Example:      "  coordinator keep /tmp/folkmoot-demo-123",
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			return reap(args[0], cmd.InOrStdin())
		},
	}
}

// reap reads what to watch until the pipe ends, then cleans up.
func reap(dir string, pipe io.Reader) error {
	if !strings.HasPrefix(filepath.Base(dir), fleetPrefix) {
		return usageError{fmt.Errorf("%s is no folder of a demo", dir)}
	}
	groups := map[int]bool{}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		line := lines.Text()
		if pid, err := strconv.Atoi(strings.TrimLeft(line, "+-")); err == nil && pid > 1 {
			groups[pid] = strings.HasPrefix(line, "+")
		}
	}
	end := time.Now().Add(goneWithin)
	for pid, left := range groups {
		if left {
			endGroup(pid, end)
		}
	}
	return os.RemoveAll(dir)
}

// endGroup kills a process group and waits until it is gone.
func endGroup(pid int, end time.Time) {
	for syscall.Kill(-pid, syscall.SIGKILL) == nil && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
}
