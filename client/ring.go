package client

import (
	"slices"
	"sync"
)

// ring is a list of addresses in the order of trust: who failed goes to the back.
type ring struct {
	mu    sync.Mutex
	bases []string
}

func newRing(bases []string) *ring {
	r := &ring{}
	for _, b := range bases {
		if !slices.Contains(r.bases, b) {
			r.bases = append(r.bases, b)
		}
	}
	return r
}

func (r *ring) order() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bases)
}

func (r *ring) failed(base string) { r.move(base, false) }
func (r *ring) prefer(base string) { r.move(base, true) }

func (r *ring) move(base string, front bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.bases, base)
	if i < 0 {
		return
	}
	r.bases = slices.Delete(r.bases, i, i+1)
	if front {
		r.bases = slices.Insert(r.bases, 0, base)
	} else {
		r.bases = append(r.bases, base)
	}
}
