package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/folkmoot/folkmoot/integration/storm"
)

// statefulSet plays with processes what a StatefulSet does with the pods of
// deploy/k8s/base: each has a name, which leads to another address after every
// start, and a disk, which stays. What the processes are told is what the
// manifest says.
type statefulSet struct {
	*cluster
	etc       string // what the processes see as /etc: their names are in its hosts
	manifest  []string
	endpoints atomic.Pointer[[]string] // of the Service: pods that are not being deleted
	apart     *apart                   // a pod that can be cut off; nil: none
}

// apart is a pod whose ways to the others, and theirs to it, lead through relays.
type apart struct {
	*way
	pod *process
	etc string              // its own names: those of the others lead to relays
	in  *relay              // the others' way to it
	out map[*process]*relay // its way to each of them
}

const (
	podNamespace  = "lab"
	clusterDomain = "cluster.local"
	peersService  = "folkmoot-peers." + podNamespace + ".svc." + clusterDomain
)

// newStatefulSet prepares a set of pods, none of which is there yet.
func newStatefulSet(t *testing.T) *statefulSet {
	t.Helper()
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("names of pods need a mount namespace, which cannot be made here: %v %s", err, out)
	}
	s := &statefulSet{cluster: &cluster{t: t, dir: t.TempDir()}, etc: newEtc(t), manifest: baseArgs(t)}
	s.publish()
	return s
}

// newEtc is an /etc in which names are found in the file hosts alone.
func newEtc(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"nsswitch.conf": "hosts: files\n", "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// setApart has a pod, which is not there yet, reach the others through relays, and
// be reached so.
func (s *statefulSet) setApart(ordinal int) {
	s.t.Helper()
	g := openWay()
	s.apart = &apart{way: g, etc: newEtc(s.t), in: newRelay(s.t, g), out: map[*process]*relay{}}
	s.apart.pod = s.pod(ordinal)
	s.apart.pod.wrap = inEtc(s.apart.etc)
}

// inEtc runs a program that sees a directory as /etc.
func inEtc(dir string) []string {
	return []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc && exec env GODEBUG=netdns=go "$@"`, dir}
}

// baseArgs are the arguments of the container in deploy/k8s/base.
func baseArgs(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../deploy/k8s/base/statefulset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct{ Args []string }
				}
			}
		}
	}
	if err := yaml.Unmarshal(b, &set); err != nil || len(set.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%d containers, %v", len(set.Spec.Template.Spec.Containers), err)
	}
	return set.Spec.Template.Spec.Containers[0].Args
}

// publish writes the names of the pods that there are: each its own, and all of
// them that of the headless Service, ready or not.
func (s *statefulSet) publish(leaving ...*process) {
	s.t.Helper()
	endpoints := []string{}
	for _, p := range s.nodes {
		if p.running() && !slices.Contains(leaving, p) {
			endpoints = append(endpoints, p.http)
		}
	}
	s.endpoints.Store(&endpoints)
	s.writeHosts(s.etc, func(p *process) string {
		if s.apart != nil && p == s.apart.pod {
			s.apart.in.leadsTo(p.ip())
			return s.apart.in.ip
		}
		return p.ip()
	})
	if s.apart != nil {
		s.writeHosts(s.apart.etc, func(p *process) string {
			if p == s.apart.pod {
				return p.ip()
			}
			if s.apart.out[p] == nil {
				s.apart.out[p] = newRelay(s.t, s.apart.way)
			}
			s.apart.out[p].leadsTo(p.ip())
			return s.apart.out[p].ip
		})
	}
}

// writeHosts writes the file hosts of an /etc, in which each pod that there is has
// an address.
func (s *statefulSet) writeHosts(etc string, address func(*process) string) {
	s.t.Helper()
	hosts := "127.0.0.1 localhost\n"
	for _, p := range s.nodes {
		if p.running() {
			ip := address(p)
			hosts += fmt.Sprintf("%s %s.%s\n%s %s\n", ip, p.name, peersService, ip, peersService)
		}
	}
	partial := filepath.Join(etc, "hosts.new")
	if err := errors.Join(os.WriteFile(partial, []byte(hosts), 0o600), os.Rename(partial, filepath.Join(etc, "hosts"))); err != nil {
		s.t.Fatal(err)
	}
}

// ip is the address of a pod.
func (p *process) ip() string {
	ip, _, _ := net.SplitHostPort(p.http)
	return ip
}

// create starts the pods with these ordinals, each at an address of its own that
// no pod had before.
func (s *statefulSet) create(ordinals ...int) {
	s.t.Helper()
	for _, n := range ordinals {
		p := s.pod(n)
		ip := podAddress(s.t)
		p.http, p.component, p.ops = ip+":7380", ip+":7370", ip+":7390"
		p.peer = fmt.Sprintf("%s.%s:7300", p.name, peersService)
		expand := strings.NewReplacer(
			"$(POD_NAME)", p.name, "$(POD_NAMESPACE)", podNamespace, "$(CLUSTER_DOMAIN)", clusterDomain, "$(BOOTSTRAP_EXPECT)", "3",
			"addr=:", "addr="+ip+":", "--drain=5s", "--drain=1s", "/var/lib/folkmoot/data", p.data,
		)
		p.args = nil
		for _, arg := range s.manifest {
			p.args = append(p.args, expand.Replace(arg))
		}
		p.start()
	}
	s.publish()
}

// pod is the one with that ordinal, which need not be there.
func (s *statefulSet) pod(ordinal int) *process {
	s.t.Helper()
	for n := len(s.nodes); n <= ordinal; n++ {
		name := fmt.Sprintf("folkmoot-%d", n)
		p := &process{t: s.t, name: name, program: "coordinator", data: filepath.Join(s.dir, name, "data"), log: &logFile{}}
		p.wrap = inEtc(s.etc)
		s.nodes = append(s.nodes, p)
		s.t.Cleanup(p.end)
	}
	return s.nodes[ordinal]
}

// delete ends pods as kubectl delete pod does: no client is sent to them any
// more, SIGTERM, and their names are gone once they have ended.
func (s *statefulSet) delete(ordinals ...int) {
	s.t.Helper()
	var ending []*process
	for _, n := range ordinals {
		ending = append(ending, s.pod(n))
	}
	s.publish(ending...)
	for _, p := range ending {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range ending {
		if code := p.wait(); code != 0 {
			s.t.Errorf("%s ended with %d after SIGTERM\n%s", p.name, code, p.tail())
		}
		p.done = nil // it is not there, and not missed
	}
	s.publish()
}

// nextPod counts the addresses of pods.
var nextPod atomic.Int64

// podAddress returns an address of loopback at which all ports of a pod are free.
func podAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		n := nextPod.Add(1)
		ip := fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()%128, n/250, n%250+1)
		free := true
		for _, port := range []string{"7300", "7370", "7380", "7390"} {
			l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return ip
		}
	}
	t.Fatal("no address is free")
	return ""
}

// probes asks the kubelet's questions: the statuses of /startupz, /livez and /readyz.
func (p *process) probes(ctx context.Context) (startup, live, ready int, err error) {
	for path, status := range map[string]*int{"/startupz": &startup, "/livez": &live, "/readyz": &ready} {
		rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+path, nil)
		if err != nil {
			return 0, 0, 0, err
		}
		rs, err := plain.Do(rq)
		if err != nil {
			return 0, 0, 0, err
		}
		rs.Body.Close()
		*status = rs.StatusCode
	}
	return startup, live, ready, nil
}

// unready waits until pods say that nobody should count on them, and checks that
// none ever asks for a restart.
func (s *statefulSet) unready(why string, ordinals ...int) {
	s.t.Helper()
	for _, n := range ordinals {
		p := s.pod(n)
		eventually(s.t, p.name+" to be unready: "+why, func(ctx ctx) error {
			startup, live, ready, err := p.probes(ctx)
			if err == nil && live != 200 {
				s.t.Fatalf("%s: %s asks for a restart: live %d", why, p.name, live)
			}
			if err == nil && (startup != 200 || ready != 503) {
				err = fmt.Errorf("startup %d, ready %d", startup, ready)
			}
			return err
		})
	}
}

// whole waits until all pods are voters that count on each other, and ready for
// the kubelet.
func (s *statefulSet) whole(voters int) {
	s.t.Helper()
	s.waitHealthy(voters)
	for _, p := range s.nodes {
		if !p.running() {
			continue
		}
		eventually(s.t, p.name+" to be ready", func(ctx ctx) error {
			startup, live, ready, err := p.probes(ctx)
			if err == nil && (startup != 200 || live != 200 || ready != 200) {
				err = fmt.Errorf("startup %d, live %d, ready %d", startup, live, ready)
			}
			return err
		})
	}
}

// write has a client of the Service write.
func (s *statefulSet) write() *writer {
	return s.startWriter("folkmoot-0", func() []string { return *s.endpoints.Load() })
}

// rollout restarts the pods as kubectl rollout restart does: the highest ordinal
// first, the next one once it is ready.
func (s *statefulSet) rollout(w *writer) {
	s.t.Helper()
	for n := len(s.nodes) - 1; n >= 0; n-- {
		s.delete(n)
		w.more() // the others go on
		s.create(n)
		s.whole(len(s.nodes))
		w.more()
	}
}

// said counts how often the pods with these ordinals have logged some words.
func (s *statefulSet) said(words string, ordinals ...int) (n int) {
	for _, o := range ordinals {
		n += s.pod(o).said(words)
	}
	return n
}

// said counts how often it has logged some words.
func (p *process) said(words string) int { return strings.Count(p.log.String(), words) }

// What deploy/k8s promises, and what shows it:
//
//	all pods deleted at once, no address stays   TestStatefulSet
//	rollout restart under a client that writes   TestStatefulSet
//	a founder that is late                       TestStatefulSet
//	the majority lost, no probe restarts         TestStatefulSet; for a minute TestStormNoQuorumNoRestart
//	a lost volume, no second cluster             TestStatefulSet
//	a pod that loses all others                  TestStatefulSetCutPod
//	3 to 5, to 3, and to 5 again                 TestStormStatefulSetScales
//	rollout gate and rollout run                 TestRollout
//	a member that is gone for good is removed    TestDeadMembersAreRemoved of raftnode
//	a Secret replaced, nothing restarted         TestRotationUnderLoad of node, TestChangedFilesAreUsed of certfile
//
// What a StatefulSet does to its pods, in the order of a bad day: one of the
// founders is late; all are restarted under a client that writes; all are deleted
// at once, and no address stays; two of three are lost; and the volume of ordinal
// 0 is, while the others are away.
func TestStatefulSet(t *testing.T) {
	t.Parallel()
	s := newStatefulSet(t)
	s.create(0, 1)
	for _, n := range []int{0, 1} {
		s.pod(n).says("not in a cluster yet")
	}
	s.unready("one of three founders is late", 0, 1)
	s.create(2)
	s.whole(3)
	cluster := s.clusterID()
	laser := s.signIn(s.pod(0), "laser", 10*time.Minute)

	w := s.write()
	w.more()
	handed, timeouts := s.said("leadership was handed over", 0, 1, 2), s.said("heartbeat timeout reached", 0, 1, 2)
	s.rollout(w)
	handed, timeouts = s.said("leadership was handed over", 0, 1, 2)-handed, s.said("heartbeat timeout reached", 0, 1, 2)-timeouts
	// A machine that is too busy may need elections of its own.
	if handed > 2+timeouts {
		t.Errorf("leadership was handed over %d times in a rollout restart, want at most 2 (%d elections by timeouts)", handed, timeouts)
	}
	w.finish()
	// Were one lost, it would be seen.
	victim := w.written()[0]
	s.ctl(0, "components", "remove", victim, "--yes")
	if lost := w.lost(); !slices.Equal(lost, []string{victim}) {
		t.Errorf("%s is gone, and lost are %q", victim, lost)
	}

	s.delete(0, 1, 2)
	s.create(0, 1, 2)
	s.whole(3)
	s.has(laser.FullName, "folkmoot-0")

	lost := s.member("folkmoot-0").ServerID
	for _, n := range []int{1, 2} {
		s.pod(n).kill()
	}
	s.publish()
	s.unready("the majority is gone", 0)
	s.delete(0)
	if err := os.RemoveAll(s.pod(0).data); err != nil {
		t.Fatal(err)
	}
	s.create(0)
	s.pod(0).says("not in a cluster yet")
	s.unready("its volume is lost and nobody is there", 0)
	if st, _, err := s.pod(0).api().Status(t.Context()); err != nil || st.ClusterID != "" {
		t.Errorf("an empty ordinal 0 belongs to cluster %q, %v", st.ClusterID, err)
	}
	s.create(1, 2)
	s.whole(3)
	if now := s.member("folkmoot-0").ServerID; now == lost {
		t.Errorf("folkmoot-0 came back as %s with an empty disk", now)
	}
	s.tells("promoted folkmoot-0")
	if now := s.clusterID(); now != cluster {
		t.Errorf("the cluster was %s and is %s", cluster, now)
	}
	s.has(laser.FullName, "folkmoot-0")
	s.agree()
}

// A pod that loses all others, first as a follower and then as the leader: the
// others go on under a client that writes through all three, and nothing that
// was acknowledged is lost. It says that nobody should count on it, asks for no
// restart, and raises no term, so that its return ends nobody's leadership.
func TestStatefulSetCutPod(t *testing.T) {
	t.Parallel()
	s := newStatefulSet(t)
	s.setApart(2)
	s.create(0, 1, 2)
	s.whole(3)
	lonely := s.pod(2)
	w := s.write()
	for _, lead := range []string{"folkmoot-0", lonely.name} {
		s.ctl(0, "leader", "transfer", "--to", lead, "--addr", lonely.http)
		s.ctl(0, "wait", "leader="+lead, "--addr", lonely.http)
		w.more()
		term, campaigns := s.termOf(lonely), lonely.said("restarting election")
		s.apart.cut()
		s.unready("it is cut off", 2)
		w.more()
		eventually(t, "the lonely one to look for votes in vain, twice", func(ctx) error {
			if n := lonely.said("restarting election") - campaigns; n < 2 {
				return fmt.Errorf("%d times", n)
			}
			return nil
		})
		if now := s.termOf(lonely); now != term {
			t.Errorf("alone, %s raised its term from %d to %d", lonely.name, term, now)
		}
		led := s.termOf(s.pod(0))
		if _, live, _, err := lonely.probes(t.Context()); err != nil || live != 200 {
			t.Errorf("cut off, %s asks for a restart: live %d, %v", lonely.name, live, err)
		}
		timeouts := s.said("heartbeat timeout reached", 0, 1)
		s.apart.heal()
		s.whole(3)
		// A machine that is too busy may need elections of its own.
		if now := s.termOf(s.pod(0)); now != led && s.said("heartbeat timeout reached", 0, 1) == timeouts {
			t.Errorf("the return of %s ended the term %d: it is %d", lonely.name, led, now)
		}
		w.more()
	}
	w.finish()
	s.agree()
}

// termOf is the term that a pod is in.
func (s *statefulSet) termOf(p *process) uint64 {
	s.t.Helper()
	st, _, err := p.api().Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st.Term
}

// From 3 to 5, to 3, and to 5 again, under a client that writes: pods that are
// new join by themselves; members are removed before their pods; their disks stay,
// and who comes back with such a disk joins as new.
func TestStormStatefulSetScales(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	s := newStatefulSet(t)
	s.create(0, 1, 2)
	s.whole(3)
	w := s.write()
	w.more()
	s.create(3, 4)
	s.whole(5)
	cluster, before := s.clusterID(), s.member("folkmoot-4").ServerID
	for _, n := range []int{4, 3} {
		s.ctl(0, "members", "remove", s.pod(n).name, "--yes")
		s.unready("removed", n)
		w.more()
	}
	s.delete(3, 4)
	s.whole(3)
	s.create(3, 4)
	s.whole(5)
	if now := s.member("folkmoot-4").ServerID; now == before {
		t.Errorf("folkmoot-4 was removed as %s and is back as it", now)
	}
	if aside, err := filepath.Glob(filepath.Join(s.pod(4).data, "removed-*")); err != nil || len(aside) != 1 {
		t.Errorf("the disk of before was set aside as %v, %v", aside, err)
	}
	if now := s.clusterID(); now != cluster {
		t.Errorf("the cluster was %s and is %s", cluster, now)
	}
	w.finish()
	s.agree()
}

// Without a majority for longer than any watchdog waits, no probe asks for a
// restart; with it, all is well by itself.
func TestStormNoQuorumNoRestart(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	s := newStatefulSet(t)
	s.create(0, 1, 2)
	s.whole(3)
	s.delete(1, 2)
	s.unready("the majority is gone", 0)
	for range 50 {
		if startup, live, ready, err := s.pod(0).probes(t.Context()); err != nil || startup != 200 || live != 200 || ready != 503 {
			t.Fatalf("startup %d, live %d, ready %d, %v", startup, live, ready, err)
		}
		<-time.After(time.Second)
	}
	s.create(1, 2)
	s.whole(3)
	s.agree()
}

// clusterID is that of all pods.
func (s *statefulSet) clusterID() (id string) {
	s.t.Helper()
	for _, p := range s.nodes {
		st, _, err := p.api().Status(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		if id == "" {
			id = st.ClusterID
		}
		if st.ClusterID == "" || st.ClusterID != id {
			s.t.Errorf("%s belongs to cluster %q, another to %q", p.name, st.ClusterID, id)
		}
	}
	return id
}
