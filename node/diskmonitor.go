package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// The volume of the data directory is low on space below 15 % of its size, but
// not above 8 GiB: that is many logs and snapshots, whatever the volume's size.
const (
	diskInterval   = 30 * time.Second
	lowPercent     = 15
	maxLowBytes    = 8 << 30
	hysteresis     = 10 // percent of the threshold that must be free above it until the volume is no longer low
	bytesPerGiB    = 1 << 30
	unknownDiskMsg = "the space of the data directory's volume is not known"
)

// diskMonitor watches the space that is left to the data directory. A log that
// cannot be written ends the process, so an operator must be warned before.
type diskMonitor struct {
	dir   string
	space func(dir string) (free, size uint64, err error) // bytes
	log   *slog.Logger
	last  atomic.Pointer[wire.DiskSpace] // nil: not known
}

// run checks the space periodically, until ctx ends.
func (d *diskMonitor) run(ctx context.Context) error {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.check()
		case <-ctx.Done():
			return nil
		}
	}
}

// check reads the space once, and logs when it becomes low and when it is enough
// again.
func (d *diskMonitor) check() {
	before := d.last.Load()
	free, size, err := d.space(d.dir)
	if err != nil {
		if before != nil {
			d.log.Warn(unknownDiskMsg, "dir", d.dir, "error", err)
		}
		d.last.Store(nil)
		return
	}
	threshold := min(size/100*lowPercent, maxLowBytes)
	wasLow := before != nil && before.Low
	now := &wire.DiskSpace{Free: free, Size: size, Low: free < threshold}
	if wasLow && free < threshold+threshold/100*hysteresis {
		now.Low = true
	}
	d.last.Store(now)
	switch {
	case now.Low && !wasLow:
		d.log.Warn("the volume of the data directory is nearly full: a coordinator that cannot write its log stops", "dir", d.dir, "free", gib(free), "size", gib(size), "want", gib(threshold))
	case wasLow && !now.Low:
		d.log.Info("the volume of the data directory has space again", "dir", d.dir, "free", gib(free))
	}
}

func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/bytesPerGiB) }

// volumeSpace asks the system what an unprivileged process may still write to
// the volume of dir.
func volumeSpace(dir string) (free, size uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	block := uint64(s.Bsize) // of other types on some systems, as the others
	return uint64(s.Bavail) * block, uint64(s.Blocks) * block, nil
}
