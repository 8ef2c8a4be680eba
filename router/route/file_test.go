package route_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/router/route"
)

func files(text string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if path != "links.txt" {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	}
}

// A graph from a file: a link is told at one end or at both.
func TestGraphFromAFile(t *testing.T) {
	p, err := route.ParsePolicy("file:links.txt", files("# two halls\nn1: n2 n3\n\nn2: n1   # the same link\nn3: n4\nn4:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p.String() != "file:links.txt" || p.IsMesh() || !p.Knows("n4") || p.Knows("n9") {
		t.Errorf("policy %s: mesh %t, knows n4 %t, n9 %t", p, p.IsMesh(), p.Knows("n4"), p.Knows("n9"))
	}
	g := p.Over([]string{"n4", "n3", "n2", "n1", "n9"})
	for id, want := range map[string][]string{"n1": {"n2", "n3"}, "n2": {"n1"}, "n3": {"n1", "n4"}, "n4": {"n3"}, "n9": nil} {
		if got := g.Neighbours(id); !slices.Equal(got, want) {
			t.Errorf("neighbours of %s: %v, want %v", id, got, want)
		}
	}
	checkWays(t, g, route.All)
	if way := g.Routes("n2", route.All)["n4"]; !slices.Equal(way, []string{"n2", "n1", "n3", "n4"}) {
		t.Errorf("the way from n2 to n4 is %v", way)
	}
	// One that is listed and not there takes its links along.
	if _, ok := p.Over([]string{"n1", "n2", "n4"}).Routes("n1", route.All)["n4"]; ok {
		t.Error("n4 is reached without n3")
	}
}

func TestWrongFilesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "no coordinator is told",
		"# n1: n2\n":          "no coordinator is told",
		"n1 n2\n":             `line 1: "n1 n2" has no colon`,
		"n1: n2\nn 2: n1\n":   `line 2: "n 2" is not the id`,
		": n1\n":              `line 1: "" is not the id`,
		"n1: n2,n3\n":         `line 1: "n2,n3" is not the id`,
		"n1: n2\nn2:\nn1:\n":  "line 3: n1 was told in line 1",
		"n1: n1\n":            "line 1: n1 is its own neighbour",
		"n1: n2 n2\nn2:\n":    "line 1: n2 is named twice",
		"n1: n2\n":            "line 1: n2 has no line of its own",
		"n1: n2\nn2:\nn3:\n":  "line 3: n3 has no way to n1",
		"n1: -a\n-a:\n":       `line 1: "-a" is not the id`,
		"n1: n2\nn2: n1:n2\n": `line 2: "n1:n2" is not the id`,
	} {
		if _, err := route.ParsePolicy("file:links.txt", files(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "links.txt") {
			t.Errorf("%q: got %v, want an error with %q and the file", text, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	for spec, want := range map[string]string{"": "mesh", "mesh": "mesh", "ring": "ring", "tree": "tree", "grid": "grid"} {
		p, err := route.ParsePolicy(spec, nil)
		if err != nil || p.String() != want || p.IsMesh() != (want == "mesh") {
			t.Errorf("%q: got %s, %v, want %s", spec, p, err, want)
		}
	}
	for _, spec := range []string{"star", "file:", "Ring", "ring "} {
		if _, err := route.ParsePolicy(spec, files("")); err == nil || !strings.Contains(err.Error(), "mesh, ring, tree, grid or file:PATH") {
			t.Errorf("%q: got %v, want an error that names the choices", spec, err)
		}
	}
	if _, err := route.ParsePolicy("file:other.txt", files("")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// FuzzParseFile: no text crashes the reader, and what it takes is a graph
// without a loose end.
func FuzzParseFile(f *testing.F) {
	f.Add([]byte("n1: n2 n3\nn2: n1\nn3:\n"))
	f.Add([]byte("# x\n\na:b\nb:a # y"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := route.ParseFile(text)
		if err != nil {
			return
		}
		var ids []string
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			if id, _, ok := strings.Cut(line, ":"); ok {
				ids = append(ids, strings.TrimSpace(id))
			}
		}
		g := p.Over(ids)
		if len(g.Routes(ids[0], route.All)) != len(ids) {
			t.Fatalf("%q was taken, but not all are reached from %s", text, ids[0])
		}
	})
}
