package member

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
)

// All founders must work out the same cluster id, in whichever order they list
// each other; the set of founders tells addresses apart as well.
func TestFounders(t *testing.T) {
	t.Parallel()
	self := disk.Peer{ServerID: "b/1", ID: "b", Address: "b:1"}
	m := &Manager{cfg: Config{Expect: 3}, serverID: self.ServerID, self: self}
	server := func(id, addr string, expect int, empty bool) Hello {
		return Hello{Peer: disk.Peer{ServerID: id + "/1", ID: id, Address: addr}, Expect: expect, Empty: empty}
	}
	servers := m.founderServers([]Hello{
		server("c", "c:1", 3, true), server("a", "a:1", 3, true),
		server("d", "d:1", 2, true),  // founds another number
		server("e", "e:1", 3, false), // has a log and no cluster
	})
	if got := namesOf(servers); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Fatalf("founders are %v, want a, b and c", got)
	}
	other := slices.Clone(servers)
	slices.Reverse(other)
	if a, b := clusterID(servers), clusterID(other); a != b {
		t.Errorf("the order of the founders makes two clusters, %s and %s", a, b)
	}
	moved := slices.Clone(servers)
	moved[0].Address = "a:2"
	if hashServers(servers) == hashServers(moved) {
		t.Error("a founder at another address makes the same set")
	}
	if clusterID(servers) != clusterID(moved) {
		t.Error("a founder at another address makes another cluster")
	}
}

// callFunc answers every call to another coordinator.
type callFunc func() ([]byte, error)

func (f callFunc) Call(context.Context, string, string, []byte) ([]byte, error) { return f() }

// Whether a server took note of its new role is unknown when the call may have
// arrived; only what certainly did not changes nothing.
func TestOutcomeOfANewRole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code wire.Code
	}{
		{nil, ""},
		{wire.NotTried("no connection"), wire.CodeConflict},
		{wire.Refuse(wire.CodeInvalid, "not for n1"), wire.CodeConflict},
		{wire.Unknown(errors.New("the link is lost")), wire.CodeUnknown},
		{errors.New("connection reset"), wire.CodeUnknown},
	} {
		m := &Manager{calls: callFunc(func() ([]byte, error) { return nil, c.err })}
		if err := m.assignRole(t.Context(), "a:1", "a/1", true); wire.CodeOf(err) != c.code {
			t.Errorf("%v: got %v, want code %q", c.err, err, c.code)
		}
	}
}

// A cluster id that a crash kept from local.db is worked out from the first
// entry of the log, and only from a configuration.
func TestRecoverClusterID(t *testing.T) {
	t.Parallel()
	founders := []raft.Server{{ID: "a/1", Address: "a:1"}, {ID: "b/1", Address: "b:1"}}
	first := raft.EncodeConfiguration(raft.Configuration{Servers: founders})
	for kind, want := range map[raft.LogType]string{raft.LogConfiguration: clusterID(founders), raft.LogCommand: ""} {
		id, err := disk.OpenIdentity(t.TempDir(), "a")
		if err != nil {
			t.Fatal(err)
		}
		defer id.Close()
		log := raft.NewInmemStore()
		if err := RecoverClusterID(id, log); err != nil || id.Cluster() != "" {
			t.Errorf("an empty log: cluster %q, %v", id.Cluster(), err)
		}
		if err := log.StoreLog(&raft.Log{Index: 1, Term: 1, Type: kind, Data: first}); err != nil {
			t.Fatal(err)
		}
		if err := RecoverClusterID(id, log); err != nil || id.Cluster() != want {
			t.Errorf("a first entry of type %s: cluster %q, %v; want %q", kind, id.Cluster(), err, want)
		}
	}
}

// The older of two processes of one server is told of the newer one, while that
// one still asks; never the newer of the older.
func TestLiveRuns(t *testing.T) {
	t.Parallel()
	older, newer := disk.Peer{ServerID: "a/1", Boot: 3, Run: "1"}, disk.Peer{ServerID: "a/1", Boot: 3, Run: "2"}
	var r liveRuns
	for _, step := range []struct {
		asks disk.Peer
		at   time.Duration
		told bool
	}{
		{older, 0, false},
		{newer, time.Second, false},
		{older, 2 * time.Second, true},
		{disk.Peer{ServerID: "b/1", Boot: 1}, 2 * time.Second, false},
		{newer, 3 * time.Second, false},
		{older, 10 * time.Second, false}, // the newer has been silent for too long
	} {
		got := r.record(step.asks, step.at, 3500*time.Millisecond)
		if (got != nil) != step.told || got != nil && *got != newer {
			t.Errorf("%s of run %q asks after %s and is told of %v, want told: %v", step.asks.ServerID, step.asks.Run, step.at, got, step.told)
		}
	}
}

// An answer counts as life for the time-out; a gap, or a restart, begins the
// time of stabilisation anew.
func TestPeerHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var c peerHealth
		c.init(time.Second)
		go c.clock.Run(ctx)
		answer := func(boot uint64) { c.recordAnswer(Hello{Peer: disk.Peer{ServerID: "a/1", ID: "a", Boot: boot}}) }
		well := func() time.Duration {
			k, _ := c.lookup("a/1")
			return k.answered.Sub(k.healthySince)
		}
		for range 5 {
			answer(1)
			time.Sleep(time.Second)
		}
		if alive, _ := c.alive("a/1"); !alive || well() != 4*time.Second {
			t.Errorf("five answers: alive %v, well for %s", alive, well())
		}
		answer(2)
		if well() != 0 {
			t.Errorf("after a restart it counts as well for %s", well())
		}
		time.Sleep(5 * time.Second)
		if alive, _ := c.alive("a/1"); alive {
			t.Error("alive after 5 s of silence")
		}
		answer(2)
		if alive, _ := c.alive("a/1"); !alive || well() != 0 {
			t.Errorf("after a gap: alive %v, well for %s", alive, well())
		}
		c.prune(func(string) bool { return false })
		if _, ok := c.lookup("a/1"); ok {
			t.Error("pruned and still known")
		}
	})
}

// The same text is logged again after a while, at once if it is more serious.
func TestLogThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s logThrottle
		for _, step := range []struct {
			text  string
			level slog.Level
			pause time.Duration
			due   bool
		}{
			{"a", slog.LevelInfo, 0, true},
			{"a", slog.LevelInfo, time.Second, false},
			{"a", slog.LevelWarn, 0, true},
			{"a", slog.LevelInfo, 0, false},
			{"b", slog.LevelInfo, 0, true},
			{"b", slog.LevelInfo, time.Minute, true},
		} {
			time.Sleep(step.pause)
			if got := s.due(step.text, step.level, time.Minute); got != step.due {
				t.Errorf("%q at level %s after %s: due %v, want %v", step.text, step.level, step.pause, got, step.due)
			}
		}
	})
}
