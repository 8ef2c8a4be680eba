package integration_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// namespaces runs a shell script with one argument in namespaces of its own, which are named as unshare names them,
// until the test ends. It returns the process that keeps them once the script has said ready; where they may not be
// made, it skips the test.
func namespaces(t *testing.T, script, arg string, kinds ...string) (keeper int) {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("namespaces cannot be made here: there is no %s", tool)
		}
	}
	if os.Geteuid() != 0 {
		kinds = append(kinds, "--map-root-user")
	}
	cmd := exec.Command("unshare", append(kinds, "sh", "-c", script, "sh", arg)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var wrong strings.Builder
	cmd.Stderr = &wrong
	if err := cmd.Start(); err != nil {
		t.Skipf("namespaces cannot be made here: %v", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		_ = cmd.Wait()
		t.Skipf("namespaces cannot be made here: %s", wrong.String())
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// entering is the command that runs another one, which is added to it, in those namespaces of a process.
func entering(keeper int, kinds ...string) []string {
	enter := append([]string{"nsenter", "--target", fmt.Sprint(keeper)}, kinds...)
	if os.Geteuid() != 0 {
		enter = append(enter, "--user", "--preserve-credentials")
	}
	return append(enter, "--")
}
