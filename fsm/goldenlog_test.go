package fsm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// newLog names a release whose log is recorded. A file that is there is never
// written again: it is what that release wrote.
var newLog = flag.String("newlog", "", "record testdata/log-NAME.golden, which must not be there yet")

// A golden log is a file of entries, each as its commands and then the
// fingerprint of the state after it:
//
//	{"v":1,"kind":"fsm.found",...}
//	= 5e884898da28047151d0e56f8dc62927...
func writeLog(entries [][][]byte) []byte {
	var b bytes.Buffer
	for i, after := range fingerprints(entries) {
		for _, line := range entries[i] {
			fmt.Fprintf(&b, "%s\n", line)
		}
		fmt.Fprintf(&b, "= %s\n", after)
	}
	return b.Bytes()
}

func readLog(t *testing.T, file string) (entries [][][]byte, after []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if sum, ok := bytes.CutPrefix(line, []byte("= ")); ok {
			entries, after, lines = append(entries, lines), append(after, string(sum)), nil
		} else {
			lines = append(lines, line)
		}
	}
	if len(lines) > 0 || len(entries) == 0 {
		t.Fatalf("%s is cut short", file)
	}
	return entries, after
}

// fingerprints applies a log and returns the fingerprint after each entry.
func fingerprints(entries [][][]byte) (after []string) {
	m := fsm.New()
	for i, lines := range entries {
		m.Apply(uint64(i+1), lines)
		after = append(after, m.View().Fingerprint())
	}
	return after
}

func goldenLogs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/log-*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no golden log: %v", err)
	}
	return files
}

// What a release wrote down, every later one carries out to the same state,
// entry by entry.
func TestGoldenLogs(t *testing.T) {
	if *newLog != "" {
		file := filepath.Join("testdata", "log-"+*newLog+".golden")
		if _, err := os.Stat(file); err == nil {
			t.Fatalf("%s is there: what was written down is never written again; take another name", file)
		}
		entries := recorded
		switch *newLog {
		case "larger-limits":
			entries = largerLimits
		case "level2":
			entries = levelTwo
		case "autopilot":
			entries = autopilot
		case "restore":
			entries = restoring
		case "anchors":
			entries = anchors
		}
		if err := os.WriteFile(file, writeLog(entries(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range goldenLogs(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			entries, want := readLog(t, file)
			for i, got := range fingerprints(entries) {
				if got != want[i] {
					t.Fatalf("after entry %d the fingerprint is %s, want %s: this binary carries out a log of before in another way\n%s",
						i+1, got, want[i], bytes.Join(entries[i], []byte("\n")))
				}
			}
		})
	}
}

// The newest golden log has every kind of command, done at least once.
func TestGoldenLogIsComplete(t *testing.T) {
	done := map[string]bool{}
	for _, file := range goldenLogs(t) {
		entries, _ := readLog(t, file)
		m := fsm.New()
		for i, lines := range entries {
			for n, r := range m.Apply(uint64(i+1), lines) {
				var c struct{ Kind string }
				if err := json.Unmarshal(lines[n], &c); err != nil {
					t.Fatal(err)
				}
				done[c.Kind] = done[c.Kind] || r.Err == nil
			}
		}
	}
	for _, kind := range fsm.Kinds() {
		if !done[kind] {
			t.Errorf("no golden log carries %s out: record a new one with -newlog", kind)
		}
	}
}

// recorder makes a log of commands as the doors of today let them through.
type recorder struct {
	t       *testing.T
	machine *fsm.Machine
	entries [][][]byte
}

// recorded is a log that comes upon every rule by which the tables judge.
func recorded(t *testing.T) [][][]byte {
	r := &recorder{t: t, machine: fsm.New()}
	r.cluster()
	r.sessions()
	r.failures()
	r.losses()
	r.health()
	r.quotas()
	r.lives()
	r.chance()
	return r.entries
}

// entry appends one entry; a refusal ends the test.
func (r *recorder) entry(commands ...command) {
	r.t.Helper()
	lines := make([][]byte, len(commands))
	for i, c := range commands {
		lines[i] = encode(r.t, c.kind, t0.Add(time.Duration(len(r.entries))*time.Second), c.body)
	}
	for i, result := range r.machine.Apply(r.machine.View().Index+1, lines) {
		if result.Err != nil {
			r.t.Fatalf("%s: %v", lines[i], result.Err)
		}
	}
	r.entries = append(r.entries, lines)
}

// autopilot is a log of settings of the autopilot, of which a cluster of level 2 is the first to know.
func autopilot(t *testing.T) [][][]byte {
	r := &recorder{t: t, machine: fsm.New()}
	r.entry(command{fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2}})
	set := func(c wire.AutopilotSettings) command { return command{fsm.KindAutopilot, c} }
	r.entry(set(wire.AutopilotSettings{CleanupDead: new(false)}))
	r.entry(set(wire.AutopilotSettings{DeadAfter: new(wire.Duration(time.Hour)), MinVoters: new(3)}), set(wire.AutopilotSettings{MinVoters: new(5)}))
	r.entry(set(wire.AutopilotSettings{}))
	r.entry(set(wire.AutopilotSettings{CleanupDead: new(false), Stabilization: new(wire.Duration(0)), MaxLag: new(uint64(1))}))
	r.entry(set(wire.AutopilotSettings{CleanupDead: new(true)}))
	return r.entries
}

// levelTwo is a log of a cluster that was founded at level 2: tokens, what they
// ask for, and what hangs on them.
func levelTwo(t *testing.T) [][][]byte {
	r := &recorder{t: t, machine: fsm.New()}
	first := announce("n1")
	first.Coordinator.Level = 2
	second := announce("n2")
	second.Coordinator.Level = 2
	r.entry(command{fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2}})
	r.entry(command{registry.KindAnnounce, first}, command{registry.KindAnnounce, second})
	token := func(n int, expires time.Time, grants ...string) command {
		gs, err := access.ParseGrants(grants)
		if err != nil {
			t.Fatal(err)
		}
		return command{access.KindCreate, access.Create{
			ID: fmt.Sprint("t_", n), Hash: registry.HashSecret(fmt.Sprint("token ", n)), Name: "a \"token\" <&>", Grants: gs, CreatedBy: "file:0123456789ab", Expires: expires,
		}}
	}
	r.entry(token(1, time.Time{}, "admin"), token(2, t0.Add(time.Hour), "write@n1", "jobs:work@*", "cluster:read"), token(3, t0.Add(2*time.Hour), `jobs:read@odd "<name>`))
	r.entry(command{access.KindCreateJoinToken, access.CreateJoinToken{Hash: registry.HashSecret("join"), ID: "n4", Expires: t0.Add(time.Minute), CreatedBy: "t_1"}})
	r.entry(command{access.KindUseJoinToken, access.UseJoinToken{Hash: registry.HashSecret("join"), ID: "n4", Use: "u1"}})
	owned := func(name, token string) registry.SignIn {
		c := worker(name)
		c.Token = token
		return c
	}
	r.entry(command{registry.KindSignIn, owned("a", "t_2")}, command{registry.KindSignIn, owned("b", "t_2")}, command{registry.KindSignIn, owned("c", "t_1")},
		command{registry.KindSignIn, owned("good", "file:0123456789ab")})
	r.submit("held", 0, wire.SubmitJob{Items: items(3)})
	r.give("held", 0, "a")
	r.start(r.give("held", 1, "b"))
	over := owned("b", "t_1") // which it belongs to from then on
	over.TakeOver, over.Home = true, "n2"
	r.entry(command{registry.KindSignIn, over})
	r.asked("t_1", "admin")
	r.asked("t_2", "components:write@n1", "jobs:work@lab")
	r.asked("t_2", "components:write@n2") // forbidden
	r.asked("t_9", "components:read@n1")  // unknown
	r.asked("t_3", `jobs:read@odd "<name>`)
	r.entry(command{access.KindTouch, access.Touch{Used: []access.Use{{Token: "t_1", At: t0.Add(3 * time.Hour)}, {Token: "t_9", At: t0}}}})
	r.entry(command{access.KindRevoke, access.Revoke{ID: "t_2"}})
	r.asked("t_2", "components:write@n1") // gone
	r.entry(command{access.KindExpire, access.Expire{Tokens: []string{"t_1", "t_3"}, JoinTokens: []string{registry.HashSecret("join")}}})
	var many []command
	for n := 10; n < 1020; n++ { // more than are remembered
		many = append(many, token(n, time.Time{}, "read@n1"), command{access.KindRevoke, access.Revoke{ID: fmt.Sprint("t_", n)}})
	}
	r.entry(many...)
	r.chance()
	return r.entries
}

// asked appends an entry of one sign-in for which a token asks. It may be refused.
func (r *recorder) asked(token string, needs ...string) {
	r.t.Helper()
	var gs access.Grants
	for _, s := range needs {
		var g access.Grant
		if err := g.UnmarshalText([]byte(s)); err != nil {
			r.t.Fatal(err)
		}
		gs = append(gs, g)
	}
	n := len(r.entries)
	line, err := fsm.Encode(registry.KindSignIn, t0.Add(time.Duration(n)*time.Second), fsm.Author{By: "ann", Token: token, Needs: gs}, worker(fmt.Sprint("asked", n)))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.machine.Check(line); err != nil {
		r.t.Fatalf("%s: %v", line, err)
	}
	r.machine.Apply(r.machine.View().Index+1, [][]byte{line})
	r.entries = append(r.entries, [][]byte{line})
}

func (r *recorder) cluster() {
	full := announce("n1")
	full.Coordinator.HTTPAddr, full.Coordinator.ComponentAddr, full.Coordinator.LECOAddr = "n1:7380", "n1:7370", "n1:12300"
	full.Coordinator.Version = "v0.1.0"
	spare := announce("n3")
	spare.Coordinator.NonVoter = true
	long := announce(strings.Repeat("n", 200))
	r.entry(command{fsm.KindFound, fsm.Found{Cluster: "c1"}})
	r.entry(command{registry.KindAnnounce, full}, command{registry.KindAnnounce, announce("n2")}, command{registry.KindAnnounce, spare}, command{registry.KindAnnounce, long})
	r.entry(command{fsm.KindRaiseLevel, fsm.RaiseLevel{Level: 1}})
	servers := []fsm.Server{{ID: "n1", ServerID: "n1/1", Suffrage: "voter"}, {ID: "n2", ServerID: "n2/1", Suffrage: "nonvoter"}}
	r.entry(command{fsm.KindGroup, fsm.Group{Term: 2, Leader: "n1", ServerID: "n1/1", Servers: servers}})
	r.entry(command{fsm.KindGroup, fsm.Group{Term: 3, Leader: "n2", ServerID: "n2/1", Servers: []fsm.Server{servers[0], {ID: "n2", ServerID: "n2/1", Suffrage: "voter"}}}})
}

// worker is a sign-in with slots.
func worker(name string) registry.SignIn {
	return registry.SignIn{
		Name: name, Namespace: "n1", Session: "s-" + name, SecretHash: registry.HashSecret(name), Home: "n1", Kind: "native",
		Lease: 15 * time.Second, Runtimes: []string{"sh", "python3"}, Slots: 4,
	}
}

func (r *recorder) sessions() {
	large := worker("large")
	large.Slots, large.Lease, large.Runtimes = 1024, 24*time.Hour, nil
	large.Place = wire.Place{Host: strings.Repeat("h", 200), Group: "optics"}
	labels := map[string]string{}
	for i := range 64 {
		labels[fmt.Sprint("label", i)] = "<ä>" + strings.Repeat("x", 10)
	}
	labels["label0"] = strings.Repeat("y", 1000)
	large.Labels = registry.LabelsOf(labels)
	for i := range 32 {
		large.Runtimes = append(large.Runtimes, fmt.Sprint("runtime", i))
	}
	named := worker(strings.Repeat("c", 200))
	r.entry(command{registry.KindSignIn, large}, command{registry.KindSignIn, named})
	r.entry(command{registry.KindSignIn, worker("laser")}, command{registry.KindSignIn, worker("ghost")}, command{registry.KindSignIn, worker("orphan")})
	over := registry.SignIn{
		Name: "laser", Namespace: "n1", Session: "s-laser", SecretHash: registry.HashSecret("laser"), Home: "n2", Kind: "rest", TakeOver: true, Keep: true, Attempt: 3,
	}
	r.entry(command{registry.KindSignIn, over})
	r.entry(command{registry.KindExpire, registry.Expire{Sessions: []registry.Fence{
		{FullName: "n1.laser", Session: "s-laser", Epoch: 2}, {FullName: "n1.laser", Session: "s-laser", Epoch: 1},
	}, Reason: strings.Repeat("r", 1000)}})
	over.Attempt = 4 // of a session that has ended: no lease is named
	r.entry(command{registry.KindSignIn, over})
	r.entry(command{registry.KindSignOut, registry.SignOut{FullName: "n1.laser", Session: "s-laser"}},
		command{registry.KindRemove, registry.Remove{FullName: "n1.ghost", Session: "s-ghost", Reason: "a \"ghost\" <&>\u2028"}})
	orphan := worker("orphan")
	orphan.Home, orphan.TakeOver = "n3", true
	r.entry(command{registry.KindSignIn, orphan})
	r.entry(command{registry.KindForget, registry.Forget{ID: "n3", ServerID: "n3/1"}})
}

// submit hands a job in as a door does.
func (r *recorder) submit(id string, quota int64, in wire.SubmitJob) {
	r.t.Helper()
	in.Runtime, in.Script = "sh", "echo \"$ITEM\" <&>\n"
	spec, err := jobs.Check(in)
	if err != nil {
		r.t.Fatal(err)
	}
	r.entry(command{jobs.KindSubmit, jobs.Submit{ID: id, Spec: spec, By: "alice", ResultQuota: quota}})
}

// give assigns a part to the worker of that name.
func (r *recorder) give(job string, part int, name string) jobs.Ref {
	r.t.Helper()
	p, _ := r.machine.View().Jobs.Part(job, part)
	r.entry(command{jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{
		{Job: job, Part: part, Attempt: p.Attempt + 1, Worker: "n1." + name, Session: "s-" + name, Home: "n1"},
	}}})
	p, _ = r.machine.View().Jobs.Part(job, part)
	if p.State != jobs.Assigned {
		r.t.Fatalf("part %d of %s is %s", part, job, p.State)
	}
	return p.Ref()
}

func (r *recorder) start(ref jobs.Ref) {
	r.entry(command{jobs.KindStart, jobs.Start{Parts: []jobs.Ref{ref}}})
}

func (r *recorder) finish(done jobs.PartDone, quota int64) {
	r.entry(command{jobs.KindFinish, jobs.Finish{Parts: []jobs.PartDone{done}, ResultQuota: quota}})
}

func items(n int) (list []json.RawMessage) {
	for i := range n {
		list = append(list, json.RawMessage(fmt.Sprintf(`{"b":"<&>","a":%d.50}`, i)))
	}
	return list
}

// failures has one part fail at more workers than are remembered, with long
// error texts, until it has no attempt left.
func (r *recorder) failures() {
	r.submit("failing", 0, wire.SubmitJob{Items: items(2), MaxAttempts: 20, Labels: map[string]string{"a": "ä"}})
	for i := range 20 {
		name := fmt.Sprint("w", i)
		r.entry(command{registry.KindSignIn, worker(name)})
		ref := r.give("failing", 0, name)
		text := fmt.Sprint("boom ", i)
		if i >= 18 { // longer than is kept, cut within a character, with a long last line
			text = "x" + strings.Repeat("ä", 2500) + "\n" + strings.Repeat("ü", 150)
		}
		r.finish(jobs.PartDone{Ref: ref, Error: text, Millis: int64(i)}, 0)
	}
	for i := range 20 {
		name := fmt.Sprint("w", i)
		r.entry(command{registry.KindSignOut, registry.SignOut{FullName: "n1." + name, Session: "s-" + name}})
	}
}

// losses has parts taken back until they are given up: one that was not heard
// of, and one under which its workers vanish.
func (r *recorder) losses() {
	r.submit("lost", 0, wire.SubmitJob{Range: &wire.Range{From: -3, To: 9, Chunk: 4}, Group: "g", Priority: new(int)})
	r.entry(command{registry.KindSignIn, worker("good")})
	for range 10 {
		ref := r.give("lost", 0, "good")
		r.entry(command{jobs.KindRequeue, jobs.Requeue{Parts: []jobs.Ref{ref}, Reason: strings.Repeat("not heard of ", 400)}})
	}
	r.submit("deadly", 0, wire.SubmitJob{Items: items(3), Parallel: 2})
	for i := range 3 {
		name := fmt.Sprint("v", i)
		r.entry(command{registry.KindSignIn, worker(name)})
		ref := r.give("deadly", 0, name)
		if i == 0 {
			r.start(ref)
		}
		live, _ := r.machine.View().Registry.Session("n1." + name)
		r.entry(command{registry.KindExpire, registry.Expire{Sessions: []registry.Fence{live.Fence()}, Reason: "its lease ran out"}})
	}
}

// health has a worker fail what another one does, until as much is held against
// it as can be, and then succeed until it is trusted again.
func (r *recorder) health() {
	r.entry(command{registry.KindSignIn, worker("bad")})
	r.submit("blame", 0, wire.SubmitJob{Range: &wire.Range{To: 40}})
	for n := range 12 {
		r.finish(jobs.PartDone{Ref: r.give("blame", n, "bad"), Error: "goodtool: not found"}, 0)
		r.finish(jobs.PartDone{Ref: r.give("blame", n, "good"), OK: true, Result: json.RawMessage(`[1e5,"<&>"]`), Millis: 12}, 0)
	}
	for n := 12; n < 20; n++ {
		r.finish(jobs.PartDone{Ref: r.give("blame", n, "bad"), OK: true, Result: json.RawMessage(`null`)}, 0)
	}
	r.entry(command{jobs.KindCancel, jobs.Cancel{ID: "blame", Reason: "enough", State: "cancelled"}})
}

func (r *recorder) quotas() {
	r.submit("own", 30, wire.SubmitJob{Items: items(4)})
	r.finish(jobs.PartDone{Ref: r.give("own", 0, "good"), OK: true, Result: json.RawMessage(`"1234567890"`)}, 1<<20)
	r.finish(jobs.PartDone{Ref: r.give("own", 1, "good"), Error: "no room for this text of an error"}, 1<<20)
	r.finish(jobs.PartDone{Ref: r.give("own", 2, "good"), OK: true, Result: json.RawMessage(`"12345678901234567890"`)}, 1<<20)
	r.submit("all", 1<<20, wire.SubmitJob{Items: items(2)})
	r.finish(jobs.PartDone{Ref: r.give("all", 0, "good"), OK: true, Result: json.RawMessage(`1234567890`)}, r.machine.View().Jobs.Size().Results+5)
	r.submit("most", 0, wire.SubmitJob{Items: items(1)})
	r.finish(jobs.PartDone{Ref: r.give("most", 0, "good"), OK: true, Result: json.RawMessage(`"` + strings.Repeat("z", 60_000) + `"`)}, 0)
}

// lives has jobs that run to their end, age and are forgotten.
func (r *recorder) lives() {
	labels := map[string]string{}
	for i := range 64 {
		labels[fmt.Sprint("label", i)] = "x"
	}
	labels["label0"] = strings.Repeat("y", 1000)
	high := 100
	r.submit("limits", 0, wire.SubmitJob{
		Name: strings.Repeat("j", 250), Group: strings.Repeat("g", 250), Range: &wire.Range{To: 100_000}, Parallel: 100_000, MaxAttempts: 100,
		Priority: &high, Timeout: wire.Duration(720 * time.Hour), PartTimeout: wire.Duration(24 * time.Hour), Keep: wire.Duration(720 * time.Hour), Labels: labels,
	})
	r.submit(strings.Repeat("i", 128), 0, wire.SubmitJob{Items: items(1), Args: json.RawMessage(strings.Repeat("[", 60) + strings.Repeat("]", 60))})
	r.submit("short", 0, wire.SubmitJob{Items: items(2), Timeout: wire.Duration(time.Hour), Keep: wire.Duration(time.Minute)})
	for n := range 2 {
		ref := r.give("short", n, "good")
		r.start(ref)
		r.entry(command{jobs.KindElapse, jobs.Elapse{From: r.machine.View().Jobs.Elapsed(), By: time.Minute}})
		r.finish(jobs.PartDone{Ref: ref, OK: true, Result: json.RawMessage(`"ä"`), Millis: 3}, 0)
	}
	r.entry(command{jobs.KindElapse, jobs.Elapse{From: r.machine.View().Jobs.Elapsed(), By: time.Minute}})
	r.entry(command{jobs.KindForget, jobs.Forget{ID: "short"}})
}

// chance goes on by chance, with all commands that a door lets through.
func (r *recorder) chance() {
	s := &randomLog{t: r.t, r: rand.New(rand.NewPCG(12, 1)), machine: r.machine}
	for range 120 {
		line := s.line()
		if r.machine.Check(line) != nil {
			r.entries = append(r.entries, nil) // no leader takes it
			r.machine.Apply(r.machine.View().Index+1, nil)
			continue
		}
		result := r.machine.Apply(r.machine.View().Index+1, [][]byte{line})[0]
		if code := wire.CodeOf(asError(result.Err)); code == wire.CodeInvalid {
			r.entries = append(r.entries, nil) // no door lets it through
			continue
		}
		r.entries = append(r.entries, [][]byte{line})
	}
}

func asError(e *wire.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// restoring is a log in which a file is restored over sessions, parts at work and tokens, and then one of another
// cluster.
func restoring(t *testing.T) [][][]byte {
	r := &recorder{t: t, machine: fsm.New()}
	r.entry(command{fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2}})
	r.entry(command{registry.KindAnnounce, newest("n1")}, command{registry.KindAnnounce, newest("n2")})
	r.entry(command{access.KindCreate, access.Create{ID: "t_0", Hash: registry.HashSecret("other"), Grants: access.Grants{{Right: access.Admin}}}})
	r.entry(command{registry.KindSignIn, worker("a")}, command{registry.KindSignIn, worker("b")})
	r.entry(command{jobs.KindSubmit, jobs.Submit{ID: "own", Spec: spec(t)}})
	lines := linesOf(t, fixedFile())
	lines[0] = strings.Replace(lines[0], `"cluster":"c1"`, `"cluster":"c2"`, 1)
	other := resealed(t, lines[:len(lines)-1]...)
	for _, foreign := range []bool{false, true} {
		id, of, file := fmt.Sprint("r", foreign), "c1", fixedFile()
		if foreign {
			of, file = "c2", other
		}
		begin := fsm.BeginRestore{ID: id, Cluster: of, Index: 17, Level: 2, Size: int64(len(file)), Bytes: fixedBytes, SHA256: sumOf(file), Foreign: foreign}
		half := len(file) / 2
		r.entry(command{fsm.KindBeginRestore, fsm.BeginRestore{ID: "given up", Cluster: "c1", Index: 17, Level: 2, Size: 9, Bytes: 9, SHA256: sumOf(file)}})
		r.entry(command{fsm.KindDropRestore, fsm.DropRestore{ID: "given up"}}, command{fsm.KindBeginRestore, begin})
		r.entry(command{fsm.KindRestoreChunk, fsm.RestoreChunk{ID: id, Data: file[:half]}}, command{registry.KindSignIn, worker("c-" + id)})
		r.entry(command{fsm.KindRestoreChunk, fsm.RestoreChunk{ID: id, At: int64(half), Data: file[half:]}})
		r.entry(command{registry.KindSignOut, registry.SignOut{FullName: "n1.c-" + id, Session: "s-c-" + id}}, command{fsm.KindCommitRestore, fsm.CommitRestore{ID: id}},
			command{jobs.KindCancel, jobs.Cancel{ID: "j1", Reason: "behind it in the same entry"}})
	}
	return r.entries
}

// anchors is a log with more anchors of a trail than are kept, the same one twice, and a trail that is begun anew.
func anchors(t *testing.T) [][][]byte {
	r := &recorder{t: t, machine: fsm.New()}
	row := announce("n1")
	row.Coordinator.Level = 2
	r.entry(command{registry.KindAnnounce, row}, command{fsm.KindRaiseLevel, fsm.RaiseLevel{Level: 2}})
	anchor := func(coordinator string, seq uint64) command {
		return command{audit.KindAnchor, audit.Anchoring{Coordinator: coordinator, ServerID: coordinator + "/1", Seq: seq, Hash: registry.HashSecret(fmt.Sprint(seq))}}
	}
	for seq := range uint64(70) {
		r.entry(anchor("n1", seq+1))
	}
	r.entry(anchor("n1", 70), anchor("n2", 1), anchor("n1", 3))
	for seq := range uint64(90) {
		r.entry(anchor("n1", seq+4))
	}
	return r.entries
}
