package registry

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// many are sessions as they lie in memory after a while: every text of its own.
func many(n int) []*Session {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]*Session, n)
	for i := range all {
		s := &Session{Name: fmt.Sprintf("component-%x", r.Uint64()), Namespace: "n1", ID: fmt.Sprintf("%016x-%016x", r.Uint64(), r.Uint64())}
		s.FullName = FullName(s.Namespace, s.Name)
		all[i] = s
	}
	return all
}

// What a sign-in does to the table of sessions, one entry of 32 a time.
func BenchmarkSessions(b *testing.B) {
	const here = 200_000
	all := many(here)
	for _, what := range []string{"names", "ids"} {
		b.Run(what, func(b *testing.B) {
			var names tree
			var ids trie
			own := new(owner)
			for _, s := range all {
				names.set(own, s)
				ids.set(own, s)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i%32 == 0 {
					own = new(owner)
				}
				s := all[(i*7919)%here]
				if what == "names" {
					if got, ok := names.get(s.FullName); !ok || got != s {
						b.Fatal("not found")
					}
					names.remove(own, s)
					names.get(s.FullName)
					names.set(own, s)
				} else {
					if got, ok := ids.get(s.ID); !ok || got != s {
						b.Fatal("not found")
					}
					ids.remove(own, s.ID)
					ids.get(s.ID)
					ids.set(own, s)
				}
			}
		})
	}
}
