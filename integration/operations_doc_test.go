package integration_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// setUpHosts makes three network namespaces on one bridge, and names for them, inside
// the namespaces of the shell that runs it: all of it ends with that. $1 is a file for /etc/hosts.
const setUpHosts = `set -eu
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount --bind "$1" /etc/hosts
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
for i in 1 2 3; do
  ip netns add host$i
  ip link add v$i type veth peer name eth0 netns host$i
  ip link set v$i master br0 up
  ip -n host$i addr add 10.99.0.$i/24 dev eth0
  ip -n host$i link set eth0 up
  ip -n host$i link set lo up
done
echo ready
exec sleep 3600
`

// hosts are three hosts of one network on this machine.
type hosts struct {
	t       *testing.T
	sandbox int // the process that has the network
}

// threeHosts makes them, or skips the test where that is not permitted.
func threeHosts(t *testing.T) *hosts {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter", "ip", "curl", "hostname"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("three network namespaces cannot be made here: there is no %s", tool)
		}
	}
	names := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(names, []byte("127.0.0.1 localhost\n10.99.0.1 host1\n10.99.0.2 host2\n10.99.0.3 host3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--net", "--mount"}
	if os.Geteuid() != 0 {
		args = append(args, "--map-root-user")
	}
	cmd := exec.Command("unshare", append(args, "sh", "-c", setUpHosts, "sh", names)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var wrong strings.Builder
	cmd.Stderr = &wrong
	if err := cmd.Start(); err != nil {
		t.Skipf("three network namespaces cannot be made here: %v", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		_ = cmd.Wait()
		t.Skipf("three network namespaces cannot be made here: %s", wrong.String())
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &hosts{t, cmd.Process.Pid}
}

// shell is the shell of one host, in a directory of its own.
func (h *hosts) shell(name string) *shell {
	h.t.Helper()
	enter := []string{"--target", fmt.Sprint(h.sandbox), "--mount", "--net"}
	if os.Geteuid() != 0 {
		enter = append(enter, "--user", "--preserve-credentials")
	}
	dir := h.t.TempDir()
	enter = append(enter, "--", "nsenter", "--net=/run/netns/"+name, "--", "unshare", "--uts", "--", "bash", "-c", `hostname "$1" && cd "$2" && exec bash`, "bash", name, dir)
	s := &shell{t: h.t, dir: dir, cmd: exec.Command("nsenter", enter...)}
	s.cmd.Env = append(cleanEnv(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+dir)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		h.t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	s.cmd.Stderr, s.out = s.cmd.Stdout, bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "coordinator.log")); err == nil && h.t.Failed() {
			h.t.Logf("log of %s:\n%s", name, log)
		}
		s.kill()
	})
	s.do("set -eu -o pipefail")
	return s
}

// What docs/operations.md tells to type on three hosts makes a cluster of them, word by
// word, which outlives the restart of one.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	h := threeHosts(t)
	at := map[string]*shell{}
	for _, name := range []string{"host1", "host2", "host3"} {
		at[name] = h.shell(name)
	}
	followed := 0
	for _, b := range readPage(t, "docs/operations.md") {
		if b.kind != "sh" {
			t.Errorf("%s: nothing runs this block", b.place)
			continue
		}
		followed++
		if b.is("sh each") {
			for _, s := range at {
				s.prints(b, s.do(b.text))
			}
			continue
		}
		s := at[b.args[0]]
		if s == nil {
			t.Fatalf("%s: no host %q", b.place, b.args[0])
		}
		said := s.do(b.text)
		s.prints(b, said)
		if strings.Contains(b.text, "/v1/components") && !strings.Contains(said, `"secret":"`) {
			t.Errorf("%s: the sign-in printed %s", b.place, said)
		}
	}
	if followed != 5 {
		t.Errorf("docs/operations.md has %d blocks of commands, and this test knows of 5", followed)
	}
	// The hosts have reached each other's operator's port all along.
	for _, path := range []string{"livez", "readyz", "startupz"} {
		if said := at["host1"].do("curl -sS http://host3:7390/" + path); said != "ok\n" {
			t.Errorf("/%s of host3 says %q", path, said)
		}
	}
	if said := at["host1"].do("curl -sS -o /dev/null -w '%{http_code}' http://host3:7390/debug/pprof/"); said != "404" {
		t.Errorf("/debug/pprof/ of host3: %s", said)
	}
}
