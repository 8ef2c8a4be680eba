package fsm

import (
	"cmp"
	"slices"
	"sync"
)

// FeedSize is how many events a feed keeps at most, and FeedBytes how many bytes
// of them; FeedBatch is how many Since returns at most.
const (
	FeedSize  = 65_536
	FeedBytes = 64 << 20
	FeedBatch = 1024
)

// Feed is the ordered sequence of events. Events have the same place, (Index,
// Seq), on every coordinator. Nobody who reads it can make Apply wait: a
// reader that fell behind learns so and lists again.
//
//	for {
//		changed := feed.Changed()
//		events, lagged := feed.Since(index, seq)
//		...
//		<-changed
//	}
type Feed struct {
	mu          sync.RWMutex
	ring        []item        // goes round; grows as it must
	oldest      int           // place in ring
	count       int           // how many of ring are events
	bytes       int           // of these
	lastEvicted position      // of the last event that is not kept
	last        position      // of everything published
	changed     chan struct{} // nil while nobody waits
	limits      struct{ events, bytes int }
}

// item is an event in the ring.
type item struct {
	Event
	bytes int
}

// position is a place in the feed: after event seq of the entry at index. -1 is
// before its first one.
type position struct {
	index uint64
	seq   int
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.index, o.index), cmp.Compare(p.seq, o.seq))
}

// Since returns the events after (index, seq), at most FeedBatch of them. A
// reader that listed from a view goes on from View().Position(). lagged says
// that events are missing: list again from a new view. A place in the future
// has no events yet. The rows of events are read only.
func (f *Feed) Since(index uint64, seq int) (events []Event, lagged bool) {
	after := position{index, seq}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if after.compare(f.lastEvicted) < 0 {
		return nil, true
	}
	if f.last.compare(after) <= 0 {
		return nil, false
	}
	early, late := f.segments()
	for _, piece := range [][]item{eventsAfter(early, after), eventsAfter(late, after)} {
		piece = piece[:min(len(piece), FeedBatch-len(events))]
		events = slices.Grow(events, len(piece))
		for i := range piece {
			events = append(events, piece[i].Event)
		}
	}
	return events, false
}

// eventsAfter returns the events of an ordered slice that come after a place.
func eventsAfter(events []item, after position) []item {
	i, found := slices.BinarySearchFunc(events, after, func(e item, p position) int {
		return position{e.Index, e.Seq}.compare(p)
	})
	if found {
		i++
	}
	return events[i:]
}

// Last is the place behind everything published so far, events or not.
func (f *Feed) Last() (index uint64, seq int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.last.index, f.last.seq
}

// Changed returns a channel that is closed when anything is published: events,
// or merely a new index. Take it before you look, or you may miss the change.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

func (f *Feed) publish(index uint64, events []Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range events {
		f.append(&events[i])
	}
	f.last = position{index, len(events) - 1}
	f.notify()
}

// append puts an event at the end, in place of as many of the oldest as it needs.
func (f *Feed) append(e *Event) {
	bytes := e.weight()
	for f.count > 0 && (f.count == f.maxEvents() || f.bytes+bytes > f.maxBytes()) {
		f.evict()
	}
	if f.count == len(f.ring) {
		f.grow()
	}
	f.ring[(f.oldest+f.count)%len(f.ring)] = item{*e, bytes}
	f.count++
	f.bytes += bytes
}

// evict removes the oldest event.
func (f *Feed) evict() {
	e := &f.ring[f.oldest]
	f.lastEvicted = position{e.Index, e.Seq}
	f.bytes -= e.bytes
	*e = item{}
	f.oldest = (f.oldest + 1) % len(f.ring)
	f.count--
}

func (f *Feed) grow() {
	ring := make([]item, min(max(2*len(f.ring), 64), f.maxEvents()))
	early, late := f.segments()
	copy(ring[copy(ring, early):], late)
	f.ring, f.oldest = ring, 0
}

// segments returns what is kept as two pieces, one after the other.
func (f *Feed) segments() (early, late []item) {
	end := f.oldest + f.count
	return f.ring[f.oldest:min(end, len(f.ring))], f.ring[:max(end-len(f.ring), 0)]
}

func (f *Feed) maxEvents() int { return cmp.Or(f.limits.events, FeedSize) }
func (f *Feed) maxBytes() int  { return cmp.Or(f.limits.bytes, FeedBytes) }

// reset forgets all events: whoever is not at that place or beyond it lags.
func (f *Feed) reset(index uint64, seq int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring, f.oldest, f.count, f.bytes = nil, 0, 0, 0
	f.lastEvicted = position{index, seq}
	f.last = f.lastEvicted
	f.notify()
}

// notify wakes those who wait for a change. mu is held.
func (f *Feed) notify() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}
