// Package histogram counts how long things took, for metrics.
package histogram

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of the buckets, which include them: a tenth of a millisecond
// is a fast disk, ten seconds are a broken one.
var bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Histogram counts durations by buckets. The zero value is empty and ready. Its methods
// may be called from any goroutine; none blocks or allocates but Snapshot.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // each of its own; the last is beyond all bounds
	sum     atomic.Int64                   // nanoseconds
}

// Observe counts one duration.
func (h *Histogram) Observe(took time.Duration) {
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(took))
}

// Snapshot is what a Histogram has counted, in the form that Prometheus wants.
type Snapshot struct {
	Count   uint64
	Seconds float64            // the sum of all
	Buckets map[float64]uint64 // how many took at most so many seconds
}

// Snapshot returns what was counted so far. Count is that of its buckets, whatever is
// counted meanwhile.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Seconds: time.Duration(h.sum.Load()).Seconds(), Buckets: make(map[float64]uint64, len(bounds))}
	for i := range h.buckets {
		s.Count += h.buckets[i].Load()
		if i < len(bounds) {
			s.Buckets[bounds[i].Seconds()] = s.Count
		}
	}
	return s
}
