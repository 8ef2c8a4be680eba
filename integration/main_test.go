package integration_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// bin is the folder with the programs under test, built once for all tests,
// with the race detector where the tests have it.
var bin string

func TestMain(m *testing.M) {
	if at := os.Getenv("FOLKMOOT_TEST_COMPONENT"); at != "" {
		beComponent(at)
	}
	if url := os.Getenv(askEnv); url != "" {
		ask(url)
	}
	waitTogether()
	takeInterrupts()
	os.Exit(buildAndRun(m))
}

// takeInterrupts has programs that tests start end by SIGINT as they do at a terminal.
// As a background job of a shell the tests have it ignored, and would hand that on.
func takeInterrupts() {
	if signal.Ignored(syscall.SIGINT) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGINT)
	}
}

// askEnv is set for this program to ask a URL in place of running tests: a command that
// a test hands to others.
const askEnv = "FOLKMOOT_TEST_ASK"

func ask(url string) {
	answer, err := http.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answer.Body.Close()
	os.Exit(0)
}

// waitTogether lets at least four tests run at a time, unless -parallel says
// otherwise: they wait for processes more than they compute.
func waitTogether() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given || runtime.GOMAXPROCS(0) >= 4 {
		return
	}
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "folkmoot-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/...")...)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	bin = dir
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}
