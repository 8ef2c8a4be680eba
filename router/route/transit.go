package route

import (
	"fmt"
	"slices"
)

// Transit is a route that relays take through a coordinator, or to it.
type Transit struct {
	Origin string
	Next   string // "" if this is its end
	IDs    []string
	Code   []byte
	Hops   byte   // taken so far
	Forged string // why it cannot be true; "" if it can

	graph  *Graph // for which linked holds
	linked bool
}

// ParseTransit reads the route of a relay that came to self from a neighbour after
// so many hops. It clones code. An error means that the frame is malformed.
func ParseTransit(code []byte, hops byte, from, self string) (*Transit, error) {
	tr := &Transit{Code: slices.Clone(code), Hops: hops}
	for b := code; len(b) > 0; {
		id, rest, err := cutID(b)
		if err != nil {
			return nil, err
		}
		tr.IDs, b = append(tr.IDs, id), rest
	}
	at := int(hops)
	if at == 0 || at >= len(tr.IDs) || len(tr.IDs) > MaxLen {
		return nil, fmt.Errorf("%d hops on a way of %d coordinators", at, len(tr.IDs))
	}
	tr.Origin = tr.IDs[0]
	if at+1 < len(tr.IDs) {
		tr.Next = tr.IDs[at+1]
	}
	sorted := slices.Clone(tr.IDs)
	slices.Sort(sorted)
	switch {
	case tr.IDs[at-1] != from:
		tr.Forged = "it does not pass the coordinator it came from"
	case tr.IDs[at] != self:
		tr.Forged = "it does not pass this coordinator"
	case len(slices.Compact(sorted)) != len(tr.IDs):
		tr.Forged = "it goes in a circle"
	}
	return tr, nil
}

// Linked tells whether all its links are in a graph. It remembers the answer for
// the latest one; calls are not concurrent.
func (tr *Transit) Linked(g *Graph) bool {
	if tr.graph != g {
		tr.graph, tr.linked = g, true
		for i := 1; i < len(tr.IDs); i++ {
			tr.linked = tr.linked && g.Linked(tr.IDs[i-1], tr.IDs[i])
		}
	}
	return tr.linked
}
