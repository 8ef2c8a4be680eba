package route_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/folkmoot/folkmoot/router/route"
)

// names returns n1 .. nN.
func names(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("n%d", i+1))
	}
	return ids
}

var policies = map[string]route.Policy{
	"mesh": route.Mesh(), "ring": route.Ring(), "tree": route.Tree(), "grid": route.Grid(),
}

// parts are the sets of coordinators that can reach each other over usable
// links, found another route than Routes does: by joining sets.
func parts(g *route.Graph, usable route.Usable) map[string]string {
	head := map[string]string{}
	var of func(id string) string
	of = func(id string) string {
		if head[id] == id {
			return id
		}
		head[id] = of(head[id])
		return head[id]
	}
	for _, id := range g.IDs() {
		head[id] = id
	}
	for _, a := range g.IDs() {
		for _, b := range g.Neighbours(a) {
			if usable(a, b) && usable(b, a) {
				head[of(a)] = of(b)
			}
		}
	}
	for _, id := range g.IDs() {
		head[id] = of(id)
	}
	return head
}

// checkWays holds every route of a graph against what a route must be, and
// returns the longest one.
func checkWays(t interface{ Fatalf(string, ...any) }, g *route.Graph, usable route.Usable) (longest int) {
	part := parts(g, usable)
	all := map[string]map[string][]string{}
	for i, from := range g.IDs() {
		if len(g.IDs()) <= 30 || i%7 == 0 {
			all[from] = g.Routes(from, usable)
		}
	}
	for i, from := range g.IDs() {
		if len(g.IDs()) > 30 && i%7 != 0 {
			continue // all of so many take too long
		}
		routes := all[from]
		for _, to := range g.IDs() {
			route, ok := routes[to]
			if same := part[from] == part[to]; ok != same {
				t.Fatalf("from %s to %s: a route is found: %t, they are in one part: %t", from, to, ok, same)
			}
			if !ok {
				continue
			}
			if route[0] != from || route[len(route)-1] != to {
				t.Fatalf("the route from %s to %s is %v", from, to, route)
			}
			hops := len(route) - 1
			if hops > g.MaxHops() {
				t.Fatalf("the route from %s to %s has %d hops, at most %d are possible", from, to, hops, g.MaxHops())
			}
			longest = max(longest, hops)
			seen := map[string]bool{}
			for i, id := range route {
				if seen[id] {
					t.Fatalf("the route from %s to %s passes %s twice: %v", from, to, id, route)
				}
				seen[id] = true
				if i > 0 && (!g.Linked(route[i-1], id) || !usable(route[i-1], id)) {
					t.Fatalf("the route %v takes a link that is not there: %s to %s", route, route[i-1], id)
				}
				if all[id] == nil {
					continue
				}
				// Whoever is on the route is as far from its end as the route says:
				// no shorter one was missed, and next hops never turn back.
				if rest := all[id][to]; len(rest)-1 != hops-i {
					t.Fatalf("%s is %d hops from %s, on the route %v it is %d", id, len(rest)-1, to, route, hops-i)
				}
			}
			if len(g.IDs()) > 30 {
				continue
			}
			if next, ok := g.Next(from, to, usable); ok != (hops > 0) || ok && next != route[1] {
				t.Fatalf("next hop from %s to %s is %s (%t), the route is %v", from, to, next, ok, route)
			}
		}
	}
	return longest
}

// 200 coordinators: everyone reaches everyone, in as many hops as the shape
// says, over as many links as it says.
func TestTwoHundredCoordinators(t *testing.T) {
	for name, want := range map[string]struct{ links, mostAtOne, diameter int }{
		"mesh": {200 * 199 / 2, 199, 1},
		"ring": {200, 2, 100},
		"tree": {199, 3, 14}, // both halves are 7 deep
		"grid": {200*2 - 15 - 14, 4, 27},
	} {
		t.Run(name, func(t *testing.T) {
			g := policies[name].Over(names(200))
			links, most := 0, 0
			for _, id := range g.IDs() {
				links += len(g.Neighbours(id))
				most = max(most, len(g.Neighbours(id)))
			}
			if links/2 != want.links || most != want.mostAtOne {
				t.Errorf("%d links, at most %d at one; want %d and %d", links/2, most, want.links, want.mostAtOne)
			}
			if got := checkWays(t, g, route.All); got != want.diameter {
				t.Errorf("the longest route has %d hops, want %d", got, want.diameter)
			}
		})
	}
}

// Any of the 200 are removed: over those that are left, the shape is whole
// again. And any of them die: who is still joined still has routes.
func TestTwoHundredCoordinatorsWithLosses(t *testing.T) {
	for name, p := range policies {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for _, losses := range []int{1, 20, 150} {
				ids := names(200)
				rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
				lost := map[string]bool{}
				for _, id := range ids[:losses] {
					lost[id] = true
				}
				left := p.Over(ids[losses:])
				checkWays(t, left, route.All)
				if n := len(left.Routes(ids[losses], route.All)); n != 200-losses {
					t.Errorf("%d removed: %s reaches %d of %d", losses, ids[losses], n, 200-losses)
				}
				checkWays(t, p.Over(ids), func(a, b string) bool { return !lost[a] && !lost[b] })
			}
		})
	}
}

// One loss cuts nobody off in a ring, nor in a grid but for the only one in
// the last row.
func TestRingAndGridBearOneLoss(t *testing.T) {
	for _, p := range []route.Policy{route.Ring(), route.Grid()} {
		for n := 3; n < 40; n++ {
			g := p.Over(names(n))
			for _, dead := range g.IDs() {
				alive := func(a, b string) bool { return a != dead && b != dead }
				for _, from := range g.IDs() {
					want := n - 1
					if from == dead {
						want = 1
					}
					if got := len(g.Routes(from, alive)); got != want && !hangs(g, dead) {
						t.Errorf("%s of %d without %s: %s reaches %d, want %d", p, n, dead, from, got, want)
					}
				}
			}
		}
	}
}

// hangs tells whether somebody has no other neighbour.
func hangs(g *route.Graph, dead string) bool {
	return slices.ContainsFunc(g.IDs(), func(id string) bool {
		return slices.Equal(g.Neighbours(id), []string{dead})
	})
}

// Whatever the size and whatever is lost, in one direction or in both.
func TestWaysOverWhatIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policies[rapid.SampledFrom([]string{"mesh", "ring", "tree", "grid"}).Draw(t, "policy")]
		ids := names(rapid.IntRange(1, 16).Draw(t, "coordinators"))
		g := p.Over(ids)
		down := map[[2]string]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "links lost") {
			a, b := rapid.SampledFrom(ids).Draw(t, "a"), rapid.SampledFrom(ids).Draw(t, "b")
			down[[2]string{a, b}], down[[2]string{b, a}] = true, true
		}
		usable := func(a, b string) bool { return !down[[2]string{a, b}] }
		checkWays(t, g, usable)
		if again := p.Over(append(ids[1:], ids[0])); !slices.Equal(again.IDs(), g.IDs()) {
			t.Fatalf("another order of the ids gives another graph: %v, %v", again.IDs(), g.IDs())
		}
		// The route is the lowest of the shortest ones.
		from, to := rapid.SampledFrom(ids).Draw(t, "from"), rapid.SampledFrom(ids).Draw(t, "to")
		route, ok := g.Routes(from, usable)[to]
		if ok && len(route) <= 5 {
			if best := lowest(g, usable, []string{from}, to, len(route)); !slices.Equal(best, route) {
				t.Fatalf("the route from %s to %s is %v, a lower one is %v", from, to, route, best)
			}
		}
	})
}

// lowest tries all routes of a length in order and returns the first.
func lowest(g *route.Graph, usable route.Usable, route []string, to string, length int) []string {
	at := route[len(route)-1]
	if at == to {
		return route
	}
	if len(route) == length {
		return nil
	}
	for _, next := range g.Neighbours(at) {
		if usable(at, next) {
			if found := lowest(g, usable, append(slices.Clone(route), next), to, length); found != nil {
				return found
			}
		}
	}
	return nil
}

// Small clusters have no special cases to trip over.
func TestSmallGraphs(t *testing.T) {
	for name, p := range policies {
		for n := range 4 {
			g := p.Over(names(n))
			checkWays(t, g, route.All)
			for _, id := range g.IDs() {
				around := g.Neighbours(id)
				if slices.Contains(around, id) || len(slices.Compact(slices.Clone(around))) != len(around) {
					t.Errorf("%s of %d: the neighbours of %s are %v", name, n, id, around)
				}
				if len(g.Routes(id, route.All)) != n {
					t.Errorf("%s of %d: %s does not reach all", name, n, id)
				}
			}
		}
	}
	g := route.Ring().Over(names(5))
	if g.Has("x") || g.Linked("x", "n1") || g.Linked("n1", "x") || g.Linked("n1", "n1") || len(g.Neighbours("x")) > 0 || len(g.Routes("x", route.All)) > 0 {
		t.Error("a coordinator that is not there has a place")
	}
	if n := len(route.Mesh().Over([]string{"b", "a", "b"}).IDs()); n != 2 {
		t.Errorf("%d places for 2 ids, one listed twice", n)
	}
}
