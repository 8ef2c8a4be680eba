package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

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
		"n3 has not applied the last change": func(s *clusterState) {
			s.members.ConfigIndex, s.members.Members[2].AppliedIndex = 1000, 999
		},
		"the membership was changed while": func(s *clusterState) {
			s.health.Servers = append(s.health.Servers, wire.ServerHealth{ID: "n4", ServerID: "n4/1", Reason: "has not answered yet"})
		},
		"disk of n1 is nearly full": func(s *clusterState) { s.status.ID, s.status.Disk = "n1", &wire.DiskSpace{Low: true} },
		"disk of n2 is full":        func(s *clusterState) { s.members.Members[1].Disk = &wire.DiskSpace{Low: true, State: wire.DiskFull} },
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
	s.members.ConfigIndex, s.members.Members[1].AppliedIndex = 1000, 900
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

// rolloutCluster is a cluster of three, of which n1 leads at first, and which answers raftctl.
type rolloutCluster struct {
	*fake
	dir string // the restart command makes a file here, of the coordinator's name

	mu     sync.Mutex
	leader string
	ill    int  // so many more times n3 is told not to be well
	early  bool // n1 was restarted meanwhile
}

func startRolloutCluster(t *testing.T, transfer http.HandlerFunc) *rolloutCluster {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	c := &rolloutCluster{dir: t.TempDir(), leader: "n1"}
	answer := func(of func(s *clusterState) any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c.mu.Lock()
			defer c.mu.Unlock()
			s := c.state()
			json.NewEncoder(w).Encode(of(&s))
		}
	}
	c.fake = coordinator(t, map[string]any{
		"GET /members": answer(func(s *clusterState) any { return s.members }),
		"GET /autopilot": answer(func(s *clusterState) any {
			c.ill = max(0, c.ill-1)
			return s.health
		}),
		"GET /status":           wire.Status{ID: "n1", ClusterID: "c1"},
		"POST /leader/transfer": transfer,
	})
	return c
}

// state is what is told now.
func (c *rolloutCluster) state() clusterState {
	s := healthyCluster()
	for i := range s.members.Members {
		m := &s.members.Members[i]
		m.State = "follower"
		if m.ID == c.leader {
			m.State = "leader"
		}
		if c.has(m.ID) {
			m.Boot = 2
		}
		if c.ill > 0 && m.ID == "n3" {
			s.health.Servers[i].Healthy, s.health.Servers[i].Reason = false, "is 900 entries behind"
			c.early = c.early || c.has("n1")
		}
	}
	return s
}

func (c *rolloutCluster) has(id string) bool {
	_, err := os.Stat(filepath.Join(c.dir, id))
	return err == nil
}

// After it has handed over leadership, one is restarted once the gate is open again.
func TestTheGateIsAskedAfterTheTransfer(t *testing.T) {
	var c *rolloutCluster
	c = startRolloutCluster(t, func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.leader, c.ill = "n2", 3
		json.NewEncoder(w).Encode(wire.Leader{ID: "n2", Term: 7})
	})
	code, out, errs := raftctl(t, c.fake, "rollout", "run", "--only", "n1", "--timeout", "1m", "--restart", "touch "+c.dir+"/{id}")
	if code != exitDone || out != "n2 leads, in term 7\nn1 is restarted\nall are done\n" {
		t.Errorf("exit status %d, %q, %q", code, out, errs)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.early {
		t.Error("n1 was restarted while n3 was not well")
	}
}

// Where nobody knows whether leadership was handed over, nobody is told that it was not.
func TestATransferOfUnknownOutcome(t *testing.T) {
	for want, transfer := range map[string]http.HandlerFunc{
		"it is unknown whether leadership of n1 was handed to n2": problem(http.StatusGatewayTimeout, wire.CodeUnknown, "no answer"),
		"leadership of n1 was not handed to n2":                   problem(http.StatusConflict, wire.CodeConflict, "n2 is not well"),
	} {
		c := startRolloutCluster(t, transfer)
		status := exitFailed
		if strings.Contains(want, "unknown") {
			status = exitUnknown
		}
		code, _, errs := raftctl(t, c.fake, "rollout", "run", "--only", "n1", "--timeout", "1m", "--restart", "touch "+c.dir+"/{id}")
		if code != status || !strings.Contains(errs, want) || c.has("n1") {
			t.Errorf("exit status %d, %q, want %d and %q", code, errs, status, want)
		}
	}
}

// A restart command that does not end is ended at the end of --timeout.
func TestARestartCommandThatHangs(t *testing.T) {
	c := startRolloutCluster(t, nil)
	code, _, errs := raftctl(t, c.fake, "rollout", "run", "--only", "n2", "--timeout", "5s", "--restart", "sleep 30; touch "+c.dir+"/{id}")
	if code != exitFailed || !strings.Contains(errs, "was not done within 5s and was ended") || c.has("n2") {
		t.Errorf("exit status %d, %q", code, errs)
	}
}

// With a restart command all that it has begun is ended, also what does not heed a signal.
func TestARestartCommandIsEndedWithItsGroup(t *testing.T) {
	said, say, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	if err := said.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	r := &rollout{a: &app{err: say}, cmd: cmd, restart: `(trap "" TERM; echo {id} begins; exec sleep 100) & wait`, timeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- errors.Join(r.runCommand(ctx, "n1"), say.Close()) }()
	line := bufio.NewReader(said)
	if s, err := line.ReadString('\n'); err != nil || s != "n1 begins\n" {
		t.Fatalf("the command said %q, %v", s, err)
	}
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "was ended") {
		t.Errorf("the command ended with %v", err)
	}
	if rest, err := line.ReadString('\n'); err != io.EOF || rest != "" { // its output is open while one is left
		t.Errorf("a process of the command is left: %q, %v", rest, err)
	}
}
