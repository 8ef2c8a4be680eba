package raftnode_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

var background = context.Background()

func joinOption(addr string) option {
	return withConfig(func(c *raftnode.Config) { c.Join = []string{addr} })
}

func member(t *testing.T, at *server, id string) (m raftnode.MemberInfo, ok bool) {
	t.Helper()
	all, err := at.Members(background)
	if err != nil {
		t.Fatalf("members at %s: %v", at.cfg.ID, err)
	}
	for _, m := range all {
		if m.ID == id {
			return m, true
		}
	}
	return m, false
}

func ready(s *server) bool { ok, _ := s.Health(); return ok }

// A new coordinator joins through any other, at first without a vote, and gets
// one when it has been well for a while.
func TestJoinAndPromotion(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		write(t, leader, "one")
		began := time.Now()
		all = append(all, w.addServer("n4", joinOption(others[0].addr)))
		n4 := all[3]
		eventually(t, "n4 is ready", func() bool { return ready(n4) })
		if m, _ := member(t, leader, "n4"); m.Suffrage != "nonvoter" || m.ServerID != n4.ServerID() {
			t.Errorf("n4 just joined: %+v, want a non-voter", m)
		}
		if n4.ClusterID() != leader.ClusterID() {
			t.Errorf("n4 is in cluster %q, the others in %q", n4.ClusterID(), leader.ClusterID())
		}
		write(t, n4, "two")
		eventually(t, "n4 has a vote", func() bool { m, _ := member(t, n4, "n4"); return m.Suffrage == "voter" })
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("n4 got its vote after %s, want the 10 s of stabilisation to pass", took)
		}
		if got := requireEqualState(t, all); got != "one two" {
			t.Errorf("machines hold %q", got)
		}
		if alive, _ := leader.Alive("n4"); !alive {
			t.Error("the leader does not count n4 as alive")
		}
		n4.stop()
		eventually(t, "n4 is seen to be gone", func() bool { alive, _ := leader.Alive("n4"); return !alive })
		if m, _ := member(t, leader, "n4"); m.State != "unreachable" || m.Suffrage != "voter" {
			t.Errorf("n4 stopped: %+v, want an unreachable voter", m)
		}
	})
}

// Who wants no vote gets none; who is demoted stays so until it is promoted.
func TestNonVoterStaysAndDemotedStays(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, quickPromotion)
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		all = append(all, w.addServer("n4", joinOption(leader.addr), withConfig(func(c *raftnode.Config) { c.NonVoter = true })))
		eventually(t, "n4 is ready", func() bool { return ready(all[3]) })
		if err := others[0].Demote(background, others[1].cfg.ID); err != nil {
			t.Fatalf("demote: %v", err)
		}
		time.Sleep(20 * time.Second)
		for _, id := range []string{"n4", others[1].cfg.ID} {
			if m, _ := member(t, leader, id); m.Suffrage != "nonvoter" {
				t.Errorf("%s after 20 s: %+v, want still no vote", id, m)
			}
		}
		for _, id := range []string{"n4", others[1].cfg.ID} {
			if err := all[3].Promote(background, id); err != nil {
				t.Fatalf("promote %s: %v", id, err)
			}
			if m, _ := member(t, leader, id); m.Suffrage != "voter" {
				t.Errorf("%s after its promotion: %+v", id, m)
			}
		}
	})
}

// A coordinator that lost its disk is a new server; the old one is removed.
func TestEmptyDiskIsANewServer(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, quickPromotion)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		old := all[2].ServerID()
		all[2].stop()
		fresh := w.addServer("n3", quickPromotion, withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n1:1", "n2:1", "n3:1"}, 3 }))
		all[2] = fresh
		if fresh.ServerID() == old {
			t.Fatal("an empty disk has the old server id")
		}
		eventually(t, "n3 votes again", func() bool { m, _ := member(t, all[0], "n3"); return m.Suffrage == "voter" && ready(fresh) })
		if m, _ := member(t, all[0], "n3"); m.ServerID != fresh.ServerID() {
			t.Errorf("n3 is %s, want the new server %s", m.ServerID, fresh.ServerID())
		}
		if s := all[0].Status(); s.Members != 3 {
			t.Errorf("%d members, want the old server gone", s.Members)
		}
		if fresh.ClusterID() != all[0].ClusterID() {
			t.Errorf("n3 is in cluster %s", fresh.ClusterID())
		}
		requireEqualState(t, all)
	})
}

// What is known of a server that was replaced is forgotten: it does not come back
// with every hello, to be written to disk and dropped again.
func TestReplacedServersAreForgotten(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		said := &logBuffer{}
		logged := withConfig(func(c *raftnode.Config) { c.Logger = slog.New(slog.NewTextHandler(said, nil)) })
		all := startThree(w, quickPromotion, logged)
		defer func() { stopAll(all) }()
		all[2].stop()
		all[2] = w.addServer("n3", quickPromotion, logged, withConfig(func(c *raftnode.Config) { c.Join = []string{"n1:1", "n2:1"} }))
		eventually(t, "n3 votes again", func() bool { m, _ := member(t, all[0], "n3"); return m.Suffrage == "voter" && ready(all[2]) })
		time.Sleep(time.Minute) // a record outlives its server by 35 s
		before := said.count("learnt where a coordinator is")
		time.Sleep(time.Minute)
		if more := said.count("learnt where a coordinator is") - before; more > 0 {
			t.Errorf("in a minute in which nothing changed, %d times somebody learnt where a coordinator is", more)
		}
	})
}

// Restarted one after the other, whoever leads at first and in whatever order,
// three change their leader at most twice: one that stops hands over to the one
// that was started last, whose turn is over.
func TestRolloutChangesLeadersTwice(t *testing.T) {
	t.Parallel()
	for first := range 3 {
		for _, order := range [][]int{{2, 1, 0}, {0, 1, 2}} {
			synctestNetwork(t, func(t *testing.T, w *network) {
				all := startThree(w)
				defer func() { stopAll(all) }()
				leader, _ := leaderOf(t, all)
				if leader != all[first] {
					if err := leader.transferTo(all[first].cfg.ID); err != nil {
						t.Fatal(err)
					}
				}
				leader, _ = leaderOf(t, all)
				changes := 0
				for _, n := range order {
					all[n].stop()
					all[n].start()
					eventually(t, "all are ready", func() bool { return !slices.ContainsFunc(all, func(s *server) bool { return !ready(s) }) })
					now, _ := leaderOf(t, all)
					if now != leader {
						changes++
					}
					leader = now
					time.Sleep(5 * time.Second) // all have heard of the restart
				}
				if changes > 2 {
					t.Errorf("restarted in the order %v, with n%d leading at first: %d changes of the leader", order, first+1, changes)
				}
			})
		}
	}
}

// An id that is in use by a living coordinator is not given to another.
func TestSecondOfTheSameIDIsRefused(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		twin := w.addServer("n2", joinOption("n1:1"), func(s *server) { s.addr = "elsewhere:1" })
		defer twin.stop()
		time.Sleep(30 * time.Second)
		if m, _ := member(t, all[0], "n2"); m.ServerID != all[1].ServerID() || ready(twin) {
			t.Errorf("n2 is %+v, want still the first; the twin is ready: %v", m, ready(twin))
		}
	})
}

// A lost disk of a founder does not make it found a second cluster, even while
// nobody else is there.
func TestLostDiskFoundsNothing(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		stopAll(all)
		fresh := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n1:1", "n2:1", "n3:1"}, 3 }))
		defer fresh.stop()
		time.Sleep(time.Minute)
		if fresh.ClusterID() != "" {
			t.Errorf("n1 alone founded %s", fresh.ClusterID())
		}
		if ok, reason := fresh.Health(); ok || !strings.HasPrefix(reason, "not yet a member of a cluster: 1 of 3 founders are here: [n1]; no answer from n2:1, n3:1") {
			t.Errorf("health %v, %q", ok, reason)
		}
	})
}

// One that may found alone does not while somebody it is told of, who may have
// a cluster, does not answer.
func TestOneAloneAsksFirst(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		w.isolate("n2:1")
		s := w.addServer("n1", withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n2:1"}, 1 }))
		defer s.stop()
		time.Sleep(time.Minute)
		if s.ClusterID() != "" {
			t.Fatalf("n1 founded %s though n2 is silent", s.ClusterID())
		}
		n2 := w.addServer("n2", withConfig(func(c *raftnode.Config) { c.Expect = 1 }))
		defer n2.stop()
		eventually(t, "n2 has a cluster", n2.IsLeader)
		w.heal()
		eventually(t, "n1 joins it", func() bool { return s.ClusterID() == n2.ClusterID() })
	})
}

// Four that are to be three found nothing rather than two clusters; when the
// fourth is gone, the three do.
func TestTooManyFounders(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		join := withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n1:1,n2:1", "n3:1", "n4:1"}, 3 })
		var all []*server
		for _, id := range []string{"n1", "n2", "n3", "n4"} {
			s := w.addServer(id, join, func(s *server) { w.isolate(s.addr) })
			all = append(all, s)
		}
		defer func() { stopAll(all) }()
		w.heal()
		time.Sleep(10 * time.Second)
		for _, s := range all {
			if s.ClusterID() != "" {
				t.Fatalf("%s founded %s though there are four", s.cfg.ID, s.ClusterID())
			}
		}
		all[3].stop()
		eventually(t, "the three are ready", func() bool { return !slices.ContainsFunc(all[:3], func(s *server) bool { return !ready(s) }) })
	})
}

// Founders that wait for one more do so quietly: they look for it now and then,
// and say once what is missing, and again now and then.
func TestWaitingFoundersAreQuiet(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		said := &logBuffer{}
		join := withConfig(func(c *raftnode.Config) {
			c.Join, c.Expect, c.Logger = []string{"n1:1,n2:1", "n3:1"}, 3, slog.New(slog.NewTextHandler(said, nil))
		})
		all := []*server{w.addServer("n1", join), w.addServer("n2", join)}
		defer func() { stopAll(all) }()
		time.Sleep(10 * time.Second)
		asked, told := w.callCount("raftnode.hello"), said.count("not in a cluster yet")
		time.Sleep(30 * time.Second)
		if more := w.callCount("raftnode.hello") - asked; more > 200 || more < 20 {
			t.Errorf("two waited 30 s for a third: they said hello %d times, want about once a second to each of three", more)
		}
		if more := said.count("not in a cluster yet") - told; more > 8 || more < 4 {
			t.Errorf("two waited 30 s for a third: said %d times, want every 10 s each", more)
		}
		all = append(all, w.addServer("n3", join))
		began := time.Now()
		eventually(t, "the three are ready", func() bool { return !slices.ContainsFunc(all, func(s *server) bool { return !ready(s) }) })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the third was found after %s", took)
		}
	})
}

// logBuffer is a log that is counted in.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), text)
}

// contains reports whether text has every one of the words.
func contains(text string, words ...string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// Founders that do not all see the same found nothing: here only one of them
// sees a fourth.
func TestFoundersMustAgree(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		join := withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n1:1,n2:1", "n3:1", "n4:1"}, 3 })
		var all []*server
		for _, id := range []string{"n1", "n2", "n3", "n4"} {
			all = append(all, w.addServer(id, join, func(s *server) { w.isolate(s.addr) }))
		}
		defer func() { stopAll(all) }()
		w.heal()
		w.partition([]string{"n4:1"}, []string{"n1:1", "n3:1"})
		time.Sleep(10 * time.Second)
		for _, s := range all {
			if s.ClusterID() != "" {
				t.Fatalf("%s founded %s though n2 sees four", s.cfg.ID, s.ClusterID())
			}
		}
	})
}

// Founding works in any order of starts and with founders that come and go.
func TestFoundingWhileServersRestart(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		join := withConfig(func(c *raftnode.Config) { c.Join, c.Expect = []string{"n1:1,n2:1,n3:1"}, 3 })
		n3 := w.addServer("n3", join)
		time.Sleep(5 * time.Second)
		n1 := w.addServer("n1", join)
		time.Sleep(time.Second)
		n1.stop()
		n2 := w.addServer("n2", join)
		time.Sleep(3 * time.Second)
		n1.start()
		all := []*server{n1, n2, n3}
		defer func() { stopAll(all) }()
		eventually(t, "the three are ready", func() bool { return !slices.ContainsFunc(all, func(s *server) bool { return !ready(s) }) })
		if n1.ClusterID() != n2.ClusterID() || n2.ClusterID() != n3.ClusterID() {
			t.Errorf("clusters %s, %s, %s", n1.ClusterID(), n2.ClusterID(), n3.ClusterID())
		}
	})
}

// Two of three come back at other addresses and know nobody but by their own
// memory: the third, and the leader, learn where they are.
func TestChangedAddresses(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		requireEqualState(t, all)
		stopAll(all)
		for i, s := range all {
			s.cfg.Join, s.machine = nil, &recordingMachine{}
			s.cfg.Expect = 0
			if i > 0 {
				s.addr = s.cfg.ID + ":2"
			}
			s.start()
		}
		eventually(t, "the three are ready", func() bool { return !slices.ContainsFunc(all, func(s *server) bool { return !ready(s) }) })
		write(t, all[1], "two")
		if got := requireEqualState(t, all); got != "one two" {
			t.Errorf("machines hold %q", got)
		}
		eventually(t, "the new addresses are in the configuration", func() bool {
			for _, s := range all {
				for _, r := range raftnode.Raft(s.Node).GetConfiguration().Configuration().Servers {
					if i := slices.IndexFunc(all, func(s *server) bool { return s.ServerID() == string(r.ID) }); all[i].addr != string(r.Address) {
						return false
					}
				}
			}
			return true
		})
	})
}

// All three at new addresses find each other by --join.
func TestAllAddressesChanged(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		write(t, all[0], "one")
		requireEqualState(t, all)
		stopAll(all)
		for _, s := range all {
			s.addr, s.machine = s.cfg.ID+":2", &recordingMachine{}
			s.cfg.Join = []string{"n1:2,n2:2,n3:2"}
			s.start()
		}
		eventually(t, "the three are ready", func() bool { return !slices.ContainsFunc(all, func(s *server) bool { return !ready(s) }) })
		write(t, all[2], "two")
		requireEqualState(t, all)
	})
}

// Orders that would end the cluster, or make no sense, are refused.
func TestRefusedMembershipChanges(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		must := func(what string, err error, code wire.Code, text string) {
			t.Helper()
			if wire.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %s with %q", what, err, code, text)
			}
		}
		for _, at := range []*server{leader, others[0]} {
			must("remove unknown", at.RemoveMember(background, "n9"), wire.CodeNotFound, "n9")
			must("promote unknown", at.Promote(background, "n9"), wire.CodeNotFound, "n9")
			must("demote unknown", at.Demote(background, "n9"), wire.CodeNotFound, "n9")
			must("transfer to unknown", at.transferTo("n9"), wire.CodeNotFound, "n9")
			_, err := at.AddMember(background, "nowhere:1", false)
			must("add nobody", err, wire.CodeConflict, "nowhere:1")
			_, err = at.AddMember(background, "", false)
			must("add nothing", err, wire.CodeInvalid, "address")
		}
		others[1].stop()
		eventually(t, "it is seen to be gone", func() bool { alive, _ := leader.Alive(others[1].cfg.ID); return !alive })
		must("remove the other living one", leader.RemoveMember(background, others[0].cfg.ID), wire.CodeConflict, "too few")
		must("promote the dead", func() error {
			if err := leader.Demote(background, others[1].cfg.ID); wire.CodeOf(err) != wire.CodeConflict {
				t.Errorf("demote the dead: %v, want conflict: it cannot be told", err)
			}
			return leader.Promote(background, "n9")
		}(), wire.CodeNotFound, "n9")
		if err := leader.RemoveMember(background, others[1].cfg.ID); err != nil {
			t.Fatalf("remove the dead: %v", err)
		}
		if err := leader.RemoveMember(background, others[0].cfg.ID); err != nil {
			t.Fatalf("remove one of two: %v", err)
		}
		must("remove the last", leader.RemoveMember(background, leader.cfg.ID), wire.CodeConflict, "last vote")
		must("demote the last", leader.Demote(background, leader.cfg.ID), wire.CodeConflict, "last vote")
		must("transfer to nobody", leader.transferTo(""), wire.CodeConflict, "no other voter")
		write(t, leader, "one")
	})
}

// A change that was decided in sight of another configuration is refused, by whichever
// server it is asked of, and says what the configuration is now; of two that were
// decided at the same time one is carried out.
func TestChangesAreForOneConfiguration(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		first := leader.ConfigIndex()
		if first == 0 {
			t.Fatal("the leader knows no configuration")
		}
		id := others[1].cfg.ID
		for _, at := range []*server{leader, others[0]} {
			for _, change := range []func(context.Context, string, raftnode.MemberChange) (raftnode.MemberChangeResult, error){at.Node.RemoveMember, at.Node.Promote, at.Node.Demote} {
				_, err := change(background, id, raftnode.MemberChange{ConfigIndex: first + 7})
				if text := fmt.Sprintf("of index %d by now, and this change is for that of %d", first, first+7); wire.CodeOf(err) != wire.CodeConflict || !strings.Contains(err.Error(), text) {
					t.Errorf("got %v, want a conflict with %q", err, text)
				}
			}
		}
		var done [2]raftnode.MemberChangeResult
		var errs [2]error
		var both sync.WaitGroup
		for i, at := range []*server{leader, others[0]} {
			both.Go(func() {
				done[i], errs[i] = at.Node.Demote(background, others[i].cfg.ID, raftnode.MemberChange{ConfigIndex: first})
			})
		}
		both.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || wire.CodeOf(errs[1-winner]) != wire.CodeConflict {
			t.Fatalf("two changes of one configuration: %v, %v", errs[0], errs[1])
		}
		eventually(t, "all know the new configuration", func() bool {
			return all[0].ConfigIndex() == done[winner].ConfigIndex && all[1].ConfigIndex() == done[winner].ConfigIndex && all[2].ConfigIndex() == done[winner].ConfigIndex
		})
		if done[winner].ConfigIndex <= first {
			t.Errorf("the configuration of %d became that of %d", first, done[winner].ConfigIndex)
		}
		if _, err := leader.Node.Promote(background, others[winner].cfg.ID, raftnode.MemberChange{ConfigIndex: done[winner].ConfigIndex}); err != nil {
			t.Errorf("the change after it: %v", err)
		}
		// Raft judges, too, in the words that are translated.
		err := raftnode.Raft(leader.Node).DemoteVoter(raft.ServerID(others[0].ServerID()), 1, 0).Error()
		if err == nil || !strings.HasPrefix(err.Error(), "configuration changed since 1 (latest is ") {
			t.Errorf("raft says %v", err)
		}
	})
}

// threeWithoutOne starts a cluster of three, of which the last of the others is stopped and
// seen to be gone.
func threeWithoutOne(w *network) (all []*server, leader *server, others []*server) {
	w.t.Helper()
	all = startThree(w)
	leader, others = leaderOf(w.t, all)
	others[1].stop()
	eventually(w.t, "it is seen to be gone", func() bool { alive, _ := leader.Alive(others[1].cfg.ID); return !alive })
	return all, leader, others
}

// A change of which one step is done and the next is not is told as unknown, not as refused: the old server of a
// coordinator that comes back with an empty disk is removed, and then its leader no longer leads.
func TestAChangeThatIsHalfDoneIsUnknown(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all, leader, others := threeWithoutOne(w)
		defer func() { stopAll(all) }()
		back := w.addServer(others[1].cfg.ID)
		all = append(all, back)
		steps := 0
		leader.OnConfigChange(func(context.Context) {
			steps++
			err := raftnode.Raft(leader.Node).LeadershipTransferToServer(raft.ServerID(others[0].ServerID()), raft.ServerAddress(others[0].addr)).Error()
			if err != nil {
				t.Errorf("hand over: %v", err)
			}
		})
		index := leader.ConfigIndex()
		_, err := leader.Node.AddMember(background, back.addr, false, raftnode.MemberChange{ConfigIndex: index})
		if wire.CodeOf(err) != wire.CodeUnknown || !strings.Contains(err.Error(), "one step of the change is done") {
			t.Fatalf("half a change: %v, want unknown", err)
		}
		if now := leader.ConfigIndex(); steps != 1 || now == index {
			t.Errorf("%d steps were done, and the configuration is that of %d, it was that of %d", steps, now, index)
		}
		if _, err := leader.AddMember(background, back.addr, false); err != nil {
			t.Errorf("what is missing, ordered again: %v", err)
		}
	})
}

// A configuration's index outlives a restart from a snapshot.
func TestConfigIndexOutlivesARestart(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		id := others[1].cfg.ID
		if err := leader.Demote(background, id); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has its vote again", func() bool { return leader.Promote(background, id) == nil })
		want := leader.ConfigIndex()
		for i := range 20 {
			write(t, leader, fmt.Sprint(i))
		}
		if err := raftnode.Raft(leader.Node).Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		leader.stop()
		leader.start()
		eventually(t, "it knows the configuration", func() bool { return leader.ConfigIndex() == want })
	})
}

// The leader removes who has not answered for long: never below the least number of
// voters, never if too few of the others answer, not a moment too early, one at a
// time; and nobody if it is told so. Those without a vote go whoever is left.
func TestDeadMembersAreRemoved(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		var cleanup atomic.Bool
		var least atomic.Int64
		least.Store(3)
		settings := withConfig(func(c *raftnode.Config) {
			c.Autopilot = func(s raftnode.AutopilotSettings) raftnode.AutopilotSettings {
				s.CleanupDead, s.DeadAfter, s.MinVoters = cleanup.Load(), time.Minute, int(least.Load())
				return s
			}
		})
		all := []*server{}
		for i := range 5 {
			all = append(all, w.addServer(fmt.Sprint("n", i+1), settings, withConfig(func(c *raftnode.Config) {
				c.Join, c.Expect = []string{"n1:1", "n2:1", "n3:1", "n4:1", "n5:1"}, 5
			})))
		}
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		members := func() (n int) {
			list, err := leader.Members(background)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		cleanup.Store(true)
		others[0].stop()
		time.Sleep(55 * time.Second)
		if n := members(); n != 5 {
			t.Fatalf("after 55 seconds %d members are left", n)
		}
		time.Sleep(10 * time.Second)
		if _, ok := member(t, leader, others[0].cfg.ID); ok || members() != 4 {
			t.Fatalf("after 65 seconds %d members are left, %s among them: %t", members(), others[0].cfg.ID, ok)
		}
		cleanup.Store(false)
		others[1].stop()
		time.Sleep(2 * time.Minute)
		if n := members(); n != 4 {
			t.Fatalf("told to remove nobody, it has left %d", n)
		}
		least.Store(4)
		cleanup.Store(true)
		time.Sleep(time.Minute)
		if n := members(); n != 4 {
			t.Fatalf("of at least 4 voters %d are left", n)
		}
		least.Store(3)
		eventually(t, "the second is removed", func() bool { return members() == 3 })
		others[2].stop()
		time.Sleep(3 * time.Minute)
		if n := members(); n != 3 {
			t.Fatalf("of at least 3 voters %d are left", n)
		}
		// Two are left, of which each is needed.
		least.Store(1)
		eventually(t, "the third is removed", func() bool { return members() == 2 })
		others[3].stop()
		time.Sleep(3 * time.Minute)
		if n := members(); n != 2 {
			t.Fatalf("without a majority %d are left", n)
		}
	})
}

// A newcomer that the leader has not reached yet is not silent since the leader's process began.
func TestANewcomerHasTimeToAnswer(t *testing.T) {
	t.Parallel()
	const deadAfter = time.Minute
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) {
			c.Autopilot = func(s raftnode.AutopilotSettings) raftnode.AutopilotSettings {
				s.DeadAfter = deadAfter
				return s
			}
		}))
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		time.Sleep(2 * deadAfter)
		w.partition([]string{"n4:1"}, []string{leader.addr}) // it joins through another member
		n4 := w.addServer("n4", withConfig(func(c *raftnode.Config) { c.Join = []string{others[0].addr} }))
		eventually(t, "n4 is a member", func() bool { _, ok := member(t, leader, "n4"); return ok })
		began, index := time.Now(), leader.ConfigIndex()
		n4.stop() // nor does it ask again
		for time.Since(began) < deadAfter-2*time.Second {
			if now := leader.ConfigIndex(); now != index {
				t.Fatalf("%v after it has joined the membership is changed, at index %d", time.Since(began), now)
			}
			time.Sleep(100 * time.Millisecond)
		}
		eventually(t, "n4 is removed, for it never answered", func() bool { _, ok := member(t, leader, "n4"); return !ok })
	})
}

// A lag that was set beyond all bounds makes nobody ill.
func TestTheLargestLag(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, withConfig(func(c *raftnode.Config) {
			c.Autopilot = func(s raftnode.AutopilotSettings) raftnode.AutopilotSettings {
				s.MaxLag, s.Stabilize = math.MaxUint64, 2*time.Second
				return s
			}
		}))
		all = append(all, w.addServer("n4", joinOption(all[0].addr)))
		defer func() { stopAll(all) }()
		eventually(t, "all four are well and vote", func() bool {
			list, err := all[0].Members(background)
			return err == nil && len(list) == 4 && !slices.ContainsFunc(list, func(m raftnode.MemberInfo) bool { return !m.Healthy || m.Suffrage != "voter" })
		})
	})
}

// By force a vote is taken though too few are left; never the last one.
func TestForcedChange(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all, leader, others := threeWithoutOne(w)
		defer func() { stopAll(all) }()
		if err := leader.RemoveMember(background, others[0].cfg.ID); wire.CodeOf(err) != wire.CodeConflict {
			t.Fatalf("without force: %v", err)
		}
		ctx, cancel := context.WithTimeout(background, 5*time.Second)
		defer cancel()
		_, err := leader.Node.RemoveMember(ctx, others[0].cfg.ID, raftnode.MemberChange{Force: true})
		if wire.CodeOf(err) != wire.CodeUnknown {
			t.Errorf("by force: %v, want unknown: those that are left cannot agree", err)
		}
		others[1].start()
		eventually(t, "it is out once the third is back", func() bool {
			list, err := others[1].Members(background)
			return err == nil && len(list) == 2
		})
		eventually(t, "there is a leader", func() bool { return leader.IsLeader() || others[1].IsLeader() })
	})
}

// A removed server says so, stays quiet even over a restart, and may be added
// again. Removing the leader hands over first.
func TestRemovedServer(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		news := map[string]chan bool{}
		all := startThree(w, quickPromotion, func(s *server) {
			told := make(chan bool, 4)
			news[s.cfg.ID] = told
			s.cfg.OnRemoved = func(removed bool) { told <- removed }
		})
		defer func() { stopAll(all) }()
		gone, others := leaderOf(t, all)
		write(t, gone, "one")
		told := news[gone.cfg.ID]
		if err := gone.RemoveMember(background, gone.cfg.ID); err != nil {
			t.Fatalf("remove the leader: %v", err)
		}
		if removed := <-told; !removed {
			t.Error("it was told that it is a member again")
		}
		eventually(t, "it knows", func() bool { ok, why := gone.Health(); return !ok && why == "removed from the cluster" })
		write(t, others[0], "two")
		leader, _ := leaderOf(t, others)
		term := leader.Status().Term
		gone.stop()
		gone.machine = &recordingMachine{}
		gone.start()
		time.Sleep(20 * time.Second)
		if ok, why := gone.Health(); ok || why != "removed from the cluster" {
			t.Errorf("after a restart: %v, %q", ok, why)
		}
		if w := gone.Status().Warning; !contains(w, "was removed from cluster", "raftctl members add "+gone.addr) {
			t.Errorf("after a restart the removed server warns %q", w)
		}
		if s := leader.Status(); s.Term != term || s.Members != 2 {
			t.Errorf("the removed server disturbed the others: %+v", s)
		}
		if m, err := others[0].AddMember(background, gone.addr, false); err != nil || m.ID != gone.cfg.ID {
			t.Fatalf("add it again: %+v, %v", m, err)
		}
		eventually(t, "it is back with a vote", func() bool {
			m, _ := member(t, leader, gone.cfg.ID)
			return ready(gone) && m.Suffrage == "voter"
		})
		if removed := <-told; removed || len(told) > 0 {
			t.Errorf("added again it was told removed: %t, and %d more", removed, len(told))
		}
		requireEqualState(t, all)
	})
}

// A server removed while it was away learns it when it comes back.
func TestRemovedWhileAway(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		defer func() { stopAll(all) }()
		leader, others := leaderOf(t, all)
		away := others[1]
		away.stop()
		eventually(t, "it is seen to be gone", func() bool { alive, _ := leader.Alive(away.cfg.ID); return !alive })
		if err := others[0].RemoveMember(background, away.cfg.ID); err != nil {
			t.Fatal(err)
		}
		away.machine = &recordingMachine{}
		away.start()
		eventually(t, "it knows", func() bool { _, why := away.Health(); return why == "removed from the cluster" })
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if s := away.Status(); s.State != "follower" {
				t.Fatalf("a removed server is %s: it asks for votes", s.State)
			}
		}
		if s := leader.Status(); s.Members != 2 {
			t.Errorf("%d members, want 2", s.Members)
		}
	})
}

// An operator adds a coordinator that waits without any address to join.
func TestAddWaitingCoordinator(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w, quickPromotion)
		defer func() { stopAll(all) }()
		all = append(all, w.addServer("n4"))
		m, err := all[1].AddMember(background, "n4:1", true)
		if err != nil || m.ID != "n4" || m.Suffrage != "nonvoter" {
			t.Fatalf("add: %+v, %v", m, err)
		}
		if _, err := all[0].AddMember(background, "n4:1", true); err != nil {
			t.Errorf("add again: %v", err)
		}
		eventually(t, "n4 is ready", func() bool { return ready(all[3]) })
		time.Sleep(10 * time.Second)
		if m, _ := member(t, all[0], "n4"); m.Suffrage != "nonvoter" || all[3].ClusterID() != all[0].ClusterID() {
			t.Errorf("n4 added as non-voter: %+v in cluster %q", m, all[3].ClusterID())
		}
	})
}

// A far follower gets a snapshot, and strict reads there see its end.
func TestSnapshotToNewMember(t *testing.T) {
	t.Parallel()
	synctestNetwork(t, func(t *testing.T, w *network) {
		few := withConfig(func(c *raftnode.Config) {
			c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 20, 5, 100*time.Millisecond
		})
		all := startThree(w, few)
		defer func() { stopAll(all) }()
		for range 100 {
			write(t, all[0], "w")
		}
		// By all, since any of them may lead when n4 comes.
		eventually(t, "snapshots are made", func() bool {
			return all[0].Status().LastSnapshot > 20 && all[1].Status().LastSnapshot > 20 && all[2].Status().LastSnapshot > 20
		})
		n4 := w.addServer("n4", few, joinOption("n2:1"))
		all = append(all, n4)
		eventually(t, "n4 is ready", func() bool { return ready(n4) })
		if err := read(n4, raftnode.Strict, time.Second); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(n4.machine.text(), "w"); got != 100 {
			t.Errorf("n4 has %d of 100 writes", got)
		}
		if n4.Status().LastSnapshot == 0 {
			t.Error("n4 got the log, not a snapshot: the scene is not set")
		}
		var sent raftnode.SnapshotStats
		for _, s := range all[:3] {
			of := s.Status().SnapshotsSent[n4.ServerID()]
			sent.Sent, sent.SinceAppend = sent.Sent+of.Sent, sent.SinceAppend+of.SinceAppend
		}
		if sent.Sent == 0 || sent.SinceAppend > 0 {
			t.Errorf("n4 took a snapshot and has caught up, but the others count %+v", sent)
		}
	})
}

// A newcomer that founds nothing joins a cluster whose members have all been started
// again since they founded it: none of them is a founder any more.
func TestJoinAfterARestartOfAll(t *testing.T) {
	synctestNetwork(t, func(t *testing.T, w *network) {
		all := startThree(w)
		stopAll(all)
		for _, s := range all {
			s.start()
		}
		leader, _ := leaderOf(t, all)
		n4 := w.addServer("n4", withConfig(func(c *raftnode.Config) { c.Join = addrs(all...) }))
		defer stopAll(append(all, n4))
		eventually(t, "n4 is a member", func() bool { return len(n4.Status().ServerID) > 0 && n4.ClusterID() == leader.ClusterID() })
	})
}
