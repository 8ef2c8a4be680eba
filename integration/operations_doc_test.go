package integration_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// setUpHosts makes four network namespaces on one bridge, and names for them, inside
// the namespaces of the shell that runs it: all of it ends with that. $1 is a file for /etc/hosts.
const setUpHosts = `set -eu
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount --bind "$1" /etc/hosts
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
for i in 1 2 3 4; do
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

// scp is what copies files between the hosts, each of which has its directory beside the others.
const scp = `#!/bin/sh
set -eu
for to; do :; done
case $to in host[1-4]:) ;; *) echo "scp: no host $to" >&2; exit 1;; esac
while [ $# -gt 1 ]; do
  case $1 in -*) ;; *) cp -rp "$1" "../${to%:}/";; esac
  shift
done
`

// hosts are four hosts of one network on this machine.
type hosts struct {
	t       *testing.T
	sandbox int    // the process that has the network
	dir     string // of the directories of all
}

// fourHosts makes them, or skips the test where that is not permitted.
func fourHosts(t *testing.T) *hosts {
	t.Helper()
	for _, tool := range []string{"ip", "curl", "hostname"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("network namespaces cannot be made here: there is no %s", tool)
		}
	}
	names := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(names, []byte("127.0.0.1 localhost\n10.99.0.1 host1\n10.99.0.2 host2\n10.99.0.3 host3\n10.99.0.4 host4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sandbox := namespaces(t, setUpHosts, names, "--net", "--mount")
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o700), os.WriteFile(filepath.Join(dir, "bin", "scp"), []byte(scp), 0o700)); err != nil {
		t.Fatal(err)
	}
	return &hosts{t, sandbox, dir}
}

// shell is the shell of one host, in a directory of its own.
func (h *hosts) shell(name string) *shell {
	h.t.Helper()
	dir := filepath.Join(h.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	enter := append(entering(h.sandbox, "--mount", "--net"),
		"nsenter", "--net=/run/netns/"+name, "--", "unshare", "--uts", "--", "bash", "-c", `hostname "$1" && cd "$2" && exec bash`, "bash", name, dir)
	s := &shell{t: h.t, dir: dir, cmd: exec.Command(enter[0], enter[1:]...)}
	s.cmd.Env = append(cleanEnv(), "PATH="+bin+":"+filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+dir)
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
// word, which outlives the restart of one, takes in a fourth, and another in the place of a lost one.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	h := fourHosts(t)
	at := map[string]*shell{}
	for _, name := range []string{"host1", "host2", "host3", "host4"} {
		at[name] = h.shell(name)
	}
	followed, lost := 0, false
	for _, b := range readPage(t, "docs/operations.md") {
		if b.kind != "sh" {
			t.Errorf("%s: nothing runs this block", b.place)
			continue
		}
		followed++
		if b.is("sh each") {
			for _, name := range []string{"host1", "host2", "host3"} {
				at[name].prints(b, at[name].do(b.text))
			}
			continue
		}
		s := at[b.args[0]]
		if s == nil {
			t.Fatalf("%s: no host %q", b.place, b.args[0])
		}
		if strings.Contains(b.text, "tokens join --id host3") { // it is lost before the page goes on
			at["host3"].do("kill -9 %1\nwait %1 || true\nrm -rf data tls token")
		}
		if strings.Contains(b.text, "recover --data-dir") && !lost { // so are these
			lost = true
			checkHosts(t, at)
			at["host1"].do(`curl -sSf --cacert tls/ca.pem -H "Authorization: Bearer $(cat token)" -H 'Content-Type: application/json' \
				https://host1:7380/v1/components -d '{"name":"keeper","lease":"1h"}'`)
			for _, name := range []string{"host2", "host3", "host4"} {
				at[name].do("kill -9 %1\nwait %1 || true")
			}
		}
		said := s.do(b.text)
		s.prints(b, said)
		if strings.Contains(b.text, "/v1/components") && !strings.Contains(said, `"secret":"`) {
			t.Errorf("%s: the sign-in printed %s", b.place, said)
		}
	}
	if followed != 14 {
		t.Errorf("docs/operations.md has %d blocks of commands, and this test knows of 14", followed)
	}
	// What the cluster of four has acknowledged is there.
	if said := at["host1"].do("raftctl --addr host1:7380 components get host1.keeper"); !strings.Contains(said, "keeper") {
		t.Errorf("what was signed in before: %s", said)
	}
}

// checkHosts looks at the hosts as the page has left them, before the majority of them is lost.
func checkHosts(t *testing.T, at map[string]*shell) {
	t.Helper()
	if said := at["host2"].do("stat -c %a token tls/ca.pem tls/ca-key.pem"); said != "600\n600\n600\n" {
		t.Errorf("modes of what was copied to host2: %s", said)
	}
	if said := at["host4"].do("test ! -e tls/ca-key.pem && raftctl --addr host1:7380 ca request --join-token-file join --id host4 --out again 2>&1 || true"); !strings.Contains(said, "was used") {
		t.Errorf("the join token a second time: %s", said)
	}
	// The hosts have reached each other's operator's port all along.
	for _, path := range []string{"livez", "readyz", "startupz"} {
		if said := at["host1"].do("curl -sS http://host2:7390/" + path); said != "ok\n" {
			t.Errorf("/%s of host2 says %q", path, said)
		}
	}
	if said := at["host1"].do("curl -sS -o /dev/null -w '%{http_code}' http://host2:7390/debug/pprof/"); said != "404" {
		t.Errorf("/debug/pprof/ of host2: %s", said)
	}
}
