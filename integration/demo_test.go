package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// tourist is the coordinator with another command than serve, and the folder
// that its temporary files go to.
type tourist struct {
	*process
	tmp string
}

func newTourist(t *testing.T, args ...string) tourist {
	t.Helper()
	p := &process{t: t, name: args[0], program: "coordinator", args: args, log: &logFile{}}
	t.Cleanup(p.end)
	return tourist{p, t.TempDir()}
}

func (p tourist) start() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(bin, p.program), p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(cleanEnv(), "TMPDIR="+p.tmp)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		p.err = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
}

// offspring lists the processes that work in its temporary folder: they have
// it in their command lines.
func (p tourist) offspring() (pids []int) {
	t := p.t
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		line, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
		if err == nil && bytes.Contains(line, []byte(p.tmp)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// noTrace waits until nothing of it runs, and checks that no file is left.
func (p tourist) noTrace() {
	t := p.t
	t.Helper()
	eventually(t, "the demo's processes to be gone", func(ctx) error {
		if pids := p.offspring(); len(pids) > 0 {
			return fmt.Errorf("%v run", pids)
		}
		return nil
	})
	if left, err := os.ReadDir(p.tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The tour holds, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	p := newTourist(t, "demo", "--packages", "40")
	p.start()
	if code := p.wait(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.tail())
	}
	said := p.log.String()
	if strings.Contains(said, "failed") || !strings.Contains(said, "Every step held") {
		t.Errorf("the demo said:\n%s", said)
	}
	for line := range strings.Lines(said) { // a terminal of 80 columns shows it as it is meant
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	p.noTrace()
}

// A demo that is stopped midway leaves no process and no file, whether it is
// asked to end or killed.
func TestDemoStoppedMidway(t *testing.T) {
	t.Parallel()
	for _, stop := range []struct {
		after string
		by    syscall.Signal
	}{
		{"signed in as", syscall.SIGINT}, // the coordinators are there
		{" workers of 2 slots", syscall.SIGTERM},
		{" workers of 2 slots", syscall.SIGKILL},
		{"signed in as", syscall.SIGHUP},
	} {
		t.Run(fmt.Sprintf("%s after %s", stop.by, strings.TrimSpace(stop.after)), func(t *testing.T) {
			t.Parallel()
			p := newTourist(t, "demo", "--packages", "120")
			p.start()
			p.says(stop.after)
			if len(p.offspring()) < 4 {
				t.Errorf("its processes are %v, want three coordinators and a keeper at least", p.offspring())
			}
			p.signal(stop.by)
			if code := p.wait(); code == 0 {
				t.Error("it exits with 0")
			}
			p.noTrace()
		})
	}
}

// dev is a whole cluster in one process: it says where, and ends well.
func TestDev(t *testing.T) {
	t.Parallel()
	p := newTourist(t, "dev")
	p.start()
	p.says("FOLKMOOT_ADDR=")
	addrs := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(p.log.String(), -1)
	c := &cluster{t: t, dir: t.TempDir()}
	seen := map[string]bool{}
	for _, a := range addrs {
		if !seen[a[1]] {
			seen[a[1]] = true
		}
	}
	for line := range strings.Lines(p.log.String()) {
		if n := utf8.RuneCountInString(strings.ReplaceAll(strings.TrimRight(line, "\n"), p.tmp, "/tmp")); n > 80 && !strings.Contains(line, "curl") {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if len(seen) != 6 { // people ask, health and metrics; three times
		t.Errorf("it names %d addresses:\n%s", len(seen), p.log.String())
	}
	first := regexp.MustCompile(`FOLKMOOT_ADDR=(\S+)`).FindStringSubmatch(p.log.String())[1]
	c.ctl(0, "wait", "leader", "member/n1=voter", "member/n2=voter", "member/n3=voter", "--addr", first)
	script := filepath.Join(t.TempDir(), "square.sh")
	if err := os.WriteFile(script, []byte("echo $((ITEM * ITEM))\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := c.ctl(0, "jobs", "run", script, "--items", "3,4", "--follow", "--addr", first, "--timeout", "30s"); !strings.Contains(out, "9") || !strings.Contains(out, "16") {
		t.Errorf("its worker said %s", out)
	}
	door := regexp.MustCompile(`n1\s+http://\S+\s+(127\.0\.0\.1:\d+)`).FindStringSubmatch(p.log.String())
	if door == nil {
		t.Fatalf("it does not say where components sign in:\n%s", p.log.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := client.Dial(ctx, client.Component{Addrs: door[1:], SignIn: wire.SignIn{Name: "laser"}})
	if err != nil || n.FullName() != "n1.laser" || n.Close(ctx) != nil {
		t.Errorf("a component at %s: %v", door[1], err)
	}
	p.signal(syscall.SIGINT)
	began := time.Now()
	if code := p.wait(); code != 0 {
		t.Errorf("exit %d after SIGINT\n%s", code, p.tail())
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to end", took)
	}
	p.noTrace()
}
