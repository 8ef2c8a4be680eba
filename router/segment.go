package router

import "sync"

// segmentSize is how much of what waits to be written lies together, and
// turnBytes how much the writer takes at once: what it has not taken has
// certainly not left, and pings and chunks go in between.
const (
	segmentSize = 128 << 10
	turnBytes   = 4 * segmentSize
)

// segment is a piece of what waits to be written; it never grows.
type segment struct {
	b    []byte
	last uint64 // seq of the last message in it
}

var segments = sync.Pool{New: func() any { return &segment{b: make([]byte, 0, segmentSize)} }}

func (s *segment) free() {
	s.b, s.last = s.b[:0], 0
	segments.Put(s)
}

// backlog is what waits to be written, in order.
type backlog []*segment

// room returns the segment that n more bytes, one frame at most, go into.
func (q *backlog) room(n int) *segment {
	if k := len(*q); k > 0 && cap((*q)[k-1].b)-len((*q)[k-1].b) >= n {
		return (*q)[k-1]
	}
	s := segments.Get().(*segment)
	*q = append(*q, s)
	return s
}

// take moves the first segments to dst, turnBytes of them at most.
func (q *backlog) take(dst []*segment) []*segment {
	n := 0
	for size := 0; n < len(*q) && size < turnBytes; n++ {
		size += len((*q)[n].b)
	}
	dst = append(dst, (*q)[:n]...)
	rest := copy(*q, (*q)[n:])
	clear((*q)[rest:])
	*q = (*q)[:rest]
	return dst
}

func (q *backlog) drop() {
	for _, s := range *q {
		s.free()
	}
	*q = nil
}
