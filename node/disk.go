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
	diskEvery   = 30 * time.Second
	lowPercent  = 15
	lowAtMost   = 8 << 30
	slackInLow  = 10 // percent of the bound above it until it is well again
	bytesOfGiB  = 1 << 30
	unknownDisk = "the space of the data directory's volume is not known"
)

// disk watches the space that is left to the data directory. A log that cannot
// be written ends the process, so somebody must be told before.
type disk struct {
	dir   string
	space func(dir string) (free, size uint64, err error) // bytes
	log   *slog.Logger
	last  atomic.Pointer[wire.DiskSpace] // nil: not known
}

// watch looks again and again, until ctx ends.
func (d *disk) watch(ctx context.Context) error {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.look()
		case <-ctx.Done():
			return nil
		}
	}
}

// look takes one look, and tells in the log when the space becomes low and when
// it is enough again.
func (d *disk) look() {
	before := d.last.Load()
	free, size, err := d.space(d.dir)
	if err != nil {
		if before != nil {
			d.log.Warn(unknownDisk, "dir", d.dir, "error", err)
		}
		d.last.Store(nil)
		return
	}
	bound := min(size/100*lowPercent, lowAtMost)
	wasLow := before != nil && before.Low
	now := &wire.DiskSpace{Free: free, Size: size, Low: free < bound}
	if wasLow && free < bound+bound/100*slackInLow {
		now.Low = true
	}
	d.last.Store(now)
	switch {
	case now.Low && !wasLow:
		d.log.Warn("the volume of the data directory is nearly full: a coordinator that cannot write its log stops", "dir", d.dir, "free", gib(free), "size", gib(size), "want", gib(bound))
	case wasLow && !now.Low:
		d.log.Info("the volume of the data directory has space again", "dir", d.dir, "free", gib(free))
	}
}

func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/bytesOfGiB) }

// spaceOf asks the system what an unprivileged process may still write.
func spaceOf(dir string) (free, size uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	unit := uint64(s.Bsize) // of other types on some systems, as the others
	return uint64(s.Bavail) * unit, uint64(s.Blocks) * unit, nil
}
