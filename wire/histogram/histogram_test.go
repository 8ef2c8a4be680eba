package histogram_test

import (
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire/histogram"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram.Histogram
	for _, took := range []time.Duration{
		0, 100 * time.Microsecond, // its bound is in the bucket
		100*time.Microsecond + 1, 20 * time.Millisecond, 100 * time.Millisecond, time.Minute,
	} {
		h.Observe(took)
	}
	s := h.Snapshot()
	for bound, want := range map[float64]uint64{0.0001: 2, 0.00025: 3, 0.01: 3, 0.025: 4, 0.05: 4, 0.1: 5, 10: 5} {
		if got, there := s.Buckets[bound]; !there || got != want {
			t.Errorf("at most %v s took %d (there: %t), want %d", bound, got, there, want)
		}
	}
	if s.Count != 6 || s.Seconds < 60.12 || s.Seconds > 60.13 {
		t.Errorf("counted %d of together %v s, want 6 of 60.12", s.Count, s.Seconds)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	var h histogram.Histogram
	if n := testing.AllocsPerRun(100, func() { h.Observe(3 * time.Millisecond) }); n != 0 {
		t.Errorf("an observation allocates %v times", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h histogram.Histogram
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now() // as every user of it does
		h.Observe(time.Since(began))
	}
}
