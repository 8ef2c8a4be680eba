package route

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is a rule that turns the ids of all coordinators into a graph. All
// coordinators of a cluster are listed the same one. The zero value is the mesh.
type Policy struct {
	spec   string
	shape  func(n int) [][2]int // links between places in the ordered ids; nil: mesh or listed
	listed map[string][]string  // of a file: neighbours by id, both directions
}

// Mesh links every coordinator to every other one.
func Mesh() Policy { return Policy{} }

// Ring links each coordinator to the next one in the order of ids, and the last to
// the first: two routes between any two, so that one loss cuts nobody off.
func Ring() Policy { return Policy{spec: "ring", shape: ring} }

// Tree links each coordinator to a parent: the first id is the root, and each has at
// most two below it. There is one route between any two.
func Tree() Policy { return Policy{spec: "tree", shape: tree} }

// Grid puts the ids in rows that are as long as there are rows, and links each
// coordinator to those beside, above and below it.
func Grid() Policy { return Policy{spec: "grid", shape: grid} }

// filePrefix begins the spec of a graph from a file.
const filePrefix = "file:"

// ParsePolicy reads a policy as it is written in settings: mesh (or nothing), ring,
// tree, grid, or file:PATH. read gets the file; its format is that of
// ParseFile.
func ParsePolicy(spec string, read func(path string) ([]byte, error)) (Policy, error) {
	switch spec {
	case "", "mesh":
		return Mesh(), nil
	case "ring":
		return Ring(), nil
	case "tree":
		return Tree(), nil
	case "grid":
		return Grid(), nil
	}
	path, ok := strings.CutPrefix(spec, filePrefix)
	if !ok || path == "" {
		return Policy{}, fmt.Errorf("topology %q: want mesh, ring, tree, grid or file:PATH", spec)
	}
	text, err := read(path)
	if err != nil {
		return Policy{}, fmt.Errorf("topology %s: %w", spec, err)
	}
	p, err := ParseFile(text)
	if err != nil {
		return Policy{}, fmt.Errorf("topology %s: %w", spec, err)
	}
	p.spec = spec
	return p, nil
}

// String returns the policy as ParsePolicy reads it.
func (p Policy) String() string {
	if p.spec == "" {
		return "mesh"
	}
	return p.spec
}

// IsMesh tells whether every coordinator has a link to every other one.
func (p Policy) IsMesh() bool { return p.shape == nil && p.listed == nil }

// Knows tells whether the policy has a place for a coordinator. All but those
// from a file have one for every id.
func (p Policy) Knows(id string) bool {
	_, ok := p.listed[id]
	return ok || p.listed == nil
}

// Over returns the graph over these coordinators, in any order. Ids that a
// file does not list have no links; ids it lists that are not there are left
// out with their links.
func (p Policy) Over(ids []string) *Graph {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	g := &Graph{ids: slices.Compact(ids), full: p.IsMesh()}
	if g.full {
		return g
	}
	g.links = make([][]int, len(g.ids))
	switch {
	case p.shape != nil:
		for _, l := range p.shape(len(g.ids)) {
			g.link(l[0], l[1])
		}
	default:
		for a, id := range g.ids {
			for _, other := range p.listed[id] {
				if b, ok := g.place(other); ok && a < b {
					g.link(a, b)
				}
			}
		}
	}
	for i := range g.links {
		slices.Sort(g.links[i])
	}
	return g
}

func ring(n int) (links [][2]int) {
	for i := range n - 1 {
		links = append(links, [2]int{i, i + 1})
	}
	if n > 2 {
		links = append(links, [2]int{0, n - 1})
	}
	return links
}

func tree(n int) (links [][2]int) {
	for i := 1; i < n; i++ {
		links = append(links, [2]int{(i - 1) / 2, i})
	}
	return links
}

// grid fills rows of the smallest width whose square holds n; the last row may
// be short.
func grid(n int) (links [][2]int) {
	width := 1
	for width*width < n {
		width++
	}
	for i := range n {
		if (i+1)%width != 0 && i+1 < n {
			links = append(links, [2]int{i, i + 1})
		}
		if i+width < n {
			links = append(links, [2]int{i, i + width})
		}
	}
	return links
}
