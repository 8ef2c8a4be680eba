package router

import "sync"

// segmentSize is how much of what waits to be written lies together, and
// writeBatch how much the writer takes at once: what it has not taken has
// certainly not left, and pings and chunks go in between.
const (
	segmentSize = 128 << 10
	writeBatch  = 4 * segmentSize
)

// maxHeldSegments bounds the segments of one link that are kept for messages
// in them without outcome; beyond it their payload is copied.
const maxHeldSegments = 1024

// segment is a piece of what waits to be written; it never grows.
type segment struct {
	b       []byte
	last    uint64 // seq of the last message in it
	held    int    // entries whose payload is in it
	written bool
}

var segments = sync.Pool{New: func() any { return &segment{b: make([]byte, 0, segmentSize)} }}

// recycleSegment has a segment used again if it was written and nobody needs it. A link
// keeps one: on its route through the pool another processor would not find it.
// The link's mu is held.
func (l *outLink) recycleSegment(s *segment) {
	if !s.written || s.held > 0 {
		return
	}
	*s = segment{b: s.b[:0]}
	if l.spare == nil {
		l.spare = s
		return
	}
	segments.Put(s)
}

// segmentFor returns the segment that n more bytes, one frame at most, go into; the
// link's mu is held.
func (l *outLink) segmentFor(n int) *segment {
	if k := len(l.backlog); k > 0 && cap(l.backlog[k-1].b)-len(l.backlog[k-1].b) >= n {
		return l.backlog[k-1]
	}
	s := l.spare
	if l.spare = nil; s == nil {
		s = segments.Get().(*segment)
	}
	l.backlog = append(l.backlog, s)
	return s
}

// backlog is what waits to be written, in order.
type backlog []*segment

// take moves the first segments to dst, writeBatch of them at most.
func (q *backlog) take(dst []*segment) []*segment {
	n := 0
	for size := 0; n < len(*q) && size < writeBatch; n++ {
		size += len((*q)[n].b)
	}
	dst = append(dst, (*q)[:n]...)
	rest := copy(*q, (*q)[n:])
	clear((*q)[rest:])
	*q = (*q)[:rest]
	return dst
}

// pinSegment has an entry that was just appended to s, and whose payload was lent,
// find it there from now on. The link's mu is held.
func (l *outLink) pinSegment(s *segment, e *entry) {
	if l.heldSegments >= maxHeldSegments {
		e.ownPayload()
		return
	}
	e.borrowed = false
	at := len(s.b)
	for i := len(e.m.Payload) - 1; i >= 0; i-- {
		n := len(e.m.Payload[i])
		e.m.Payload[i] = s.b[at-n : at : at]
		at -= n + 4
	}
	e.seg = s
	if s.held++; s.held == 1 {
		l.heldSegments++
	}
}

// unpinSegment is the end of pinSegment; the link's mu is held.
func (l *outLink) unpinSegment(e *entry) {
	s := e.seg
	e.seg = nil
	if s.held--; s.held == 0 {
		l.heldSegments--
		l.recycleSegment(s)
	}
}
