package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// healthyCluster is a cluster of three in which one may be restarted.
func healthyCluster() clusterState {
	s := clusterState{health: wire.Autopilot{Healthy: true, FailureTolerance: 1, MaxLag: 250}}
	for _, id := range []string{"n1", "n2", "n3"} {
		s.members.Members = append(s.members.Members, wire.Member{
			ID: id, ServerID: id + "/1", Suffrage: "voter", State: "follower", Healthy: true, Alive: true, LastIndex: 1000, AppliedIndex: 1000, Boot: 1,
		})
		s.health.Servers = append(s.health.Servers, wire.ServerHealth{ID: id, ServerID: id + "/1", Healthy: true})
	}
	s.members.Members[0].State = "leader"
	return s
}

// The gate is shut by each of its reasons, which it names.
func TestRolloutGate(t *testing.T) {
	if s := healthyCluster(); len(s.blockers("")) > 0 {
		t.Fatalf("all is well, and the gate says %q", s.blockers(""))
	}
	for want, harm := range map[string]func(*clusterState){
		"0 members lead": func(s *clusterState) { s.members.Members[0].State = "follower" },
		"2 members lead": func(s *clusterState) { s.members.Members[1].State = "leader" },
		"n2 knows no leader": func(s *clusterState) {
			s.health.Servers[1].Healthy, s.health.Servers[1].Reason = false, "knows no leader"
		},
		"0 voters may fail":         func(s *clusterState) { s.health.FailureTolerance = 0 },
		"n3 has applied the log to": func(s *clusterState) { s.members.Members[2].AppliedIndex = 700 },
		"n3 has no vote yet":        func(s *clusterState) { s.members.Members[2].Suffrage = "nonvoter" },
		"disk of n1 is nearly full": func(s *clusterState) { s.status.ID, s.status.Disk = "n1", &wire.DiskSpace{Low: true} },
		"n1 warns: look":            func(s *clusterState) { s.status.ID, s.status.Warning = "n1", "look" },
	} {
		s := healthyCluster()
		harm(&s)
		if why := s.blockers(""); len(why) != 1 || !strings.Contains(why[0], want) {
			t.Errorf("want one reason with %q, got %q", want, why)
		}
	}
	s := healthyCluster()
	s.health.MaxLag = math.MaxUint64
	if why := s.blockers(""); len(why) > 0 {
		t.Errorf("a member may be behind by any number of entries, and the gate says %q", why)
	}
	s = healthyCluster()
	s.members.Members[2].Suffrage, s.members.Members[2].NonVoter = "nonvoter", true
	s.health.Servers[1].Healthy, s.health.FailureTolerance = false, 0
	if why := s.blockers("n2"); len(why) > 0 {
		t.Errorf("n2 is to be restarted, n3 is to have no vote, and the gate says %q", why)
	}
}

// Who is not well is next, then those without a vote, then other followers, the leader last;
// a record tells who was restarted since, also by an empty disk.
func TestRolloutOrder(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := healthyCluster()
	s.members.Members[2].Suffrage = "nonvoter"
	var order []string
	for {
		record, _, err := openRollout(s.members.Members, "c1", "x {id}", false, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		next, ok := (&rollout{done: record}).next(&s)
		if !ok {
			if err := record.remove(); err != nil {
				t.Error(err)
			}
			break
		}
		order = append(order, next.ID)
		i := slices.IndexFunc(s.members.Members, func(m wire.Member) bool { return m.ID == next.ID })
		if m := &s.members.Members[i]; m.ID == "n2" && m.Healthy {
			m.Healthy, m.Boot = false, 2 // it is on its way
		} else if m.ID == "n3" {
			m.ServerID, m.Boot = "n3/2", 1
		} else {
			m.Healthy, m.Boot = true, 2
		}
	}
	if want := []string{"n3", "n2", "n2", "n1"}; !slices.Equal(order, want) {
		t.Errorf("the order was %q, want %q", order, want)
	}
	file := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "folkmoot", "rollout-c1.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRollout(s.members.Members, "c1", "x {id}", false, time.Now()); err == nil || !strings.Contains(err.Error(), "--from-start") {
		t.Errorf("a broken record: %v", err)
	}
	if _, _, err := openRollout(s.members.Members, "c1", "x {id}", true, time.Now()); err != nil {
		t.Errorf("begun from the start: %v", err)
	}
}

// A rollout that was given up is gone on with within a day, and says so; of an older one, and where nothing is left to do,
// nobody is told that all are done.
func TestAGivenUpRollout(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := healthyCluster()
	begun := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	open := func(after time.Duration, fromStart bool) (*rolloutRecord, bool, error) {
		return openRollout(s.members.Members, "c1", "x {id}", fromStart, begun.Add(after))
	}
	if _, isNew, err := open(0, false); err != nil || !isNew {
		t.Fatalf("begun: new is %t, %v", isNew, err)
	}
	goOn := func(after time.Duration) (said string, err error) {
		t.Helper()
		record, isNew, err := open(after, false)
		if err != nil || isNew {
			t.Fatalf("gone on with: new is %t, %v", isNew, err)
		}
		var out bytes.Buffer
		err = (&rollout{a: &app{out: &out}, done: record}).goOn(&s)
		return out.String(), err
	}
	s.members.Members[1].Boot, s.members.Members[2].Boot = 2, 2
	if said, err := goOn(time.Hour); err != nil || said != "goes on with the rollout begun at 2026-12-01T10:00:00Z; done already: n2, n3\n" {
		t.Errorf("an hour later: %q, %v", said, err)
	}
	s.members.Members[0].Boot = 2
	if said, err := goOn(2 * time.Hour); err == nil || said != "" || !strings.Contains(err.Error(), "--from-start") {
		t.Errorf("all were restarted: %q, %v", said, err)
	}
	s.members.Members[0].Healthy = false // it is on its way
	if _, err := goOn(2 * time.Hour); err != nil {
		t.Errorf("one is not well yet: %v", err)
	}
	if _, _, err := open(25*time.Hour, false); err == nil || !strings.Contains(err.Error(), "2026-12-01T10:00:00Z") || !strings.Contains(err.Error(), "--from-start") {
		t.Errorf("a day later: %v", err)
	}
	record, isNew, err := open(25*time.Hour, true)
	if err != nil || !isNew || record.begunAnew(s.members.Members[1]) {
		t.Errorf("from the start: new is %t, %v", isNew, err)
	}
	if err := os.WriteFile(record.file, []byte(`{"restart": "x {id}", "begun": "2026-12-01T10:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if record, _, err = open(0, false); err != nil || record.begunAnew(s.members.Members[1]) {
		t.Errorf("a record of nobody: %v", err)
	}
}
