// Package pending bounds the connections that have not proved anything yet, without
// letting those who never will keep others out.
package pending

import (
	"net/netip"
	"slices"
)

// Set holds connections of one port until they have proved what they are. When there are
// too many, the oldest one of the host that has most of them goes: a real client needs a
// few milliseconds, and a flood makes room for it, whether it comes from elsewhere or from
// the client's own host. It is not safe for concurrent use.
type Set[T comparable] struct {
	limit   int
	entries []entry[T] // oldest first
	hosts   map[string]int
}

type entry[T comparable] struct {
	conn T
	host string
}

// New returns an empty set for at most limit connections.
func New[T comparable](limit int) *Set[T] {
	return &Set[T]{limit: max(1, limit), hosts: map[string]int{}}
}

// Add puts in a connection from a remote address. When there was no room, full is true and
// evicted is the connection that gave way, which its owner has to close: never conn itself.
func (s *Set[T]) Add(conn T, remote string) (evicted T, full bool) {
	host := hostOf(remote)
	if full = len(s.entries) >= s.limit; full {
		evicted = s.evict(host)
	}
	s.entries = append(s.entries, entry[T]{conn, host})
	s.hosts[host]++
	return evicted, full
}

// evict takes out the oldest connection of the host that has most, the one that is to come
// from arriving counted.
func (s *Set[T]) evict(arriving string) T {
	busiest, most := arriving, s.hosts[arriving]+1
	if most == 1 {
		most = 0 // it has none that could go
	}
	for _, e := range s.entries {
		if n := s.hosts[e.host]; n > most {
			busiest, most = e.host, n
		}
	}
	i := slices.IndexFunc(s.entries, func(e entry[T]) bool { return e.host == busiest })
	conn := s.entries[i].conn
	s.removeAt(i)
	return conn
}

// Remove takes a connection out; false is that it is not in, since it was evicted, say.
func (s *Set[T]) Remove(conn T) bool {
	i := slices.IndexFunc(s.entries, func(e entry[T]) bool { return e.conn == conn })
	if i < 0 {
		return false
	}
	s.removeAt(i)
	return true
}

func (s *Set[T]) removeAt(i int) {
	host := s.entries[i].host
	if s.hosts[host]--; s.hosts[host] == 0 {
		delete(s.hosts, host)
	}
	s.entries = slices.Delete(s.entries, i, i+1)
}

// Len returns how many there are.
func (s *Set[T]) Len() int { return len(s.entries) }

// All returns the connections, oldest first.
func (s *Set[T]) All() []T {
	all := make([]T, len(s.entries))
	for i, e := range s.entries {
		all[i] = e.conn
	}
	return all
}

// hostOf is the host of a remote address: of IPv6 its network of 64 bits, all of whose
// addresses one host may have. What is no address is a host by itself.
func hostOf(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr := at.Addr().Unmap()
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}
