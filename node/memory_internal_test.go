package node

import (
	"math"
	"testing"
)

// A small machine has room for two of the longest messages, a large one for 1 GiB; a snapshot to restore has a quarter.
func TestShareOfTheMemory(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int64{
		math.MaxInt64: 1 << 30, 256 << 20: leastUnfinished, 1 << 30: 1 << 28, 1 << 40: 1 << 30,
	} {
		if got := unfinishedBytes(memory); got != want {
			t.Errorf("of %d bytes: %d, want %d", memory, got, want)
		}
	}
	for _, c := range []struct{ asked, memory, want int64 }{
		{0, math.MaxInt64, 512 << 20}, {0, 1 << 30, 256 << 20}, {2 << 30, 16 << 30, 2 << 30}, {2 << 30, 4 << 30, 1 << 30}, {1 << 20, 1 << 30, 1 << 20},
	} {
		if got := restoreBytes(c.asked, c.memory); got != c.want {
			t.Errorf("--restore-bytes %d of %d bytes: %d, want %d", c.asked, c.memory, got, c.want)
		}
	}
	if memoryLimit() <= 0 {
		t.Error("there is less memory than none")
	}
}
