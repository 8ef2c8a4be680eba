package main

import "testing"

// A small heap gets slack, a large one the runtime's own goal.
func TestGCPercentLeavesSlack(t *testing.T) {
	for live, want := range map[uint64]int{0: 1000, 1 << 20: 1000, 64 << 20: 400, 256 << 20: 100, 10 << 30: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes alive: got %d %%, want %d %%", live, got, want)
		}
	}
}
