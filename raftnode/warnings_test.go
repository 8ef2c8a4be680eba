package raftnode_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode"
)

// loggedServer is a server whose warnings are kept.
type loggedServer struct {
	*server
	said *logBuffer
}

func (w *network) addLogged(id string, opts ...option) loggedServer {
	said := &logBuffer{}
	log := slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return loggedServer{w.addServer(id, append(opts, withConfig(func(c *raftnode.Config) { c.Logger = log }))...), said}
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// waitWarnings checks that within ten seconds of its start, which was just now, each of
// the servers has logged a warning with all of the words that are for it, and logs
// it again within a minute.
func waitWarnings(t *testing.T, all []loggedServer, words func(id string) []string) {
	t.Helper()
	count := func(s loggedServer) (n int) {
		for line := range strings.Lines(s.said.text()) {
			if contains(line, words(s.cfg.ID)...) {
				n++
			}
		}
		return n
	}
	time.Sleep(10 * time.Second)
	before := map[string]int{}
	for _, s := range all {
		if before[s.cfg.ID] = count(s); before[s.cfg.ID] == 0 {
			t.Errorf("%s has not said %q within 10 s, but only:\n%s", s.cfg.ID, words(s.cfg.ID), s.said.text())
		}
	}
	time.Sleep(62 * time.Second)
	for _, s := range all {
		if n := count(s) - before[s.cfg.ID]; n < 1 || n > 8 {
			t.Errorf("%s said it %d times in the next minute, want at least once and not often", s.cfg.ID, n)
		}
	}
}

func joinAll(c *raftnode.Config) { c.Join = []string{"n1:1", "n2:1", "n3:1"} }

// Three that all wait for a cluster that nobody is to found say so.
func TestNoFounderConfigured(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var all []loggedServer
		for _, id := range []string{"n1", "n2", "n3"} {
			all = append(all, w.addLogged(id, withConfig(joinAll)))
			defer all[len(all)-1].stop()
		}
		waitWarnings(t, all, func(id string) []string {
			others := strings.ReplaceAll("n1, n2, n3", id, "")
			return append([]string{"neither they nor this one, " + id, "start those that are to found it with the same --bootstrap-expect"},
				strings.FieldsFunc(others, func(r rune) bool { return strings.ContainsRune(", ", r) })...)
		})
		for _, s := range all {
			if ok, reason := s.Health(); ok || !contains(reason, "not yet a member of a cluster: ", "--bootstrap-expect") {
				t.Errorf("%s is ready: %v, %q", s.cfg.ID, ok, reason)
			}
		}
	})
}

// Founders that were told different numbers name both.
func TestFoundersWithDifferentNumbers(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var all []loggedServer
		for id, expect := range map[string]int{"n1": 2, "n2": 3, "n3": 3} {
			all = append(all, w.addLogged(id, withConfig(joinAll), withConfig(func(c *raftnode.Config) { c.Expect = expect })))
			defer all[len(all)-1].stop()
		}
		const mend = "all founders need the same --bootstrap-expect"
		waitWarnings(t, all, func(id string) []string {
			if id == "n1" {
				return []string{"1 of 2 founders", "n2 was started with --bootstrap-expect 3, this one, n1, with 2", "n3 was started with --bootstrap-expect 3", mend}
			}
			return []string{"2 of 3 founders", "n1 was started with --bootstrap-expect 2, this one, " + id + ", with 3", mend}
		})
	})
}

// One that only joins names the founders that are not complete, and they name it.
func TestOneFounderWasNotTold(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var all []loggedServer
		for id, expect := range map[string]int{"n1": 0, "n2": 3, "n3": 3} {
			all = append(all, w.addLogged(id, withConfig(joinAll), withConfig(func(c *raftnode.Config) { c.Expect = expect })))
			defer all[len(all)-1].stop()
		}
		waitWarnings(t, all, func(id string) []string {
			if id == "n1" {
				return []string{"n2 was started with --bootstrap-expect 3", "this one, n1, was started without it"}
			}
			return []string{"2 of 3 founders", "n1 was started without --bootstrap-expect, this one, " + id + ", with 3"}
		})
	})
}

// One that is given addresses where nobody is names them; one that is given none
// says how it is taken in.
func TestNoPeerAnswers(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := []loggedServer{w.addLogged("n1", joinOption("n9:1")), w.addLogged("n2")}
		defer all[0].stop()
		defer all[1].stop()
		waitWarnings(t, all, func(id string) []string {
			if id == "n1" {
				return []string{"no answer from n9:1"}
			}
			return []string{"--join", "raftctl members add n2:1"}
		})
	})
}

// A coordinator that has a cluster and is told to join one of another says that
// it does not, and why, and works on.
func TestJoinOfAnotherCluster(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		one := withConfig(func(c *raftnode.Config) { c.Expect = 1 })
		a, b := w.addLogged("a", one), w.addLogged("b", one)
		defer a.stop()
		eventually(t, "both have a cluster", func() bool { return ready(a.server) && ready(b.server) })
		b.stop()
		b.cfg.Join, b.machine = []string{"a:1"}, &recordingMachine{}
		b.start()
		defer b.stop()
		waitWarnings(t, []loggedServer{b}, func(string) []string {
			return []string{"--join names a coordinator of another cluster", "a:1", a.ClusterID(), b.ClusterID(), "leave it out of --join"}
		})
		if ok, reason := b.Health(); !ok || b.Status().Warning == "" {
			t.Errorf("b is ready: %v, %q, and warns %q", ok, reason, b.Status().Warning)
		}
		if w := a.Status().Warning; w != "" {
			t.Errorf("a warns %q", w)
		}
		// Who has no cluster yet does not choose between two.
		n := w.addLogged("n", withConfig(func(c *raftnode.Config) { c.Join = []string{"a:1", "b:1"} }))
		defer n.stop()
		waitWarnings(t, []loggedServer{n}, func(string) []string {
			return []string{"2 different clusters", "a to cluster " + a.ClusterID(), "b to cluster " + b.ClusterID(), "coordinators of one cluster only"}
		})
		if n.ClusterID() != "" {
			t.Errorf("n joined %s", n.ClusterID())
		}
	})
}

// Three that all moved and were told nothing say where they look for each other.
func TestAllAddressesChangedWithoutJoin(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := []loggedServer{w.addLogged("n1", founding), w.addLogged("n2", founding), w.addLogged("n3", founding)}
		eventually(t, "the three are ready", func() bool { return ready(all[0].server) && ready(all[1].server) && ready(all[2].server) })
		for _, s := range all {
			s.stop()
		}
		for _, s := range all {
			s.addr, s.machine, s.cfg.Join, s.cfg.Expect = s.cfg.ID+":2", &recordingMachine{}, nil, 0
			s.start()
			defer s.stop()
		}
		waitWarnings(t, all[:2], func(id string) []string {
			return []string{"only 1 of 3 voters answer", "n3 at n3:1", "--join"}
		})
	})
}

// Addresses that the machine's state has are asked as well.
func TestAnnouncedAddressesAreAsked(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		stopAll(all)
		for _, s := range all {
			s.addr, s.machine, s.cfg.Join, s.cfg.Expect = s.cfg.ID+":2", &recordingMachine{}, nil, 0
			s.cfg.Announced = func() []string { return []string{"n1:2", "n2:2"} }
			s.start()
		}
		eventually(t, "the three are ready", func() bool { return ready(all[0]) && ready(all[1]) && ready(all[2]) })
		write(t, all[0], "one")
		requireEqualState(t, all)
	})
}

var founding = withConfig(func(c *raftnode.Config) { joinAll(c); c.Expect = 3 })
