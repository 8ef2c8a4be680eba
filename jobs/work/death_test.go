package work_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
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
		if len(os.Args) > 1 {
			if err := work.HideSecrets(strings.TrimPrefix(os.Args[1], "--token=")); err != nil {
				panic(err)
			}
		}
		p := waiting(0, dir)
		p.Script = "cp /proc/$PPID/environ '" + dir + "/environ'; cp /proc/$PPID/cmdline '" + dir + "/cmdline'; " + p.Script
		h.assign(p)
		if _, err := work.Open(h, work.Config{Runtimes: offered(), Dir: dir}); err != nil {
			panic(err)
		}
		select {} // for the kill
	}
	goleak.VerifyTestMain(m)
}

// A worker that is killed takes its scripts with it; the next one at the same
// place removes its files, and nobody's who lives.
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

	dead, err := filepath.Glob(dir + "/folkmoot-work-*/part-*")
	if err != nil || len(dead) != 1 {
		t.Fatalf("the killed worker left %v, %v; want the directory of its part", dead, err)
	}
	first := openWorker(t, dir)
	living := workDirs(t, dir)
	if _, err := os.Stat(dead[0]); !errors.Is(err, fs.ErrNotExist) || len(living) != 1 {
		t.Errorf("after the next worker's start there are %v (%v)", living, err)
	}
	second := openWorker(t, dir)
	if now := workDirs(t, dir); len(now) != 2 || !slices.Contains(now, living[0]) {
		t.Errorf("with two alive there are %v, want two, %s among them", now, living[0])
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	if now := workDirs(t, dir); len(now) != 0 {
		t.Errorf("left behind: %v", now)
	}
}

// The environment and the arguments of the process that runs a part, which the
// part may read, do not hold what its own environment leaves out.
func TestParentsEnvironmentIsHidden(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux shows them in /proc")
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "--token=told-no-one")
	child.Env = append(os.Environ(), "FOLKMOOT_TOKEN=told-no-one", "OTHER_KEY=nor-this", childDir+"="+dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	readPID(t, dir+"/pid")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "\x00", "\n")
		if strings.Contains(text, "told-no-one") || strings.Contains(text, "nor-this") {
			t.Errorf("the parent's %s has a secret:\n%s", name, text)
		}
		if want := map[string]string{"environ": "PATH=" + os.Getenv("PATH") + "\n", "cmdline": "--token="}[name]; !strings.Contains(text, want) {
			t.Errorf("the parent's %s is spoilt, it has no %s:\n%s", name, want, text)
		}
	}
}

func openWorker(t *testing.T, dir string) *work.Worker {
	t.Helper()
	w, err := work.Open(newHome(), work.Config{Runtimes: offered(), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func workDirs(t *testing.T, dir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(dir + "/folkmoot-work-*")
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}
