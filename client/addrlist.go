package client

import (
	"slices"
	"sync"
)

// addrList is a list of addresses in the order in which they are tried: one that failed moves to the back.
type addrList struct {
	mu    sync.Mutex
	bases []string
}

func newAddrList(bases []string) *addrList {
	r := &addrList{}
	for _, b := range bases {
		if !slices.Contains(r.bases, b) {
			r.bases = append(r.bases, b)
		}
	}
	return r
}

func (r *addrList) order() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bases)
}

// moveToBack moves an address to the back.
func (r *addrList) moveToBack(base string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.bases, base); i >= 0 {
		r.bases = append(slices.Delete(r.bases, i, i+1), base)
	}
}
