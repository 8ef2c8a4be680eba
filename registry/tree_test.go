package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A tree holds what was put in and not taken out, in order, whatever its
// copies go through.
func TestTree(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		names, steps := 40, 2000
		if seed%4 == 0 {
			names, steps = 9000, 40_000
		}
		var live tree
		var model []*Session // in order
		type view struct {
			tree  tree
			model []*Session
		}
		var views []view
		own := new(owner)
		for step := range steps {
			s := &Session{FullName: named(r.IntN(names))}
			i, there := slices.BinarySearchFunc(model, s, compareNames)
			if got, ok := live.get(s.FullName); ok != there || ok && got != model[i] {
				t.Fatalf("seed %d, step %d: %s is there: %v, want %v", seed, step, s.FullName, ok, there)
			}
			growing := step%(steps/2) < steps/4
			switch {
			case there && growing && r.IntN(2) == 0:
				live.set(own, s)
				model[i] = s
			case there && !growing:
				live.remove(own, s)
				model = slices.Delete(model, i, i+1)
			case !there && growing:
				live.set(own, s)
				model = slices.Insert(model, i, s)
			}
			if r.IntN(steps/50) == 0 {
				views = append(views, view{live, slices.Clone(model)})
				own = new(owner)
			}
		}
		views = append(views, view{live, model})
		for i, v := range views {
			if err := v.tree.verify(v.model); err != nil {
				t.Fatalf("seed %d, copy %d of %d: %v", seed, i, len(views), err)
			}
			from := &Session{FullName: named(r.IntN(names))}
			place, _ := slices.BinarySearchFunc(v.model, from, compareNames)
			var got []*Session
			v.tree.ascend(from.FullName, func(s *Session) bool {
				got = append(got, s)
				return len(got) < 100
			})
			if want := v.model[place:min(place+100, len(v.model))]; !slices.Equal(got, want) {
				t.Fatalf("seed %d, copy %d: from %s on there are %d rows, want %d, or others", seed, i, from.FullName, len(got), len(want))
			}
		}
	}
}

// named is the name of a number: much in common with others, little or nothing.
func named(n int) string {
	return []string{"", "n1.", "n1.component-of-the-laboratory-at-", "n1.component-of-the-laboratory-at-the-end-", "n2.é"}[n%5] + fmt.Sprint(n)
}

func compareNames(a, b *Session) int {
	return strings.Compare(a.FullName, b.FullName)
}

// verify reports what is wrong with the shape of a tree or with its rows.
func (t *tree) verify(want []*Session) error {
	var got []*Session
	t.ascend("", func(s *Session) bool { got = append(got, s); return true })
	if !slices.Equal(got, want) || t.size != len(want) {
		return fmt.Errorf("has %d rows and says %d, want %d, or has others", len(got), t.size, len(want))
	}
	depths := map[int]bool{}
	var look func(n *node, depth int) error
	look = func(n *node, depth int) error {
		if len(n.rows) > maxRows || len(n.rows) < minRows && n != t.root || len(n.rows) == 0 {
			return fmt.Errorf("a node of %d rows", len(n.rows))
		}
		if cap(n.rows) != maxRows || !n.leaf() && cap(n.kids) != maxRows+1 {
			return fmt.Errorf("a node that moved out of its room: %d rows, %d kids", cap(n.rows), cap(n.kids))
		}
		for i, s := range n.rows {
			if string(n.prefix[:n.shared]) != s.FullName[:n.shared] || n.heads[i] != keyHead(s.FullName[n.shared:]) {
				return fmt.Errorf("%s is kept as %q and head %x", s.FullName, n.prefix[:n.shared], n.heads[i])
			}
		}
		if n.leaf() {
			depths[depth] = true
			return nil
		}
		if len(n.kids) != len(n.rows)+1 {
			return fmt.Errorf("a node of %d rows and %d kids", len(n.rows), len(n.kids))
		}
		for _, k := range n.kids {
			if err := look(k, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if t.root == nil {
		return nil
	}
	if err := look(t.root, 0); err != nil || len(depths) == 1 {
		return err
	}
	return fmt.Errorf("leaves at depths %v", depths)
}
