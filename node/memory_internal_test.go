package node

import (
	"math"
	"testing"
)

// A small machine has room for two of the longest messages, a large one for 1 GiB.
func TestUnfinishedBytes(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int64{
		math.MaxInt64: 1 << 30, 256 << 20: leastUnfinished, 1 << 30: 1 << 28, 1 << 40: 1 << 30,
	} {
		if got := unfinishedBytes(memory); got != want {
			t.Errorf("of %d bytes: %d, want %d", memory, got, want)
		}
	}
	if memoryLimit() <= 0 {
		t.Error("there is less memory than none")
	}
}
