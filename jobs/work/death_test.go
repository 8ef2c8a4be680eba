package work_test

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/jobs/work"
)

// childDir makes this test binary a worker that runs one part in that
// directory, until it is killed.
const childDir = "FOLKMOOT_WORK_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		h := newHome()
		h.assign(waiting(0, dir))
		if _, err := work.Open(h, work.Config{Runtimes: offered(), Dir: dir}); err != nil {
			panic(err)
		}
		select {} // for the kill
	}
	goleak.VerifyTestMain(m)
}

// A worker that is killed takes its scripts with it.
func TestKilledWorkerLeavesNoScript(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux ends a child with its parent")
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := readPID(t, dir+"/pid")
	if !alive(pid) {
		t.Error("the script does not run before the kill")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	eventually(t, "the script is gone", func() bool { return !alive(pid) })
}
