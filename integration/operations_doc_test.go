package integration_test

import (
	"bufio"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
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
case $to in host[1-4]:*) ;; *) echo "scp: no host $to" >&2; exit 1;; esac
while [ $# -gt 1 ]; do
  case $1 in -*) ;; *) cp -rp "$1" "../${to%%:*}/${to#*:}";; esac
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
	s.cmd.Env = append(cleanEnv(), "PATH="+bin+":"+filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+dir,
		"FOLKMOOT_DRAIN=1s") // nobody is served meanwhile
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
// word, which outlives the restart of one, takes in a fourth, and another in the place of a lost one, has other
// certificates, outlives the loss of the majority, and of everything but a snapshot.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	h := fourHosts(t)
	at := map[string]*shell{}
	for _, name := range []string{"host1", "host2", "host3", "host4"} {
		at[name] = h.shell(name)
	}
	followed := 0
	before := beforeBlocks(t, h, at)
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
		for words, happens := range before {
			if strings.Contains(b.text, words) {
				happens()
				delete(before, words) // it happens once
			}
		}
		said := s.do(b.text)
		s.prints(b, said)
		if strings.Contains(b.text, "/v1/components") && !strings.Contains(said, `"secret":"`) {
			t.Errorf("%s: the sign-in printed %s", b.place, said)
		}
	}
	if followed != 26 || len(before) > 0 {
		t.Errorf("docs/operations.md has %d blocks of commands, and this test knows of 26; what did not happen: %v", followed, slices.Collect(maps.Keys(before)))
	}
	if said := at["host1"].do("raftctl --addr host1:7380 jobs get kept"); !strings.Contains(said, "kept") {
		t.Errorf("the job of before, in a new cluster: %s", said)
	}
}

// beforeBlocks is what happens to the hosts before the first block with certain words is followed.
func beforeBlocks(t *testing.T, h *hosts, at map[string]*shell) map[string]func() {
	lose := func(names ...string) {
		for _, name := range names {
			at[name].do("kill -9 %1\nwait %1 || true")
		}
	}
	reload := func() { // they would by themselves, within ten seconds
		for _, s := range at {
			s.do("kill -HUP %1")
		}
	}
	post := func(path, body string) {
		at["host1"].do(`curl -sSf --cacert tls/ca.pem -H "Authorization: Bearer $(cat token)" -H 'Content-Type: application/json' \
			https://host1:7380/v1/` + path + " -d '" + body + "'")
	}
	return map[string]func(){
		"tokens join --id host3": func() {
			lose("host3")
			at["host3"].do("rm -rf data tls token")
		},
		"--out issued": func() {
			checkHosts(t, at)
			lose("host4")
			h.expire("host4")
			if said := at["host4"].do(`coordinator config check --id host4 --data-dir data --tls-dir tls --token-file token || echo "status $?"`); !strings.Contains(said, "has expired") || !strings.Contains(said, "status 2") {
				t.Errorf("with a certificate that has expired: %s", said)
			}
		},
		"rotate switch": reload,
		"rotate finish": reload,
		"recover --data-dir": func() {
			post("components", `{"name":"keeper","lease":"1h"}`)
			post("jobs", `{"id":"kept","runtime":"sh","script":"echo 1","items":[1]}`)
			lose("host3", "host4")
		},
		"snapshot save": func() {
			// What the cluster of three has acknowledged is there.
			if said := at["host1"].do("raftctl --addr host1:7380 components get host1.keeper"); !strings.Contains(said, "keeper") {
				t.Errorf("what was signed in before: %s", said)
			}
		},
	}
}

// expire gives a host a certificate that has ended.
func (h *hosts) expire(name string) {
	h.t.Helper()
	ca, trust, err := certfile.Authority{Dir: filepath.Join(h.dir, "host1", "tls")}.Load()
	must(h.t, err)
	names, err := authority.ParseHosts([]string{name})
	must(h.t, err)
	dir := filepath.Join(h.dir, name, "tls")
	must(h.t, certfile.In(dir).Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: name, Hosts: names, Life: -time.Second}, trust))
}

// checkHosts looks at the hosts as the page has left them, before anything of it is exchanged or lost.
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
