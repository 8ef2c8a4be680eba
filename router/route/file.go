package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ParseFile reads a graph from text: one line "n1: n2 n3" for each
// coordinator with the ids of its neighbours. A link may be told at one end or
// at both. Empty lines and what follows a # are left out. Errors name the line:
// a coordinator told twice, linked to itself, named as a neighbour without a
// line of its own, or one that has no way to the first.
func ParseFile(text []byte) (Policy, error) {
	p := Policy{spec: "file", listed: map[string][]string{}}
	var order []string
	told := map[string]int{}              // line of each coordinator
	named := map[string]map[string]bool{} // neighbours as written
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		id, rest, ok := strings.Cut(line, ":")
		id = strings.TrimSpace(id)
		switch {
		case !ok:
			return Policy{}, fmt.Errorf("line %d: %q has no colon; want \"n1: n2 n3\"", n, line)
		case !validID(id):
			return Policy{}, fmt.Errorf("line %d: %q is not the id of a coordinator", n, id)
		case told[id] != 0:
			return Policy{}, fmt.Errorf("line %d: %s was told in line %d already", n, id, told[id])
		}
		told[id] = n
		order = append(order, id)
		named[id] = map[string]bool{}
		for _, other := range strings.Fields(rest) {
			switch {
			case !validID(other):
				return Policy{}, fmt.Errorf("line %d: %q is not the id of a coordinator", n, other)
			case other == id:
				return Policy{}, fmt.Errorf("line %d: %s is its own neighbour", n, id)
			case named[id][other]:
				return Policy{}, fmt.Errorf("line %d: %s is named twice", n, other)
			}
			named[id][other] = true
			p.listed[id] = append(p.listed[id], other)
		}
		if p.listed[id] == nil {
			p.listed[id] = []string{}
		}
	}
	if len(order) == 0 {
		return Policy{}, errors.New("no coordinator is told; want lines like \"n1: n2 n3\"")
	}
	for _, id := range order {
		for _, other := range slices.Clone(p.listed[id]) {
			if told[other] == 0 {
				return Policy{}, fmt.Errorf("line %d: %s has no line of its own", told[id], other)
			}
			if !slices.Contains(p.listed[other], id) {
				p.listed[other] = append(p.listed[other], id)
			}
		}
	}
	routes := p.Over(order).Routes(order[0], All)
	for _, id := range order {
		if routes[id] == nil {
			return Policy{}, fmt.Errorf("line %d: %s has no way to %s", told[id], id, order[0])
		}
	}
	return p, nil
}

// validID is the rule for ids of coordinators.
func validID(id string) bool {
	for i := range len(id) {
		c := id[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return id != "" && len(id) <= 63
}
