package link_test

import (
	"bytes"
	"testing"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/wire"
)

// fill appends n bytes of one kind to a backlog.
func fill(q *link.Backlog, b byte, n int) *link.Segment {
	s := q.Room(n)
	s.B = append(s.B, bytes.Repeat([]byte{b}, n)...)
	return s
}

// What waits is taken in order, at most 512 KiB and a segment at once.
func TestBacklogTake(t *testing.T) {
	var q link.Backlog
	const frames, size = 20, 60 << 10
	for i := range frames {
		fill(&q, byte(i), size)
	}
	next := 0
	var taken []*link.Segment
	for q.Len() > 0 {
		taken = q.Take(taken[:0])
		total := 0
		for _, s := range taken {
			total += len(s.B)
			for b := s.B; len(b) > 0; b = b[size:] {
				if b[0] != byte(next) || b[size-1] != byte(next) {
					t.Fatalf("frame %d came where %d was to come", b[0], next)
				}
				next++
			}
			q.Written(s)
		}
		if total > 640<<10 {
			t.Errorf("%d bytes were taken at once", total)
		}
	}
	if next != frames {
		t.Errorf("%d frames came of %d", next, frames)
	}
}

// TakeOnly takes what is little, and nothing else.
func TestBacklogTakeOnly(t *testing.T) {
	var q link.Backlog
	if q.TakeOnly(100) != nil {
		t.Error("took something from nothing")
	}
	fill(&q, 'x', 100)
	if q.TakeOnly(99) != nil {
		t.Error("took more than allowed")
	}
	if s := q.TakeOnly(100); s == nil || len(s.B) != 100 || q.Len() != 0 {
		t.Errorf("took %v, %d segments wait", s, q.Len())
	}
	fill(&q, 'x', 100<<10)
	fill(&q, 'y', 100<<10)
	if q.TakeOnly(1<<20) != nil {
		t.Error("took one segment of two")
	}
}

// A segment with a pinned payload is not used again before the payload is let go.
func TestBacklogPin(t *testing.T) {
	var q link.Backlog
	m := wire.Message{Payload: [][]byte{[]byte("payload")}}
	s := q.Room(11)
	s.B = append(s.B, "\x00\x00\x00\x07payload"...)
	if !q.Pin(s, &m) || &m.Payload[0][0] != &s.B[4] {
		t.Fatal("the payload is not the one in the segment")
	}
	q.Written(q.Take(nil)[0])
	if other := q.Room(1); other == s {
		t.Error("the segment is used again while its payload is needed")
	} else {
		other.B = append(other.B, 'x')
		q.Written(q.Take(nil)[0])
	}
	if q.Unpin(s); string(m.Payload[0]) != "payload" {
		t.Errorf("the payload is %q", m.Payload[0])
	}
}
