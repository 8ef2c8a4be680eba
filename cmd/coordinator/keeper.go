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

// keeper is the end of a pipe to a process that outlives the demo, whatever
// ends it: kill -9, a closed terminal, a reader that went away. When the pipe
// ends it kills the processes it was told of and removes the folder.
type keeper struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// goneWithin bounds how long processes that were killed are waited for.
const goneWithin = 5 * time.Second

// newKeeper starts the process that keeps dir, in a session of its own, where
// no signal to the demo's group or terminal finds it.
func newKeeper(binary, dir string) (*keeper, error) {
	cmd := exec.Command(binary, "keep", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper of %s: %w", dir, err)
	}
	return &keeper{cmd: cmd, pipe: pipe}, nil
}

// watch tells of a process group to be killed at the end; forget takes it back.
// A keeper that is gone is noticed by end.
func (k *keeper) watch(pid int)  { fmt.Fprintf(k.pipe, "+%d\n", pid) }
func (k *keeper) forget(pid int) { fmt.Fprintf(k.pipe, "-%d\n", pid) }

// end returns when everything is gone.
func (k *keeper) end() error {
	k.pipe.Close()
	return k.cmd.Wait()
}

// keepCommand is the other end of the pipe.
func keepCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keep DIR", Short: "End what a demo started, once it has ended", Hidden: true, Args: cobra.ExactArgs(1),
		Example:      "  coordinator keep /tmp/folkmoot-demo-123",
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			return keep(args[0], cmd.InOrStdin())
		},
	}
}

// keep reads what to watch until the pipe ends, then cleans up.
func keep(dir string, pipe io.Reader) error {
	if !strings.HasPrefix(filepath.Base(dir), fleetPrefix) {
		return errUsage{fmt.Errorf("%s is no folder of a demo", dir)}
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
