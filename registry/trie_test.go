package registry

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// A trie holds what was put in and not taken out, whatever its copies go
// through and however bad the hash is.
func TestTrie(t *testing.T) {
	good := hash
	defer func() { hash = good }()
	for seed := range uint64(20) {
		hash = good
		if seed%2 == 0 {
			hash = func(s string) uint64 { return good(s) % 3 }
		}
		r := rand.New(rand.NewPCG(seed, 6))
		var live trie
		model := map[string]*Session{}
		type view struct {
			trie  trie
			model map[string]*Session
		}
		var views []view
		own := new(owner)
		for step := range 2000 {
			s := &Session{ID: fmt.Sprint(r.IntN(300))}
			if r.IntN(2) == 0 != (step < 1000) {
				live.remove(own, s.ID) // there or not
				delete(model, s.ID)
			} else if r.IntN(2) == 0 {
				live.set(own, s)
				model[s.ID] = s
			}
			if r.IntN(40) == 0 {
				views = append(views, view{live, maps.Clone(model)})
				own = new(owner)
			}
		}
		for i, v := range views {
			for n := range 300 {
				id := fmt.Sprint(n)
				got, ok := v.trie.get(id)
				if want, there := v.model[id]; ok != there || ok && got != want {
					t.Fatalf("seed %d, copy %d: %s is there: %v, want %v, or another", seed, i, id, ok, there)
				}
			}
		}
		for id := range model {
			live.remove(own, id)
		}
		if live.root != nil {
			t.Fatalf("seed %d: all is taken out, yet something is left", seed)
		}
	}
}
