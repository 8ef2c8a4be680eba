package fsm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

var update = flag.Bool("update", false, "write testdata anew")

// command is one command of an example.
type command struct {
	kind string
	body any
}

// examples has one command of every kind, with all its fields, and the commands
// before it. A field that came later has a case of its own: kind+field.
func examples() map[string][]command {
	ref := jobs.Ref{Job: "j1", Part: 0, Attempt: 1, Session: "s1"}
	full := announce("n1")
	full.Coordinator.HTTPAddr, full.Coordinator.ComponentAddr = "n1:7380", "n1:7370"
	full.Coordinator.Version, full.Coordinator.NonVoter = "v0.1.0", true
	laser := registry.SignIn{
		Name: "laser", Namespace: "n1", Session: "s1", SecretHash: registry.HashSecret("secret"), Home: "n1", Kind: "native",
		Labels: registry.LabelsOf(map[string]string{"b": "<2>", "a": "ä"}), Place: wire.Place{Host: "lab1", Group: "optics"},
		Lease: 20 * time.Second, Runtimes: []string{"sh", "python3"}, Slots: 2,
	}
	moved := laser
	moved.Home, moved.TakeOver = "n2", true
	numbered := registry.SignIn{
		Name: "laser", Namespace: "n1", Session: "s1", SecretHash: registry.HashSecret("secret"), Home: "n2", Kind: "native",
		TakeOver: true, Attempt: 3, Keep: true,
	}
	submit := jobs.Submit{ID: "j1", By: "alice", Spec: jobs.Spec{
		Name: "quality", Runtime: "sh", Script: "echo \"$ITEM\" <&>\n", Args: json.RawMessage(`{"z":1,"a":"<"}`),
		Items: []json.RawMessage{[]byte(`1`), []byte(`null`), []byte(`{"b":1.50}`)}, Priority: 60, Group: "g", Parallel: 2,
		MaxAttempts: 2, Timeout: wire.Duration(time.Hour), PartTimeout: wire.Duration(90 * time.Second),
		Labels: map[string]string{"a": "ä"}, Keep: wire.Duration(time.Hour),
	}}
	assign := jobs.Assign{Assignments: []jobs.Assignment{
		{Job: "j1", Part: 0, Attempt: 1, Worker: "n1.laser", Session: "s1", Home: "n1"},
		{Job: "j1", Part: 2, Attempt: 1, Worker: "n1.laser", Session: "s1", Home: "n1"},
	}}
	file := fixedFile()
	begin := fsm.BeginRestore{ID: "r1", Cluster: "c1", Index: 17, Level: 2, Size: int64(len(file)), Bytes: fixedBytes, SHA256: sumOf(file), Foreign: true}
	founded, newestAnn := command{fsm.KindFound, fsm.Found{Cluster: "c9", Level: 2}}, command{registry.KindAnnounce, newest("n1")}
	newer := full
	newer.Coordinator.Level = 2
	var (
		ann    = command{registry.KindAnnounce, full}
		annNew = command{registry.KindAnnounce, newer}
		ann2   = command{registry.KindAnnounce, announce("n2")}
		in     = command{registry.KindSignIn, laser}
		job    = command{jobs.KindSubmit, submit}
		give   = command{jobs.KindAssign, assign}
		cancel = command{jobs.KindCancel, jobs.Cancel{ID: "j1", Reason: "enough", State: "cancelled"}}
	)
	limited := submit
	limited.Spec.MaxLosses = 3
	giveNext := command{jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{
		{Job: "j1", Part: 0, Attempt: 1, Worker: "n1.laser", Session: "s1", Home: "n1"},
		{Job: "j1", Part: 1, Attempt: 1, Worker: "n1.laser", Session: "s1", Home: "n1"},
	}}}
	hash := registry.HashSecret("secret of a token")
	owned := registry.SignIn{
		Name: "laser", Namespace: "n1", Session: "s1", SecretHash: registry.HashSecret("secret"), Home: "n1", Kind: "native", Token: "t_1",
	}
	knows2 := announce("n1")
	knows2.Coordinator.Level = 2
	var (
		aware  = command{registry.KindAnnounce, knows2}
		found2 = command{fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2}}
		create = command{access.KindCreate, access.Create{
			ID: "t_1", Hash: hash, Name: "ann", CreatedBy: "t_0", Expires: t0.Add(time.Hour),
			Grants: access.Grants{{Right: access.JobsWrite, Namespace: "lab1"}, {Right: access.ClusterRead}},
		}}
		join = command{access.KindCreateJoinToken, access.CreateJoinToken{Hash: hash, ID: "n4", CreatedBy: "t_0", Expires: t0.Add(time.Hour)}}
	)
	ofLab := submit
	ofLab.Spec.Namespace = "lab1"
	bounded := submit
	bounded.ResultQuota = 12
	expire := command{registry.KindExpire, registry.Expire{Sessions: []registry.Fence{{FullName: "n1.laser", Session: "s1", Epoch: 1}}, Reason: "lease ran out"}}
	return map[string][]command{
		jobs.KindFinish + "+failed_by": {ann, in, {jobs.KindSubmit, limited}, give, {jobs.KindFinish, jobs.Finish{Parts: []jobs.PartDone{
			{Ref: ref, Error: "boom", Millis: 3},
		}}}},
		jobs.KindSubmit + "+result_quota": {{jobs.KindSubmit, bounded}},
		jobs.KindFinish + "+result_quota": {ann, in, {jobs.KindSubmit, bounded}, giveNext, {jobs.KindFinish, jobs.Finish{ResultQuota: 20, Parts: []jobs.PartDone{
			{Ref: ref, OK: true, Result: json.RawMessage(`"1234567890"`), Millis: 12},
			{Ref: jobs.Ref{Job: "j1", Part: 1, Attempt: 1, Session: "s1"}, OK: true, Result: json.RawMessage(`2`), Millis: 3},
		}}}},
		jobs.KindSubmit + "+max_losses":     {{jobs.KindSubmit, limited}},
		registry.KindExpire + "+max_losses": {ann, in, {jobs.KindSubmit, limited}, give, expire},
		fsm.KindFound:                       {{fsm.KindFound, fsm.Found{Cluster: "c1"}}},
		audit.KindAnchor:                    {annNew, {fsm.KindRaiseLevel, fsm.RaiseLevel{Level: 2}}, {audit.KindAnchor, audit.Anchoring{Coordinator: "n1", ServerID: "n1/1", Seq: 812, Hash: strings.Repeat("0a", 32)}}},
		fsm.KindRaiseLevel:                  {ann, {fsm.KindRaiseLevel, fsm.RaiseLevel{Level: 1}}},
		fsm.KindBeginRestore:                {founded, {fsm.KindBeginRestore, begin}},
		fsm.KindRestoreChunk:                {founded, {fsm.KindBeginRestore, begin}, {fsm.KindRestoreChunk, fsm.RestoreChunk{ID: "r1", Data: file[:100]}}},
		fsm.KindCommitRestore: {
			founded, newestAnn,
			{registry.KindSignIn, laser},
			{fsm.KindBeginRestore, begin},
			{fsm.KindRestoreChunk, fsm.RestoreChunk{ID: "r1", Data: file[:100]}},
			{fsm.KindRestoreChunk, fsm.RestoreChunk{ID: "r1", At: 100, Data: file[100:]}},
			{fsm.KindCommitRestore, fsm.CommitRestore{ID: "r1"}},
		},
		fsm.KindDropRestore: {founded, {fsm.KindBeginRestore, begin}, {fsm.KindDropRestore, fsm.DropRestore{ID: "r1", Changed: 2}}},
		fsm.KindGroup: {
			{fsm.KindGroup, fsm.Group{Term: 2, Leader: "n1", ServerID: "n1/1", Servers: []fsm.Server{{"n1", "n1/1", "voter"}, {"n2", "n2/1", "nonvoter"}}}},
			{fsm.KindGroup, fsm.Group{Term: 3, Leader: "n2", ServerID: "n2/1", Servers: []fsm.Server{{"n1", "n1/1", "nonvoter"}, {"n2", "n2/1", "voter"}}}},
		},
		fsm.KindFound + "+level": {found2},
		fsm.KindAutopilot: {found2, {fsm.KindAutopilot, wire.AutopilotSettings{MinVoters: new(5), MaxLag: new(uint64(9))}}, {fsm.KindAutopilot, wire.AutopilotSettings{
			CleanupDead: new(false), DeadAfter: new(wire.Duration(time.Hour)), MinVoters: new(3), Stabilization: new(wire.Duration(15 * time.Second)), MaxLag: new(uint64(250)),
		}}},
		access.KindCreate:          {found2, create},
		access.KindRevoke:          {found2, aware, create, {registry.KindSignIn, owned}, {access.KindRevoke, access.Revoke{ID: "t_1"}}},
		access.KindExpire:          {found2, create, join, {access.KindExpire, access.Expire{Tokens: []string{"t_1", "t_2"}, JoinTokens: []string{hash}}}},
		access.KindTouch:           {found2, create, {access.KindTouch, access.Touch{Used: []access.Use{{Token: "t_1", At: t0}}}}},
		access.KindCreateJoinToken: {found2, join},
		access.KindUseJoinToken:    {found2, join, {access.KindUseJoinToken, access.UseJoinToken{Hash: hash, ID: "n4", Use: "u1"}}},

		jobs.KindSubmit + "+namespace": {found2, {jobs.KindSubmit, ofLab}},
		registry.KindSignIn + "+token": {found2, aware, create, {registry.KindSignIn, owned}},

		registry.KindAnnounce:            {ann},
		registry.KindForget:              {ann, in, {registry.KindForget, registry.Forget{ID: "n1", ServerID: "n1/1"}}},
		registry.KindSignIn:              {ann, ann2, in, {registry.KindSignIn, moved}},
		registry.KindSignIn + "+attempt": {ann, ann2, in, {registry.KindSignIn, numbered}},
		registry.KindSignOut:             {ann, in, {registry.KindSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"}}},
		registry.KindSignOut + "+final":  {ann, in, {registry.KindSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1", Final: true}}},
		registry.KindExpire: {ann, in, job, give, {registry.KindExpire, registry.Expire{
			Sessions: []registry.Fence{{FullName: "n1.laser", Session: "s1", Epoch: 1}, {FullName: "n1.laser", Session: "s0", Epoch: 1}},
			Reason:   "lease ran out",
		}}},
		registry.KindRemove: {ann, in, {registry.KindRemove, registry.Remove{FullName: "n1.laser", Session: "s1", Reason: "a ghost"}}},
		jobs.KindSubmit:     {job},
		jobs.KindAssign:     {ann, in, job, give},
		jobs.KindStart:      {ann, in, job, give, {jobs.KindStart, jobs.Start{Parts: []jobs.Ref{ref}}}},
		jobs.KindFinish: {ann, in, job, give, {jobs.KindFinish, jobs.Finish{Parts: []jobs.PartDone{
			{Ref: ref, OK: true, Result: json.RawMessage(`{"b":1e5,"a":"<"}`), Millis: 12},
			{Ref: jobs.Ref{Job: "j1", Part: 2, Attempt: 1, Session: "s1"}, Error: "boom", Millis: 3},
		}}}},
		jobs.KindRequeue: {ann, in, job, give, {jobs.KindRequeue, jobs.Requeue{Parts: []jobs.Ref{ref}, Reason: "not heard of"}}},
		jobs.KindCancel:  {ann, in, job, give, cancel},
		jobs.KindElapse:  {job, cancel, {jobs.KindElapse, jobs.Elapse{By: time.Minute}}},
		jobs.KindForget:  {job, cancel, {jobs.KindForget, jobs.Forget{ID: "j1"}}},
	}
}

// golden is a file of testdata: what was logged by some release, and what it
// did then. Every later release must do the same with it.
type golden struct {
	before  [][]byte
	command []byte
	result  string
	events  string
	rows    string
}

// play applies the lines of g and records what the command did.
func (g golden) play(t *testing.T) golden {
	t.Helper()
	m := fsm.New()
	for _, line := range append(g.before, g.command) {
		if err := m.Check(line); err != nil {
			t.Fatalf("%s is not offered any more: %v", line, err)
		}
		index, seq := m.Feed().Last()
		r := m.Apply(m.View().Index+1, [][]byte{line})
		if r[0].Err != nil {
			t.Fatalf("%s is refused: %v", line, r[0].Err)
		}
		g.result = asJSON(t, r[0].Value)
		events, _ := m.Feed().Since(index, seq)
		g.events = ""
		for _, e := range events {
			g.events += asJSON(t, e.Raw()) + "\n"
		}
	}
	g.events = strings.TrimSuffix(g.events, "\n")
	g.rows = strings.Join(unsealed(snapshot(t, m)), "\n")
	return g
}

func (g golden) String() string {
	return fmt.Sprintf("# before\n%s\n# command\n%s\n# result\n%s\n# news\n%s\n# snapshot without trailer\n%s\n",
		bytes.Join(g.before, []byte("\n")), g.command, g.result, g.events, g.rows)
}

func read(t *testing.T, file string) golden {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	var parts []string
	for _, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		if strings.HasPrefix(line, "# ") {
			parts = append(parts, "")
		} else {
			parts[len(parts)-1] += line + "\n"
		}
	}
	if len(parts) != 5 {
		t.Fatalf("%s has %d parts, want 5", file, len(parts))
	}
	for i := range parts {
		parts[i] = strings.TrimSuffix(parts[i], "\n")
	}
	g := golden{command: []byte(parts[1]), result: parts[2], events: parts[3], rows: parts[4]}
	if parts[0] != "" {
		g.before = bytes.Split([]byte(parts[0]), []byte("\n"))
	}
	return g
}

// Every kind of command has a file of what it once was and did; it still
// decodes and does the same, and is still written the same.
func TestGoldenCommands(t *testing.T) {
	examples := examples()
	for _, kind := range fsm.Kinds() {
		if examples[kind] == nil {
			t.Errorf("command %s has no example: add one, and write its file with -update", kind)
		}
	}
	for name, commands := range examples {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".golden")
			kind, _, _ := strings.Cut(name, "+")
			if commands[len(commands)-1].kind != kind {
				t.Fatalf("the example %s does not end with a command of its kind", name)
			}
			var now golden
			for i, c := range commands {
				now.before = append(now.before, encode(t, c.kind, t0.Add(time.Duration(i)*time.Second), c.body))
			}
			last := len(now.before) - 1
			now.command, now.before = now.before[last], now.before[:last]
			if *update {
				if err := os.WriteFile(file, []byte(now.play(t).String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := read(t, file)
			if diff := cmp.Diff(want.String(), want.play(t).String()); diff != "" {
				t.Errorf("the logged command does something else today (-then +today):\n%s", diff)
			}
			if string(now.command) != string(want.command) {
				t.Errorf("the command is written in another way today\ntoday %s\nthen  %s", now.command, want.command)
			}
		})
	}
	files, _ := filepath.Glob("testdata/*.golden")
	for _, f := range files {
		kind := strings.TrimSuffix(filepath.Base(f), ".golden")
		if strings.HasPrefix(kind, "log-") {
			continue // those of TestGoldenLogs
		}
		if _, ok := examples[kind]; !ok {
			t.Errorf("%s: kind %s is gone from the catalogue; kinds are for ever", f, kind)
		}
	}
}
