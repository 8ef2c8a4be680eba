package fsm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// The envelope of a command that a token asks for; both ways to write it write
// the same.
func TestEncodeToken(t *testing.T) {
	needs := access.Grants{{Right: access.JobsWrite, Namespace: "lab1"}, {Right: access.ClusterWrite}}
	odd := access.Grants{{Right: access.Read, Namespace: `a"<\`}}
	out := registry.SignOut{FullName: "n1.a", Session: "s"}
	for _, c := range []struct {
		author fsm.Author
		want   string
	}{
		{fsm.Author{By: "ann"}, `"by":"ann","body"`},
		{fsm.Author{By: "ann", Needs: needs}, `"by":"ann","body"`},
		{fsm.Author{By: "ann", Token: "t_1f"}, `"by":"ann","token":"t_1f","body"`},
		{fsm.Author{By: "ann", Token: "t_1f", Needs: needs}, `"by":"ann","token":"t_1f","needs":["jobs:write@lab1","cluster:write"],"body"`},
		{fsm.Author{By: "ann", Token: "t_1f", Needs: odd}, `"by":"ann","token":"t_1f","needs":["read@a\"<\\"],"body"`},
	} {
		fast, err := fsm.Encode(registry.KindSignOut, t0, c.author, out)
		if err != nil || !strings.Contains(string(fast), c.want) {
			t.Errorf("%+v is written %s, %v", c.author, fast, err)
		}
		slow, err := fsm.Encode(registry.KindSignOut, t0, c.author, json.RawMessage(asJSON(t, out)))
		if err != nil || string(slow) != string(fast) {
			t.Errorf("quickly  %s\notherwise %s, %v", fast, slow, err)
		}
	}
	for _, token := range []string{"t\"", "t\\", "tä", "t\n", strings.Repeat("t", 300)} {
		if line, err := fsm.Encode(registry.KindSignOut, t0, fsm.Author{Token: token}, out); wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("token %q is written %s, %v", token, line, err)
		}
	}
}

// An envelope with a token has one layout, too.
func TestCheckToken(t *testing.T) {
	m := fsm.New()
	line := func(middle string) []byte {
		return []byte(`{"v":1,"kind":"registry.sign_out","at":"2026-11-02T15:04:05Z","by":"x"` + middle + `,"body":{"full_name":"n1.a","session":"s"}}`)
	}
	if err := m.Check(line("")); err != nil {
		t.Fatal(err)
	}
	for what, middle := range map[string]string{
		"no id":                  `,"token":""`,
		"null":                   `,"token":null`,
		"half an id":             `,"token":"t\"`,
		"an escape in the id":    `,"token":"\u0074"`,
		"a letter beyond ASCII":  `,"token":"ä"`,
		"needs of nobody":        `,"needs":["read@a"]`,
		"no needs":               `,"token":"t","needs":[]`,
		"needs, not ended":       `,"token":"t","needs":["read@a"`,
		"needs with a gap":       `,"token":"t","needs":["read@a",]`,
		"needs with a blank":     `,"token":"t","needs":["read@a", "read@b"]`,
		"needs of another type":  `,"token":"t","needs":[1]`,
		"needs, half a string":   `,"token":"t","needs":["read@a\"]`,
		"needs, a bad escape":    `,"token":"t","needs":["read@\q"]`,
		"needs, no right":        `,"token":"t","needs":["read@a","fly@a"]`,
		"needs, a pattern":       `,"token":"t","needs":["read@a*"]`,
		"needs before the token": `,"needs":["read@a"],"token":"t"`,
		"two tokens":             `,"token":"t","token":"t"`,
		"something else":         `,"token":"t","more":1`,
	} {
		if err := m.Check(line(middle)); wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("%s: %v, want invalid", what, err)
		}
	}
}

// At level 1 nothing is written down that an older binary cannot read.
func TestNoTokensAtLevelOne(t *testing.T) {
	m := founded(t)
	if m.View().Level != 1 {
		t.Fatalf("level %d", m.View().Level)
	}
	withToken := signIn("a", "s1")
	withToken.Token = "file:012345678901"
	envelope, err := fsm.Encode(registry.KindSignIn, t0, fsm.Author{Token: "t_1"}, signIn("a", "s1"))
	if err != nil {
		t.Fatal(err)
	}
	job := jobs.Submit{ID: "j1", Spec: spec(t)}
	job.Spec.Namespace = "lab1"
	for what, line := range map[string][]byte{
		"a job with a namespace":  encode(t, jobs.KindSubmit, t0, job),
		"a token":                 encode(t, access.KindCreate, t0, access.Create{ID: "t_1", Hash: "h", Grants: access.Grants{{Right: access.Admin}}}),
		"a token in the envelope": envelope,
		"a session with a token":  encode(t, registry.KindSignIn, t0, withToken),
	} {
		before := m.View().Fingerprint()
		if err := m.Check(line); wire.CodeOf(err) != wire.CodeConflict || !strings.Contains(err.Error(), "raftctl level raise") {
			t.Errorf("%s may be logged: %v", what, err)
		}
		r := m.Apply(m.View().Index+1, [][]byte{line})
		if r[0].Err == nil || r[0].Err.Code != wire.CodeConflict || m.View().Fingerprint() != before {
			t.Errorf("%s is carried out: %+v", what, r[0])
		}
	}
}

// A command is judged at its place in the log: by the token that is there then,
// and what it may then.
func TestACommandIsJudgedByItsToken(t *testing.T) {
	m := atNewestLevel(t)
	apply(t, m, access.KindCreate, access.Create{
		ID: "t_1", Hash: registry.HashSecret("1"), Grants: access.Grants{{Right: access.Write, Namespace: "n1"}, {Right: access.ClusterRead}},
	})
	by := func(token string, session string, needs ...string) []byte {
		gs, err := access.ParseGrants(needs)
		if err != nil && len(needs) > 0 {
			t.Fatal(err)
		}
		line, err := fsm.Encode(registry.KindSignIn, t0, fsm.Author{By: "ann", Token: token, Needs: gs}, signIn(session, session))
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	revoke := encode(t, access.KindRevoke, t0, access.Revoke{ID: "t_1"})
	lines := [][]byte{
		by("t_1", "a", "components:write@n1"),
		by("t_1", "b", "components:write@n1", "jobs:work@n1", "cluster:read"),
		by("t_1", "c"),
		by("t_1", "d", "components:write@n1", "components:write@n2"),
		by("t_1", "e", "cluster:write"),
		by("t_1", "f", "jobs:read@*"),
		by("t_2", "g"),
		revoke,
		by("t_1", "h", "components:write@n1"),
		by("", "i", "admin"), // nobody's token: the needs are not asked for
	}
	want := []string{"", "", "", "forbidden components:write@n2", "forbidden cluster:write", "forbidden jobs:read@*", "unauthorized ", "", "unauthorized ", ""}
	for _, share := range []bool{true, false} {
		m := restored(t, snapshot(t, m))
		if !share {
			m.CopyPerCommand()
		}
		for i, r := range m.Apply(m.View().Index+1, lines) {
			got := ""
			if r.Err != nil {
				got = string(r.Err.Code) + " " + r.Err.Needs
				if r.Err.Code == wire.CodeForbidden && r.Err.Token != "t_1" {
					t.Errorf("line %d does not name the token: %+v", i, r.Err)
				}
			}
			if got != want[i] {
				t.Errorf("line %d is answered %q (%v), want %q", i, got, r.Err, want[i])
			}
		}
		if n := m.View().Registry.Len(); n != 4 {
			t.Errorf("%d sessions, want 4", n)
		}
	}
}

// The entry that ends a token ends its sessions, and puts their parts back.
func TestTheEndOfATokenEndsItsSessions(t *testing.T) {
	for kind, body := range map[string]any{
		access.KindRevoke: access.Revoke{ID: "t_1"},
		access.KindExpire: access.Expire{Tokens: []string{"t_1"}},
	} {
		m := atNewestLevel(t)
		hash := registry.HashSecret("1")
		apply(t, m, access.KindCreate, access.Create{ID: "t_1", Hash: hash, Grants: access.Grants{{Right: access.Admin}}, Expires: t0})
		own := func(name, token string) registry.SignIn {
			c := signIn(name, "s-"+name)
			c.Token = token
			return c
		}
		apply(t, m, registry.KindSignIn, own("w", "t_1"))
		apply(t, m, registry.KindSignIn, own("v", "t_1"))
		apply(t, m, registry.KindSignIn, own("file", "file:0123456789ab"))
		apply(t, m, registry.KindSignIn, own("none", ""))
		apply(t, m, jobs.KindSubmit, jobs.Submit{ID: "j1", Spec: spec(t)})
		apply(t, m, jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{
			{Job: "j1", Part: 0, Attempt: 1, Worker: "n1.w", Session: "s-w", Home: "n1"},
		}})
		index, seq := m.Feed().Last()
		apply(t, m, kind, body)
		events, _ := m.Feed().Since(index, seq)
		var got []string
		for _, e := range events {
			got = append(got, e.Topic+" "+e.Kind+" "+e.Key+" "+e.Reason)
			if e.Internal() != (e.Topic == access.Topic) {
				t.Errorf("%s %s is internal: %v", e.Topic, e.Kind, e.Internal())
			}
		}
		if len(got) != 4 || !strings.HasPrefix(got[0], "token ") || got[1] != "component removed n1.v token revoked" ||
			got[2] != "component removed n1.w token revoked" || !strings.HasPrefix(got[3], "job "+jobs.EventPartRequeued) {
			t.Errorf("%s tells %q", kind, got)
		}
		if p, _ := m.View().Jobs.Part("j1", 0); p.State != jobs.Waiting || p.Vanished != 0 || m.View().Registry.Len() != 2 {
			t.Errorf("after %s the part is %s, vanished %d, with %d sessions", kind, p.State, p.Vanished, m.View().Registry.Len())
		}
		// A sign-in that comes behind it in the log does not begin a session of it.
		r := m.Apply(m.View().Index+1, [][]byte{encode(t, registry.KindSignIn, t0, own("late", "t_1"))})
		if r[0].Err == nil || r[0].Err.Code != wire.CodeUnauthorized {
			t.Errorf("after %s a session of the token: %+v", kind, r[0])
		}
	}
}

// A cluster whose founders all know a level is founded at it; an older binary
// stops at that, as at any level beyond its own.
func TestFoundAtALevel(t *testing.T) {
	m := fsm.New()
	apply(t, m, fsm.KindFound, fsm.Found{Cluster: "c1", Level: fsm.Level})
	if m.View().Level != fsm.Level {
		t.Errorf("level %d", m.View().Level)
	}
	apply(t, m, fsm.KindFound, fsm.Found{Cluster: "c1"}) // again, from a leader that knew less
	if m.View().Level != fsm.Level {
		t.Errorf("level %d after it was founded again", m.View().Level)
	}
	if line := string(encode(t, fsm.KindFound, t0, fsm.Found{Cluster: "c1"})); strings.Contains(line, "level") {
		t.Errorf("at level 1 an older binary must read %s", line)
	}
	beyond := encode(t, fsm.KindFound, t0, fsm.Found{Cluster: "c1", Level: fsm.Level + 1})
	old, why := patient(t)
	old.Apply(2, [][]byte{beyond})
	if !strings.Contains(*why, "this binary is too old") {
		t.Errorf("an older binary goes on: %q", *why)
	}
	if err := fsm.Validate(fsm.Found{Cluster: "c1", Level: fsm.Level + 1}); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("level %d may be proposed: %v", fsm.Level+1, err)
	}
}
