package route

import "slices"

// Graph says who has links to whom. It never changes and is safe for
// concurrent use. Links join two coordinators in both directions.
type Graph struct {
	ids   []string // ordered
	full  bool     // everybody to everybody
	links [][]int  // places of the neighbours of each, ordered; nil if full
}

func (g *Graph) link(a, b int) {
	g.links[a] = append(g.links[a], b)
	g.links[b] = append(g.links[b], a)
}

func (g *Graph) place(id string) (int, bool) { return slices.BinarySearch(g.ids, id) }

// IDs are all coordinators in order; the caller does not change them.
func (g *Graph) IDs() []string { return g.ids }

// Has tells whether a coordinator is in the graph.
func (g *Graph) Has(id string) bool {
	_, ok := g.place(id)
	return ok
}

// Neighbours are the coordinators that one has links to, in order.
func (g *Graph) Neighbours(id string) (ids []string) {
	at, ok := g.place(id)
	if !ok {
		return nil
	}
	g.eachLink(at, func(to int) { ids = append(ids, g.ids[to]) })
	return ids
}

// eachLink calls f for every neighbour's place, in order.
func (g *Graph) eachLink(at int, f func(to int)) {
	if !g.full {
		for _, to := range g.links[at] {
			f(to)
		}
		return
	}
	for to := range g.ids {
		if to != at {
			f(to)
		}
	}
}

// Linked tells whether there is a link between two coordinators.
func (g *Graph) Linked(a, b string) bool {
	i, ok := g.place(a)
	if !ok || a == b {
		return false
	}
	j, ok := g.place(b)
	if !ok || g.full {
		return ok
	}
	_, ok = slices.BinarySearch(g.links[i], j)
	return ok
}

// MaxHops is the most links that a route without a circle can have: no graph
// that is left after losses has a larger diameter.
func (g *Graph) MaxHops() int { return max(0, len(g.ids)-1) }

// Usable tells whether messages can go from one coordinator over its link to a
// neighbour.
type Usable func(from, to string) bool

// All is the Usable of a graph in which nothing is lost.
func All(_, _ string) bool { return true }

// Routes returns a shortest route over usable links from one coordinator to each
// that can be reached, by id: the coordinators passed, the first and the last
// included. Of two routes as short, it is the one that passes the lower id at
// the first difference; so all who know the same take the same.
func (g *Graph) Routes(from string, usable Usable) map[string][]string {
	routes := make(map[string][]string)
	start, ok := g.place(from)
	if !ok {
		return routes
	}
	routes[from] = []string{from}
	for row := []int{start}; len(row) > 0; {
		var next []int
		for _, at := range row {
			route := routes[g.ids[at]]
			g.eachLink(at, func(to int) {
				id := g.ids[to]
				if _, ok := routes[id]; ok || !usable(g.ids[at], id) {
					return
				}
				routes[id] = append(route[:len(route):len(route)], id)
				next = append(next, to)
			})
		}
		row = next
	}
	return routes
}

// Next returns the neighbour to which a message from one coordinator to another
// one goes; false if no route is left.
func (g *Graph) Next(from, to string, usable Usable) (string, bool) {
	route, ok := g.Routes(from, usable)[to]
	if !ok || len(route) < 2 {
		return "", false
	}
	return route[1], true
}
