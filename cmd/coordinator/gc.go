package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcSlack is how much garbage may gather before it is collected, however
// little is alive. At its default a process with 20 MB alive collects every
// 20 MB; under thousands of writes a second that is a tenth of its time.
const gcSlack = 256 << 20

// gcPercent is the garbage collector's goal for a live heap: at least the
// runtime's default, and enough to leave gcSlack.
func gcPercent(live uint64) int {
	if live == 0 {
		live = 1
	}
	return int(min(max(100, 100*gcSlack/live), 1000))
}

// tuneGC keeps the goal fitting to what is alive until ctx ends. Who sets GOGC
// knows better.
func tuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for last := 0; ; {
		metrics.Read(sample)
		if p := gcPercent(sample[0].Value.Uint64()); p != last {
			debug.SetGCPercent(p)
			last = p
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
