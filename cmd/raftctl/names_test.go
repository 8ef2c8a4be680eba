package main

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// A component may be given by the last part of its name alone, to every command, if only one has it.
func TestShortNames(t *testing.T) {
	laser := wire.Component{FullName: "n2.laser", Home: "n2"}
	f := coordinator(t, map[string]any{
		"GET /components":               wire.Components{Components: []wire.Component{laser}},
		"GET /components/n2.laser":      laser,
		"DELETE /components/n2.laser":   map[string]any{"index": 5},
		"POST /components":              wire.SignedIn{FullName: "n1.raftctl", Session: "s", Secret: "s.x"},
		"POST /messages":                wire.Sent{Outcome: "delivered"},
		"DELETE /components/n1.raftctl": map[string]any{},
	})
	for _, c := range []struct{ args, want string }{
		{"components get laser", "n2.laser"},
		{"components remove laser --yes", "component n2.laser removed"},
		{"send laser hello", "delivered to n2.laser"},
	} {
		if code, out, errs := raftctl(t, f, strings.Fields(c.args)...); code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: got %d, %q, %q, want %q", c.args, code, out, errs, c.want)
		}
	}
	requested, err := url.ParseQuery(regexp.MustCompile(`/components\?(\S+)`).FindStringSubmatch(f.requests())[1])
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`^(?:` + requested.Get("match") + `)$`) // as coordinators match
	if !whole.MatchString("n2.laser") || whole.MatchString("n2.laser2") || whole.MatchString("n2.xlaser") {
		t.Errorf("the name was not looked up by its end, but by %q", requested.Get("match"))
	}
	f = coordinator(t, map[string]any{"GET /components": wire.Components{}})
	if code, _, errs := raftctl(t, f, "components", "get", "laser"); code != 1 || !strings.Contains(errs, "nobody is signed in as laser") {
		t.Errorf("nobody: got %d, %q", code, errs)
	}
	f = coordinator(t, map[string]any{"GET /components": wire.Components{Components: []wire.Component{{FullName: "n1.laser"}, laser}}})
	if code, _, errs := raftctl(t, f, "components", "get", "laser"); code != 2 || !strings.Contains(errs, "n1.laser, n2.laser") {
		t.Errorf("two of the name: got %d, %q, want 2 and both", code, errs)
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if code, out, errs := raftctl(t, nil, arg); code != 0 || !strings.HasPrefix(out, "raftctl ") || !strings.Contains(out, "go1.") {
			t.Errorf("%s: got %d, %q, %q", arg, code, out, errs)
		}
	}
}
