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

// failed moves an address to the back.
func (r *ring) failed(base string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.bases, base); i >= 0 {
		r.bases = append(slices.Delete(r.bases, i, i+1), base)
	}
}
