package fsm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
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
	for what, line := range map[string][]byte{
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
