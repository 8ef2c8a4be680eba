package node

import (
	"math"
	"testing"
)

// Whatever the limit of open files, the doors leave some to the cluster; with
// plenty of them each door has its own limit.
func TestConnLimit(t *testing.T) {
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
		http, leco := connLimit(c.files, 2, 16_384), connLimit(c.files, 4, 20_000)
		if http != c.http || leco != c.leco {
			t.Errorf("of %d files: got %d and %d, want %d and %d", c.files, http, leco, c.http, c.leco)
		}
	}
}
