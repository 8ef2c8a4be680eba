package node

import (
	"testing"
	"time"
)

// Two processes that overwrite each other's row write it a few times, not as fast
// as the log takes it; a row that was right for long is corrected at once.
func TestAnnounceBackoff(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	won := waitBounds{minAnnounceWait, maxAnnounceWait}
	var backoff [2]announceBackoff
	written, owner := 0, 0
	for end := now.Add(20 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		for i := range backoff {
			if owner != i && backoff[i].wait(now) <= 0 {
				backoff[i].record(now, won)
				owner = i
				written++
			}
		}
	}
	if written > 20 {
		t.Errorf("in 20 s the row was written %d times, want at most 20", written)
	}
	now = now.Add(time.Hour)
	if wait := backoff[0].wait(now); wait > 0 {
		t.Errorf("a row that was right for an hour waits %s", wait)
	}
	backoff[0].record(now, won)
	if wait := backoff[0].wait(now); wait != minAnnounceWait {
		t.Errorf("after that the next waits %s, want %s", wait, minAnnounceWait)
	}
	backoff[0].record(now, waitBounds{maxAnnounceWait, maxAnnounceWait})
	if wait := backoff[0].wait(now); wait != maxAnnounceWait {
		t.Errorf("after a refusal the next waits %s, want %s", wait, maxAnnounceWait)
	}
}
