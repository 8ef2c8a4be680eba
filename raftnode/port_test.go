package raftnode_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// socketServer is a coordinator with real files and a real port on loopback.
type socketServer struct {
	*server
	t        *testing.T
	port     *peer.Port
	admitter atomic.Pointer[raftnode.Node] // Node, once it is open
}

func (r *socketServer) listen(id *disk.Identity, addr string) *peer.Port {
	r.t.Helper()
	r.admitter.Store(nil)
	admit := func(kind peer.Kind, method string, from peer.Hello) error {
		if n := r.admitter.Load(); n != nil {
			return n.Admit(kind, method, from)
		}
		return wire.NotTried("starting")
	}
	var p *peer.Port
	var err error
	eventually(r.t, "the port is free", func() bool {
		p, err = peer.Listen(peer.Config{Addr: addr, Self: func() peer.Hello { return raftnode.PeerHello(id) }, Admit: admit})
		return err == nil
	})
	return p
}

// start opens the coordinator at addr, over what is in its directory.
func (r *socketServer) start(addr string, edit func(*raftnode.Config)) {
	r.t.Helper()
	id, err := disk.OpenIdentity(r.cfg.Dir, r.cfg.ID)
	must(r.t, err)
	r.port = r.listen(id, addr)
	r.addr, r.machine = r.port.Advertise(), &recordingMachine{}
	c := r.cfg
	c.Identity, c.Port, c.Machine = id, r.port, r.machine
	if edit != nil {
		edit(&c)
	}
	r.Node, err = raftnode.Open(context.Background(), c)
	if err != nil {
		r.port.Close()
		r.t.Fatalf("open %s: %v", r.cfg.ID, err)
	}
	r.admitter.Store(r.Node)
}

func (r *socketServer) stop() {
	r.t.Helper()
	closeNode(r.t, r.Node)
	if err := r.port.Close(); err != nil {
		r.t.Errorf("close the port of %s: %v", r.cfg.ID, err)
	}
}

// closePort is what a kill looks like to the others: the port is gone at once.
func (r *socketServer) closePort() { r.port.Close() }

func newSocketServer(t *testing.T, id string) *socketServer {
	t.Helper()
	return &socketServer{t: t, server: &server{cfg: raftnode.Config{
		ID: id, Dir: t.TempDir(), Logger: testLogger(t, id), Stabilize: time.Second,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}}}
}

// startThreeSockets founds a cluster of three over sockets. Every port is open before
// the first coordinator starts, so that all addresses are known.
func startThreeSockets(t *testing.T, edit func(*raftnode.Config)) []*socketServer {
	t.Helper()
	var all []*socketServer
	var ids []*disk.Identity
	var join []string
	for i := range 3 {
		r := newSocketServer(t, fmt.Sprint("n", i+1))
		id, err := disk.OpenIdentity(r.cfg.Dir, r.cfg.ID)
		must(t, err)
		r.port = r.listen(id, "127.0.0.1:0")
		r.addr, r.machine = r.port.Advertise(), &recordingMachine{}
		join = append(join, r.addr)
		all, ids = append(all, r), append(ids, id)
	}
	for i, r := range all {
		c := r.cfg
		c.Identity, c.Port, c.Machine, c.Join, c.Expect = ids[i], r.port, r.machine, join, 3
		if edit != nil {
			edit(&c)
		}
		n, err := raftnode.Open(context.Background(), c)
		must(t, err)
		r.Node = n
		r.admitter.Store(n)
	}
	allReady(t, all)
	return all
}

func allReady(t *testing.T, all []*socketServer) {
	t.Helper()
	eventually(t, "all are ready", func() bool {
		return !slices.ContainsFunc(all, func(r *socketServer) bool { return !ready(r.server) })
	})
}

func servers(all []*socketServer) (list []*server) {
	for _, r := range all {
		list = append(list, r.server)
	}
	return list
}

// Over real sockets and files: found, write everywhere, lose the leader, come
// back, change an address, lose a disk, and end alike.
func TestClusterOverSockets(t *testing.T) {
	for _, store := range []string{raftnode.LogStoreBolt, raftnode.LogStoreWAL} {
		t.Run(store, func(t *testing.T) {
			all := startThreeSockets(t, func(c *raftnode.Config) { c.LogStore = store })
			defer func() {
				for _, r := range all {
					r.stop()
				}
			}()
			for i, r := range all {
				write(t, r.server, fmt.Sprint("a", i))
				if err := read(r.server, raftnode.Strict, 5*time.Second); err != nil {
					t.Errorf("strict read at %s: %v", r.cfg.ID, err)
				}
			}

			leader, _ := leaderOf(t, servers(all))
			lost := slices.IndexFunc(all, func(r *socketServer) bool { return r.server == leader })
			all[lost].closePort()
			rest := slices.Delete(slices.Clone(all), lost, lost+1)
			began := time.Now()
			writeAgain(t, rest[0].server, "b")
			t.Logf("fail-over after %s", time.Since(began).Round(time.Millisecond))
			all[lost].stop()

			all[lost].start("127.0.0.1:0", nil) // the old port may be anybody's by now
			allReady(t, all)
			writeAgain(t, all[lost].server, "c")

			if err := rest[1].transferTo(all[lost].cfg.ID); err != nil {
				t.Errorf("transfer: %v", err)
			}
			rest[0].stop()
			rest[0].cfg.Dir = t.TempDir()
			rest[0].start("127.0.0.1:0", func(c *raftnode.Config) { c.Join = []string{rest[1].addr} })
			eventually(t, "the one without a disk votes again", func() bool {
				m, _ := member(t, rest[1].server, rest[0].cfg.ID)
				return m.Suffrage == "voter" && m.ServerID == rest[0].ServerID() && ready(rest[0].server)
			})
			writeAgain(t, rest[0].server, "d")
			text := requireEqualState(t, servers(all))
			for _, want := range []string{"a0", "a1", "a2", "b", "c", "d"} {
				if !slices.Contains(strings.Fields(text), want) {
					t.Errorf("machines hold %q, %q is missing", text, want)
				}
			}
		})
	}
}

// Over real sockets a leader's end is noticed at once. The followers' own
// timeouts never come here, so nothing else could replace it.
func TestDeadLeaderIsReplacedOverSockets(t *testing.T) {
	all := startThreeSockets(t, nil)
	defer func() {
		for _, r := range all {
			r.stop()
		}
	}()
	write(t, all[0].server, "a")
	leader, others := leaderOf(t, servers(all))
	for _, o := range others {
		c := raftnode.Raft(o.Node).ReloadableConfig()
		c.HeartbeatTimeout, c.ElectionTimeout = 1000*time.Hour, 1000*time.Hour
		must(t, raftnode.Raft(o.Node).ReloadConfig(c))
	}
	all[slices.IndexFunc(all, func(r *socketServer) bool { return r.server == leader })].closePort()
	eventually(t, "another leads", func() bool { return others[0].IsLeader() || others[1].IsLeader() })
	writeAgain(t, others[0], "b")
}

// Many writers at all coordinators: each write is there once, and each writer's
// own come in its order.
func TestManyWritersOverSockets(t *testing.T) {
	all := startThreeSockets(t, nil)
	defer func() {
		for _, r := range all {
			r.stop()
		}
	}()
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			for k := range 20 {
				write(t, all[i%3].server, fmt.Sprintf("w%d.%d", i, k))
			}
		})
	}
	wg.Wait()
	t.Logf("600 writes in %s", time.Since(began).Round(time.Millisecond))
	last := map[string]int{}
	for _, line := range strings.Fields(requireEqualState(t, servers(all))) {
		var i, k int
		if _, err := fmt.Sscanf(line, "w%d.%d", &i, &k); err != nil {
			t.Fatal(err)
		}
		who := fmt.Sprint(i)
		if k != last[who] {
			t.Fatalf("%s comes where w%d.%d should", line, i, last[who])
		}
		last[who]++
	}
	for i := range 30 {
		if last[fmt.Sprint(i)] != 20 {
			t.Errorf("writer %d has %d of 20 writes", i, last[fmt.Sprint(i)])
		}
	}
}

// A member of another cluster is refused by name, and changes nothing.
func TestForeignClusterOverSockets(t *testing.T) {
	a, b := newSocketServer(t, "n1"), newSocketServer(t, "n2")
	alone := func(c *raftnode.Config) { c.Expect = 1 }
	a.start("127.0.0.1:0", alone)
	defer a.stop()
	b.start("127.0.0.1:0", alone)
	defer b.stop()
	eventually(t, "both have clusters", func() bool { return a.IsLeader() && b.IsLeader() })
	_, err := a.AddMember(background, b.addr, false)
	if code := wire.CodeOf(err); code != wire.CodeConflict && code != wire.CodeForbidden || !strings.Contains(err.Error(), "cluster") {
		t.Errorf("add a member of another cluster: %v, want it refused by name", err)
	}
	if s := a.Status(); s.Members != 1 {
		t.Errorf("%d members, want 1", s.Members)
	}
}
