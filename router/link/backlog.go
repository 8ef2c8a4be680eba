package link

import (
	"sync"

	"github.com/folkmoot/folkmoot/wire"
)

// segmentSize is how much of what waits to be written lies together, and
// writeBatch how much the writer takes at once: what it has not taken has
// certainly not left, and pings and chunks go in between.
const (
	segmentSize = 128 << 10
	writeBatch  = 4 * segmentSize
)

// maxPinned bounds the segments of one link that are kept for messages in them
// without outcome; beyond it their payload is copied.
const maxPinned = 1024

// Segment is a piece of what waits to be written; it never grows.
type Segment struct {
	B    []byte // frames
	Last uint64 // number of the last message in it

	pins    int // messages whose payload is in it
	written bool
}

var segments = sync.Pool{New: func() any { return &Segment{B: make([]byte, 0, segmentSize)} }}

// Backlog is what waits to be written on a link, in order. Its owner's lock guards
// it. The zero value works.
type Backlog struct {
	queue  []*Segment
	pinned int      // segments that are kept for messages
	spare  *Segment // for the next frame; may be nil
}

// Len is how many segments wait.
func (q *Backlog) Len() int { return len(q.queue) }

// Room returns the segment that n more bytes, one frame at most, go into.
func (q *Backlog) Room(n int) *Segment {
	if k := len(q.queue); k > 0 && cap(q.queue[k-1].B)-len(q.queue[k-1].B) >= n {
		return q.queue[k-1]
	}
	s := q.spare
	if q.spare = nil; s == nil {
		s = segments.Get().(*Segment)
	}
	q.queue = append(q.queue, s)
	return s
}

// Take moves the first segments to dst, 512 KiB of them at most.
func (q *Backlog) Take(dst []*Segment) []*Segment {
	n := 0
	for size := 0; n < len(q.queue) && size < writeBatch; n++ {
		size += len(q.queue[n].B)
	}
	dst = append(dst, q.queue[:n]...)
	rest := copy(q.queue, q.queue[n:])
	clear(q.queue[rest:])
	q.queue = q.queue[:rest]
	return dst
}

// TakeOnly takes the one segment that waits if it holds at most limit bytes; nil:
// there is none, more than one, or a longer one.
func (q *Backlog) TakeOnly(limit int) *Segment {
	if len(q.queue) != 1 || len(q.queue[0].B) > limit {
		return nil
	}
	s := q.queue[0]
	q.queue[0] = nil
	q.queue = q.queue[:0]
	return s
}

// Written has a segment that was taken used again, once nobody needs it.
func (q *Backlog) Written(s *Segment) {
	s.written = true
	q.recycle(s)
}

// recycle has a segment used again if it was written and nobody needs it. A link
// keeps one: on its way through the pool another processor would not find it.
func (q *Backlog) recycle(s *Segment) {
	if !s.written || s.pins > 0 {
		return
	}
	*s = Segment{B: s.B[:0]}
	if q.spare == nil {
		q.spare = s
		return
	}
	segments.Put(s)
}

// Pin has a message that was just appended to s find its payload there from now
// on; false, and nothing has changed, when too many segments are kept already.
func (q *Backlog) Pin(s *Segment, m *wire.Message) bool {
	if q.pinned >= maxPinned {
		return false
	}
	at := len(s.B)
	for i := len(m.Payload) - 1; i >= 0; i-- {
		n := len(m.Payload[i])
		m.Payload[i] = s.B[at-n : at : at]
		at -= n + 4
	}
	if s.pins++; s.pins == 1 {
		q.pinned++
	}
	return true
}

// Unpin is the end of Pin.
func (q *Backlog) Unpin(s *Segment) {
	if s.pins--; s.pins == 0 {
		q.pinned--
		q.recycle(s)
	}
}

// Reset forgets what waits. What messages have in segments stays theirs.
func (q *Backlog) Reset() { q.queue, q.pinned = nil, 0 }
