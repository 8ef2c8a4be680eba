package access_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/wire"
)

// allowed is the table of rights as users read it: what a grant of a right allows
// where it holds. "@" marks rights of a namespace.
var allowed = map[access.Right]string{
	"components:read":  "components:read",
	"components:write": "components:read components:write",
	"messages:send":    "messages:send",
	"services:read":    "services:read",
	"services:write":   "services:read services:write",
	"locks:read":       "locks:read",
	"locks:write":      "locks:read locks:write",
	"flows:read":       "flows:read",
	"flows:write":      "flows:read flows:write",
	"flows:send":       "flows:send",
	"jobs:read":        "jobs:read",
	"jobs:write":       "jobs:read jobs:write",
	"jobs:work":        "jobs:work",
	"read":             "components:read services:read locks:read flows:read jobs:read read",
	"write": "components:read services:read locks:read flows:read jobs:read read components:write services:write " +
		"locks:write flows:write jobs:write messages:send flows:send jobs:work write",
	"admin": "components:read services:read locks:read flows:read jobs:read read components:write services:write " +
		"locks:write flows:write jobs:write messages:send flows:send jobs:work write admin",
	"cluster:read":  "cluster:read",
	"cluster:write": "cluster:read cluster:write",
}

func ofCluster(r access.Right) bool {
	return r == access.Admin || r == access.ClusterRead || r == access.ClusterWrite
}

func ofNamespace(r access.Right) bool { return !strings.HasPrefix(string(r), "cluster:") }

// Every right that can be asked for, against every grant that can be given, in
// the namespace, in another, everywhere and in none.
func TestEveryRightAgainstEveryGrant(t *testing.T) {
	rights := access.Rights()
	if len(rights) != len(allowed) {
		t.Fatalf("%d rights, %d in the table", len(rights), len(allowed))
	}
	asked := 0
	for _, granted := range rights {
		for _, at := range []string{"", "lab1", "lab", "*"} {
			s := string(granted)
			if at != "" {
				s += "@" + at
			}
			g, err := access.ParseGrant(s)
			if valid := at == "" && ofCluster(granted) || at != "" && ofNamespace(granted); valid != (err == nil) {
				t.Errorf("grant %s: %v", s, err)
			}
			if err != nil {
				continue
			}
			for _, right := range rights {
				for _, in := range []string{"", "lab1", "lab", "lab11", "*"} {
					asked++
					var want bool
					switch {
					case in == "" && !ofCluster(right), in != "" && !ofNamespace(right):
					case granted == access.Admin && at == "":
						want = true
					case slices.Contains(strings.Fields(allowed[granted]), string(right)):
						want = in == at || in != "" && at == "*"
					}
					if got := (access.Grants{g}).Allow(right, in); got != want {
						t.Errorf("%s allows %s in %q: %v", s, right, in, got)
					}
				}
			}
		}
	}
	t.Logf("%d questions", asked)
}

func TestGrantsAddUp(t *testing.T) {
	gs, err := access.ParseGrants([]string{"jobs:read@lab2", "write@lab1", "jobs:write@lab2", "cluster:read"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		right access.Right
		want  string
		all   bool
	}{
		{access.JobsRead, "lab1 lab2", false},
		{access.JobsWork, "lab1", false},
		{access.Admin, "", false},
		{access.ClusterRead, "", false},
		{"jobs", "", false},
	} {
		names, all := gs.Namespaces(c.right)
		if got := strings.Join(names, " "); got != c.want || all != c.all {
			t.Errorf("namespaces of %s: %q %v, want %q %v", c.right, got, all, c.want, c.all)
		}
	}
	for _, all := range []access.Grants{{{Right: access.Admin}}, {{access.JobsRead, "lab1"}, {access.Read, "*"}}} {
		if names, everywhere := all.Namespaces(access.JobsRead); !everywhere || names != nil {
			t.Errorf("namespaces of %v: %q %v", all, names, everywhere)
		}
	}
	if (access.Grants{}).Allow(access.JobsRead, "lab1") || (access.Grants{{Right: access.Admin}}).Allow("jobs:stop", "lab1") {
		t.Error("no grants, or no such right, and allowed")
	}
	if got := strings.Join(gs.Strings(), " "); got != "jobs:read@lab2 write@lab1 jobs:write@lab2 cluster:read" {
		t.Errorf("as text: %s", got)
	}
	if _, err := access.ParseGrants(nil); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("no grants: %v", err)
	}
}

func TestWhatIsNoGrant(t *testing.T) {
	for s, names := range map[string]string{
		"":                         "empty",
		"@":                        "no right",
		"@lab1":                    "no right",
		"jobs":                     "no right",
		"jobs:*@lab1":              "no right",
		"*@lab1":                   "no right",
		"*":                        "no right",
		"Jobs:write@lab1":          "no right",
		"jobs:write @lab1":         "no right",
		" jobs:write@lab1":         "no right",
		"deny:jobs:write@lab1":     "no right",
		"jobs:delete@lab1":         "no right",
		"jobs:write":               "jobs:write@NAMESPACE",
		"read":                     "read@NAMESPACE",
		"write":                    "write@NAMESPACE",
		"jobs:write@":              "is empty",
		"admin@":                   "is empty",
		"cluster:read@lab1":        "no namespace",
		"cluster:write@*":          "no namespace",
		"jobs:write@lab1@lab2":     "more than one @",
		"jobs:write@@":             "more than one @",
		"jobs:write@lab*":          "pattern",
		"jobs:write@*lab":          "pattern",
		"jobs:write@**":            "pattern",
		"jobs:write@lab?":          "pattern",
		"jobs:write@lab1.a":        "'.'",
		"jobs:write@ lab1":         "blank",
		"jobs:write@lab1 ":         "blank",
		"jobs:write@lab1\n":        "0x0a",
		"jobs:write@größe":         "0xc3",
		"jobs:write@" + long:       "256 bytes",
		"jobs:write@lab1,jobs:lab": "", // a name with a comma and a colon in it is one
	} {
		_, err := access.ParseGrant(s)
		switch {
		case names == "" && err != nil:
			t.Errorf("grant %q: %v", s, err)
		case names == "":
		case wire.CodeOf(err) != wire.CodeInvalid || !strings.Contains(err.Error(), names):
			t.Errorf("grant %q: %v, want invalid and %q in it", s, err, names)
		}
	}
}

var long = strings.Repeat("a", 256)

// What is read is written as it was, and allows what it says and nothing in
// other namespaces.
func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{"jobs:write@lab1", "admin", "admin@*", "cluster:read", "read@a b", "jobs:write@lab*", "@", "jobs@x@y", "x:y@\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := access.ParseGrant(s)
		if err != nil {
			if wire.CodeOf(err) != wire.CodeInvalid || g != (access.Grant{}) {
				t.Fatalf("%q: %v %v", s, g, err)
			}
			return
		}
		if g.String() != s {
			t.Fatalf("%q was read as %q", s, g)
		}
		var again access.Grant
		if err := again.UnmarshalText([]byte(s)); err != nil || again != g {
			t.Fatalf("%q: %v %v", s, again, err)
		}
		if !(access.Grants{g}).Allow(g.Right, g.Namespace) {
			t.Fatalf("%q does not allow what it says", s)
		}
		if other := g.Namespace + "x"; g.Namespace != "" && g.Namespace != access.Everywhere && g.Allow(g.Right, other) {
			t.Fatalf("%q allows something in %q", s, other)
		}
	})
}
