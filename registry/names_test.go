package registry_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

func TestNames(t *testing.T) {
	bad := map[string]string{
		"empty":                  "",
		"256 bytes":              strings.Repeat("a", 256),
		"a dot":                  "a.b",
		"only a dot":             ".",
		"reserved":               "COORDINATOR",
		"reserved, small":        "coordinator",
		"reserved, mixed":        "Coordinator",
		"blank before":           " a",
		"blank behind":           "a ",
		"only a blank":           " ",
		"not ASCII":              "größe",
		"not UTF-8":              "a\xffb",
		"delete":                 "a\x7fb",
		"first byte beyond":      "a\x80",
		"a line end":             "a\n",
		"a zero":                 "a\x00b",
		"just below the printed": "a\x1fb",
	}
	for b := range byte(0x20) {
		bad[fmt.Sprintf("control byte 0x%02x", b)] = "a" + string(rune(b)) + "b"
	}
	for _, what := range slices.Sorted(maps.Keys(bad)) {
		err := registry.CheckName("name", bad[what])
		if wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("%s: %q gives %v, want invalid", what, bad[what], err)
			continue
		}
		if e := err.(*wire.Error); e.Field != "name" {
			t.Errorf("%s: the error names field %q, want name", what, e.Field)
		}
		h := open(t)
		refused(h, wire.CodeInvalid, opSignIn, signIn(name(bad[what])))
	}
	for _, good := range []string{"a", "laser 2", "COORDINATOR1", "!~", "a/b", "coord", strings.Repeat("a", 255)} {
		if err := registry.CheckName("name", good); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
		h := open(t)
		do(h, opSignIn, signIn(name(good)))
	}
}

func TestSplit(t *testing.T) {
	for _, full := range []string{"n1.laser", "n1.COORDINATOR"} {
		ns, name, err := registry.Split(full)
		if err != nil || registry.FullName(ns, name) != full {
			t.Errorf("Split(%q) = %q, %q, %v", full, ns, name, err)
		}
	}
	for _, full := range []string{"", ".", "n1", "n1.", ".laser", "n1.a.b"} {
		if ns, name, err := registry.Split(full); wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("Split(%q) = %q, %q, %v; want invalid", full, ns, name, err)
		}
	}
}

func TestSignInRefusesNonsense(t *testing.T) {
	long := strings.Repeat("a", 256)
	for what, change := range map[string]func(*registry.SignIn){
		"no session":           func(c *registry.SignIn) { c.Session = "" },
		"a long session":       func(c *registry.SignIn) { c.Session = long },
		"no secret":            func(c *registry.SignIn) { c.SecretHash = "" },
		"no home":              func(c *registry.SignIn) { c.Home = "" },
		"a zero in its home":   func(c *registry.SignIn) { c.Home = "n1\x00" },
		"a bad namespace":      func(c *registry.SignIn) { c.Namespace = "n1.a" },
		"negative lease":       func(c *registry.SignIn) { c.Lease = -1 },
		"a lease beyond a day": func(c *registry.SignIn) { c.Lease = registry.MaxLease + 1 },
		"negative slots":       func(c *registry.SignIn) { c.Slots = -1 },
		"too many slots":       func(c *registry.SignIn) { c.Slots = registry.MaxSlots + 1 },
		"too many runtimes":    func(c *registry.SignIn) { c.Runtimes = slices.Repeat([]string{"sh"}, registry.MaxRuntimes+1) },
		"a nameless runtime":   func(c *registry.SignIn) { c.Runtimes = []string{""} },
		"a long host":          func(c *registry.SignIn) { c.Place.Host = long },
		"a nameless label":     func(c *registry.SignIn) { c.Labels = registry.Labels{{"", "x"}} },
		"a label too large":    func(c *registry.SignIn) { c.Labels = registry.Labels{{"k", strings.Repeat("x", wire.MaxLabelSize)}} },
		"too many labels": func(c *registry.SignIn) {
			for i := range wire.MaxLabels + 1 {
				c.Labels = append(c.Labels, registry.Label{Key: fmt.Sprintf("%04d", i)})
			}
		},
	} {
		t.Run(what, func(t *testing.T) { refused(open(t), wire.CodeInvalid, opSignIn, signIn(change)) })
	}
	h := open(t)
	s := do(h, opSignIn, signIn(func(c *registry.SignIn) { c.Lease, c.Labels, c.Runtimes = 0, registry.Labels{}, []string{} }))
	if s.Lease != registry.ImpliedLease || s.Labels != nil || s.Runtimes != nil {
		t.Errorf("nothing asked gives %+v; want the default lease, no labels and no runtimes", s)
	}
}

// The secret's hash is what other implementations compute, too.
func TestHashSecret(t *testing.T) {
	const want = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b" // printf secret | sha256sum
	if got := registry.HashSecret("secret"); got != want {
		t.Errorf("HashSecret(secret) = %s, want %s", got, want)
	}
}
