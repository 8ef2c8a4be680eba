package node

import (
	"math"
	"testing"
)

// Whatever the limit, the doors leave files to the cluster, and with plenty of
// them each has what it wants.
func TestRoomFor(t *testing.T) {
	for _, c := range []struct {
		files      uint64
		http, leco int
	}{
		{0, 1, 1},
		{256, 64, 32},
		{1024, 256, 128},
		{4096, 1792, 896},
		{1 << 20, 16_384, 20_000},
		{math.MaxUint64, 16_384, 20_000},
	} {
		http, leco := roomFor(c.files, 2, 16_384), roomFor(c.files, 4, 20_000)
		if http != c.http || leco != c.leco {
			t.Errorf("of %d files: got %d and %d, want %d and %d", c.files, http, leco, c.http, c.leco)
		}
	}
}
