package node

import (
	"testing"
	"time"
)

// A new leader goes on where the one before it was, whatever its clock says.
func TestWhenABackupIsDue(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ age, want time.Duration }{
		{0, time.Hour},
		{20 * time.Minute, 40 * time.Minute},
		{time.Hour, 0},
		{48 * time.Hour, 0},
		{-30 * time.Hour, time.Hour}, // made by a clock that was ahead
	} {
		if got := untilBackup(now.Add(-c.age), now, time.Hour); got != c.want {
			t.Errorf("the newest is %v old: due in %v, want %v", c.age, got, c.want)
		}
	}
}
