package fsm

import (
	"cmp"
	"slices"
	"sync"

	"github.com/folkmoot/folkmoot/wire"
)

// FeedSize is how many events a feed keeps; FeedBatch is how many Since returns
// at most.
const (
	FeedSize  = 65_536
	FeedBatch = 1024
)

// Feed is the ordered news of what changed. Events have the same place, (Index,
// Seq), on every coordinator. Nobody who reads it can make Apply wait: a
// reader that fell behind is told so and lists again.
//
//	for {
//		changed := feed.Changed()
//		events, lagged := feed.Since(index, seq)
//		...
//		<-changed
//	}
type Feed struct {
	mu      sync.RWMutex
	ring    []wire.Event  // grows to FeedSize, then goes round
	oldest  int           // place in ring, once it goes round
	lost    position      // of the last event that is not in ring
	last    position      // of everything published
	changed chan struct{} // nil while nobody waits
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
// has no events yet. The data of events is read only.
func (f *Feed) Since(index uint64, seq int) (events []wire.Event, lagged bool) {
	after := position{index, seq}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if after.compare(f.lost) < 0 {
		return nil, true
	}
	if f.last.compare(after) <= 0 {
		return nil, false
	}
	// ring[oldest:], then ring[:oldest], are in order.
	early, late := f.ring[f.oldest:], f.ring[:f.oldest]
	early, late = beyond(early, after), beyond(late, after)
	early = early[:min(len(early), FeedBatch)]
	late = late[:min(len(late), FeedBatch-len(early))]
	return append(slices.Clone(early), late...), false
}

// beyond returns the events of an ordered slice that come after a place.
func beyond(events []wire.Event, after position) []wire.Event {
	i, found := slices.BinarySearchFunc(events, after, func(e wire.Event, p position) int {
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

func (f *Feed) publish(index uint64, news []wire.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range news {
		if len(f.ring) < FeedSize {
			f.ring = append(f.ring, e)
			continue
		}
		f.lost = position{f.ring[f.oldest].Index, f.ring[f.oldest].Seq}
		f.ring[f.oldest] = e
		f.oldest = (f.oldest + 1) % FeedSize
	}
	f.last = position{index, len(news) - 1}
	f.tell()
}

// reset forgets all events: whoever is not at that place or beyond it lags.
func (f *Feed) reset(index uint64, seq int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring, f.oldest = nil, 0
	f.lost = position{index, seq}
	f.last = f.lost
	f.tell()
}

func (f *Feed) tell() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}
