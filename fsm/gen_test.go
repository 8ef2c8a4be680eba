package fsm_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// randomLog is a random log: entries of some commands each, of all kinds, by
// proposers whose clocks disagree. Most of them make sense in the state they
// meet, many do not.
type randomLog struct {
	t       testing.TB
	r       *rand.Rand
	machine *fsm.Machine
	entries [][][]byte
}

func generateLog(tb testing.TB, seed uint64, entries int) [][][]byte {
	s := &randomLog{t: tb, r: rand.New(rand.NewPCG(seed, 1)), machine: fsm.New()}
	for _, id := range []string{"n0", "n1", "n2"} {
		s.add(encode(tb, registry.KindAnnounce, s.clock(), newest(id)))
	}
	s.add(encode(tb, fsm.KindRaiseLevel, s.clock(), fsm.RaiseLevel{Level: fsm.Level}))
	for range entries {
		var lines [][]byte
		for range s.r.IntN(5) {
			lines = append(lines, s.line())
		}
		s.add(lines...)
	}
	return s.entries
}

func (s *randomLog) add(lines ...[]byte) {
	s.t.Helper()
	for _, line := range lines {
		if err := s.machine.Check(line); err != nil {
			s.t.Fatalf("%s is not offered: %v", line, err)
		}
	}
	s.entries = append(s.entries, lines)
	s.machine.Apply(s.machine.View().Index+1, lines)
}

func (s *randomLog) line() []byte {
	kinds := fsm.Kinds()
	kind := kinds[s.r.IntN(len(kinds))]
	if s.r.IntN(3) == 0 {
		kind = []string{registry.KindSignIn, jobs.KindSubmit, jobs.KindAssign, jobs.KindFinish}[s.r.IntN(4)]
	}
	if under, _ := s.machine.View().Restoring(); under.ID != "" && s.often(10) { // else hardly one comes to its end
		kind = []string{fsm.KindRestoreChunk, fsm.KindCommitRestore}[s.r.IntN(2)]
	}
	line, err := fsm.Encode(kind, s.clock(), s.author(), s.body(kind))
	if err != nil {
		s.t.Fatal(err)
	}
	return line
}

// author is nobody's token mostly.
func (s *randomLog) author() fsm.Author {
	a := fsm.Author{By: "test"}
	if s.machine.View().Level >= access.Level && s.often(20) {
		a.Token = s.token()
		a.Needs = access.Grants{{Right: access.JobsWrite, Namespace: s.one("default", "lab")}, {Right: access.ClusterWrite}}[:s.r.IntN(3)]
	}
	return a
}

func (s *randomLog) token() string { return fmt.Sprint(access.IDPrefix, s.r.IntN(6)) }

func (s *randomLog) clock() time.Time {
	zone := time.FixedZone("", s.r.IntN(24)*3600-12*3600)
	return t0.Add(time.Duration(s.r.Int64N(int64(5 * time.Minute)))).In(zone)
}

func (s *randomLog) one(words ...string) string { return words[s.r.IntN(len(words))] }
func (s *randomLog) often(p int) bool           { return s.r.IntN(100) < p }

func (s *randomLog) body(kind string) any {
	name, session := fmt.Sprint("c", s.r.IntN(8)), fmt.Sprint("s", s.r.IntN(16))
	home, job := fmt.Sprint("n", s.r.IntN(4)), fmt.Sprint("j", s.r.IntN(6))
	reason := s.one("", "lease ran out", "a \"ghost\" <&>\u2028")
	if strings.HasPrefix(kind, "access.") {
		return s.accessBody(kind)
	}
	switch kind {
	case fsm.KindFound:
		return fsm.Found{Cluster: s.one("", "c1", "c1", "c2"), Level: s.r.IntN(fsm.Level + 1)}
	case fsm.KindRaiseLevel:
		return fsm.RaiseLevel{Level: s.r.IntN(3) - 1}
	case fsm.KindGroup:
		g := fsm.Group{Term: s.r.Uint64N(9), Leader: home, ServerID: home + "/1"}
		for n := range s.r.IntN(4) {
			id := fmt.Sprint("n", n)
			g.Servers = append(g.Servers, fsm.Server{ID: id, ServerID: id + "/1", Suffrage: s.one("voter", "nonvoter")})
		}
		return g
	case fsm.KindAutopilot:
		c := wire.AutopilotSettings{}
		if s.often(50) {
			c.CleanupDead = new(s.often(50))
		}
		if s.often(50) {
			c.DeadAfter = new(wire.Duration(s.r.IntN(3)) * wire.Duration(time.Hour))
		}
		if s.often(50) {
			c.MinVoters = new(s.r.IntN(4))
		}
		if s.often(30) {
			c.Stabilization, c.MaxLag = new(wire.Duration(s.r.IntN(5)-1)*wire.Duration(time.Second)), new(s.r.Uint64N(3))
		}
		return c
	case fsm.KindBeginRestore, fsm.KindRestoreChunk, fsm.KindCommitRestore, fsm.KindDropRestore:
		return s.restoreBody(kind)
	case registry.KindAnnounce:
		c := announce(fmt.Sprint("n", s.r.IntN(5)))
		c.Coordinator.ServerID += s.one("", "", "b")
		c.Coordinator.Namespace = s.one(c.Coordinator.ID, c.Coordinator.ID, "n1", "lab", "a.b")
		c.Coordinator.Level = s.r.IntN(fsm.Level + 2)
		return c
	case registry.KindForget:
		return registry.Forget{ID: home, ServerID: home + s.one("/1", "/1b", "")}
	case registry.KindSignIn:
		c := registry.SignIn{
			Name: name, Namespace: s.one("n0", "n1", "n2", "nowhere"), Session: session, SecretHash: s.one("h1", "h1", "h1", "h2"),
			Home: home, Kind: "rest", Slots: s.r.IntN(4), Runtimes: []string{"sh", "python3"}, TakeOver: s.often(30),
		}
		if s.often(30) {
			c.Labels = registry.LabelsOf(map[string]string{"z": "<1>", "a": "ä\u2028", "host": "lab"})
		}
		if s.often(5) {
			c.Name = s.one("", ".", "COORDINATOR", "a\x00b", "\xff\xfe")
		}
		if s.machine.View().Level >= access.Level && s.often(40) {
			c.Token = s.one(s.token(), s.token(), "file:0123456789ab")
		}
		return c
	case registry.KindSignOut:
		if live, ok := s.live(); ok && s.often(60) {
			return registry.SignOut{FullName: live.FullName, Session: live.ID, Final: s.often(50)}
		}
		return registry.SignOut{FullName: home + "." + name, Session: session}
	case registry.KindExpire:
		c := registry.Expire{Reason: reason}
		for range s.r.IntN(3) {
			if live, ok := s.live(); ok {
				c.Sessions = append(c.Sessions, live.Fence())
			}
			c.Sessions = append(c.Sessions, registry.Fence{FullName: home + "." + name, Session: session, Epoch: s.r.Uint64N(3)})
		}
		return c
	case registry.KindRemove:
		return registry.Remove{FullName: home + "." + name, Session: s.one("", session), Reason: reason}
	}
	return s.jobBody(kind, job, session, reason)
}

func (s *randomLog) accessBody(kind string) any {
	id, hash := s.token(), fmt.Sprint("h", s.r.IntN(9))
	switch kind {
	case access.KindCreate:
		c := access.Create{ID: id, Hash: hash, Name: s.one("", "ann"), CreatedBy: s.one("", "t_1")}
		for _, g := range (access.Grants{{Right: access.Admin}, {Right: access.Write, Namespace: "default"}, {Right: access.JobsWork, Namespace: "*"}}) {
			if s.often(60) {
				c.Grants = append(c.Grants, g)
			}
		}
		if s.often(60) {
			c.Expires = s.clock()
		}
		return c
	case access.KindRevoke:
		return access.Revoke{ID: id}
	case access.KindExpire:
		c, _ := s.machine.View().Access.Expired(s.clock(), 2)
		if s.often(20) {
			c.Tokens, c.JoinTokens = append(c.Tokens, id), append(c.JoinTokens, hash)
		}
		return c
	case access.KindTouch:
		return access.Touch{Used: []access.Use{{Token: id, At: s.clock().Add(time.Duration(s.r.IntN(9)) * time.Hour)}, {Token: s.token(), At: s.clock()}}}
	case access.KindCreateJoinToken:
		return access.CreateJoinToken{Hash: hash, ID: fmt.Sprint("n", s.r.IntN(2)), Expires: s.clock(), CreatedBy: "t_1"}
	case access.KindUseJoinToken:
		return access.UseJoinToken{Hash: hash, ID: fmt.Sprint("n", s.r.IntN(2)), Use: s.one("u1", "u2", "")}
	}
	s.t.Fatalf("no random command of kind %s", kind)
	return nil
}

func (s *randomLog) live() (registry.Session, bool) {
	t := s.machine.View().Registry
	skip := s.r.IntN(t.Len() + 1)
	for live := range t.Sessions() {
		if skip--; skip < 0 {
			return live, true
		}
	}
	return registry.Session{}, false
}

func (s *randomLog) jobBody(kind, job, session, reason string) any {
	switch kind {
	case jobs.KindSubmit:
		return jobs.Submit{ID: s.one(job, job, job, job, ""), Spec: s.spec(), By: "alice", ResultQuota: int64(s.r.IntN(3)) * 6}
	case jobs.KindAssign:
		t := s.machine.View()
		var workers []jobs.Worker
		for w := range t.Registry.Workers() {
			workers = append(workers, jobs.Worker{
				FullName: w.FullName, Session: w.ID, Home: w.Home, Runtimes: w.Runtimes, Slots: w.Slots, Labels: w.Labels.Map(),
			})
		}
		plan := jobs.Plan(t.Jobs, workers, 1+s.r.IntN(6), nil)
		if s.often(30) {
			plan = append(plan, jobs.Assignment{
				Job: job, Part: s.r.IntN(8) - 1, Attempt: s.r.IntN(4), Worker: "n1.c1", Session: s.one(session, ""), Home: "n1",
			})
		}
		return jobs.Assign{Assignments: plan}
	case jobs.KindStart:
		return jobs.Start{Parts: s.refs(job, session)}
	case jobs.KindRequeue:
		return jobs.Requeue{Parts: s.refs(job, session), Reason: reason}
	case jobs.KindFinish:
		c := jobs.Finish{ResultQuota: int64(s.r.IntN(2)) * 60}
		for _, ref := range s.refs(job, session) {
			c.Parts = append(c.Parts, jobs.PartDone{
				Ref: ref, OK: s.often(70), Error: s.one("", "Traceback:\nboom\xff"), Millis: s.r.Int64N(3000) - 1,
				Result: json.RawMessage(s.one(`{"b":1,"a":[1e5,"<&>"]}`, `null`, `"ä"`, `[ 1, 2 ]`)),
			})
		}
		return c
	case jobs.KindCancel:
		return jobs.Cancel{ID: job, Reason: reason, State: s.one("", "failed", "cancelled", "done")}
	case jobs.KindElapse:
		return jobs.Elapse{From: s.machine.View().Jobs.Elapsed() * time.Duration(s.r.IntN(5)/2), By: time.Duration(s.r.IntN(5)) * time.Minute}
	case jobs.KindForget:
		return jobs.Forget{ID: job}
	case audit.KindAnchor:
		return audit.Anchoring{Coordinator: s.one("n1", "n2"), ServerID: s.one("n1/1", "n1/2"), Seq: s.r.Uint64N(5), Hash: strings.Repeat(s.one("0a", "ff", "x"), 32)}
	}
	s.t.Fatalf("no random command of kind %s", kind)
	return nil
}

func (s *randomLog) spec() jobs.Spec {
	in := wire.SubmitJob{
		Name: s.one("", "quality"), Runtime: "sh", Script: "echo \"$ITEM\" <&>\n", Args: json.RawMessage(s.one("", "null", `{"z":1,"a":"<"}`)),
		Group: s.one("", "", "g"), Parallel: s.r.IntN(3), MaxAttempts: s.r.IntN(3),
		Timeout: wire.Duration(s.r.IntN(3)) * wire.Duration(1_500_000_001),
	}
	if s.often(20) {
		in.Labels = map[string]string{"host": "lab", "a": "ä\u2028"}
	}
	if s.often(50) {
		in.Range = &wire.Range{From: -3, To: int64(s.r.IntN(9)), Chunk: int64(s.r.IntN(4))}
	} else {
		for range 1 + s.r.IntN(5) {
			in.Items = append(in.Items, json.RawMessage(s.one(`1`, `null`, `{"b":"<&>","a":1.50}`, `"\u2028"`)))
		}
	}
	spec, _ := jobs.Check(in)
	if s.often(5) {
		spec = jobs.Spec{Runtime: "cobol"}
	}
	return spec
}

func (s *randomLog) refs(job, session string) (refs []jobs.Ref) {
	for p := range s.machine.View().Jobs.Busy() {
		if s.often(40) {
			refs = append(refs, p.Ref())
		}
	}
	if s.often(20) {
		refs = append(refs, jobs.Ref{Job: job, Part: s.r.IntN(6) - 1, Attempt: s.r.IntN(3), Session: session})
	}
	return refs
}

// restoreBody goes on with what is under way mostly.
func (s *randomLog) restoreBody(kind string) any {
	file := fixedFile()
	now, _ := s.machine.View().Restoring()
	id := now.ID
	if id == "" || s.often(10) {
		id = fmt.Sprint("r", s.r.IntN(9))
	}
	switch kind {
	case fsm.KindBeginRestore:
		c := fsm.BeginRestore{ID: fmt.Sprint("r", s.r.IntN(9)), Cluster: "c1", Index: 17, Level: 2, Size: int64(len(file)), Bytes: fixedBytes, SHA256: sumOf(file), Foreign: s.often(70)}
		if s.often(10) {
			c.Cluster, c.Index = s.one("", "c2"), s.r.Uint64N(99)
		}
		if s.often(10) {
			c.Bytes += int64(s.r.IntN(3)) - 1
		}
		return c
	case fsm.KindRestoreChunk:
		from := int(now.Received)
		if s.often(20) {
			from = s.r.IntN(len(file))
		}
		from = min(from, len(file))
		return fsm.RestoreChunk{ID: id, At: int64(from), Data: file[from:min(len(file), from+len(file)/(1+s.r.IntN(3)))]}
	case fsm.KindCommitRestore:
		if s.often(60) { // or the logs would be about nothing else
			id = "none"
		}
		return fsm.CommitRestore{ID: id}
	}
	return fsm.DropRestore{ID: id, Changed: now.Changed * uint64(s.r.IntN(2))}
}
