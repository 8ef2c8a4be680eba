package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
)

// The space is looked at as often as somebody who writes diskWriter bytes a second needs to take it down to low, within
// these bounds; from low on it is looked at most often.
const (
	mostDiskInterval  = 30 * time.Second
	leastDiskInterval = time.Second
	diskWriter        = 100 << 20
)

// handOverAgain is the wait between two attempts to hand leadership over because the volume is full.
const handOverAgain = 30 * time.Second

// diskMonitor watches the space that is left to the data directory, and does what its state asks for. A log that
// cannot be written ends the process, so an operator must be warned before.
type diskMonitor struct {
	dir     string
	space   func(dir string) (free, size uint64, err error) // bytes
	bounds  func(size uint64) (spaceBounds, error)
	reserve reserve
	// handOver gives leadership to somebody with room; done says that this coordinator led, and leads no more.
	handOver func(ctx context.Context) (done bool, err error)
	log      *slog.Logger

	last     atomic.Pointer[wire.DiskSpace] // nil: not known
	state    string                         // of the last time that it was known; "": never
	critical chan struct{}                  // closed once the state is critical
	end      error                          // why the node ends; set before critical is closed
	handed   time.Time                      // when handing over was last tried in vain
}

// run checks the space periodically, until ctx ends.
func (d *diskMonitor) run(ctx context.Context) error {
	for {
		d.check(ctx)
		next := time.NewTimer(d.interval())
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return nil
		}
	}
}

// interval is the wait until the next check.
func (d *diskMonitor) interval() time.Duration {
	now := d.last.Load()
	if now == nil {
		return mostDiskInterval
	}
	bounds, err := d.bounds(now.Size)
	if err != nil || now.Low || now.Free < bounds.low {
		return leastDiskInterval
	}
	return min(max(time.Duration((now.Free-bounds.low)/diskWriter)*time.Second, leastDiskInterval), mostDiskInterval)
}

// check looks at the space once. What a state asks for is begun before the state is told, so that a full leader that
// can hand over refuses nothing.
func (d *diskMonitor) check(ctx context.Context) {
	before := d.last.Load()
	now, bounds, err := d.measure()
	if err == nil && now.IsFull() && d.reserve.drop(d.log, d.dir) {
		now, bounds, err = d.measure()
	}
	if err != nil {
		if before != nil {
			d.log.Warn("the space of the data directory's volume is not known", "dir", d.dir, "error", err)
		}
		d.last.Store(nil)
		return
	}
	was := d.state
	d.state = now.State
	if now.State != was {
		d.say(was, now, bounds)
	}
	switch now.State {
	case wire.DiskOK:
		d.reserve.make(d.log, d.dir, now.Size)
	case wire.DiskFull, wire.DiskCritical:
		d.giveLeadershipAway(ctx)
	}
	d.last.Store(now)
	if now.State == wire.DiskCritical && d.end == nil {
		d.end = &DiskCriticalError{d.dir, now.Free, bounds.critical}
		close(d.critical)
	}
}

// measure asks for the space.
func (d *diskMonitor) measure() (*wire.DiskSpace, spaceBounds, error) {
	free, size, err := d.space(d.dir)
	if err != nil {
		return nil, spaceBounds{}, err
	}
	if size == 0 {
		return nil, spaceBounds{}, errors.New("the volume tells no size")
	}
	bounds, err := d.bounds(size)
	if err != nil {
		return nil, spaceBounds{}, err
	}
	missing, err := d.reserve.missing(d.dir, size)
	if err != nil {
		return nil, spaceBounds{}, err
	}
	state := bounds.stateOf(d.state, free, missing)
	return &wire.DiskSpace{Free: free, Size: size, Low: state != wire.DiskOK, State: state}, bounds, nil
}

// say logs that the state is another one.
func (d *diskMonitor) say(was string, now *wire.DiskSpace, bounds spaceBounds) {
	args := []any{"dir", d.dir, "state", now.State, "free", binarySize(now.Free), "size", binarySize(now.Size)}
	switch now.State {
	case wire.DiskLow:
		d.log.Warn("the volume of the data directory is nearly full: a coordinator that cannot write its log stops", append(args, "want", binarySize(bounds.low))...)
	case wire.DiskFull:
		d.log.Error("the volume of the data directory is full: others with room lead, and while nobody has room what makes the state grow is refused", append(args, "want", binarySize(bounds.full))...)
	case wire.DiskCritical:
		d.log.Error("there is hardly any space on the volume of the data directory: this coordinator stops, so that nothing is damaged", append(args, "want", binarySize(bounds.critical))...)
	default:
		if was != "" {
			d.log.Info("the volume of the data directory has space again", args...)
		}
	}
}

// giveLeadershipAway hands over if this coordinator leads and another has room.
func (d *diskMonitor) giveLeadershipAway(ctx context.Context) {
	if !d.handed.IsZero() && time.Since(d.handed) < handOverAgain {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	switch done, err := d.handOver(ctx); {
	case err != nil:
		d.handed = time.Now()
		d.log.Warn("leadership could not be handed over to a coordinator with room on its volume", "error", err)
	case done:
		d.log.Warn("leadership was handed over, since the volume of the data directory is full")
	}
}

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

// DiskCriticalError ends a coordinator whose volume has hardly any space left.
type DiskCriticalError struct {
	DataDir    string
	Free, Want uint64 // bytes
}

func (e *DiskCriticalError) Error() string {
	return fmt.Sprintf("the volume of --data-dir %s has %s free, and below %s this coordinator does not run (--disk-critical): make room, and it starts again",
		e.DataDir, binarySize(e.Free), binarySize(e.Want))
}

// isDiskCritical reports whether err says that the volume has hardly any space left.
func isDiskCritical(err error) bool {
	var critical *DiskCriticalError
	return errors.As(err, &critical)
}

// newDiskMonitor is not running yet.
func (o *opener) newDiskMonitor() *diskMonitor {
	return &diskMonitor{
		dir: o.cfg.DataDir, space: volumeSpace, bounds: o.cfg.spaceBounds, reserve: reserve{size: o.cfg.DiskReserve}, log: o.log,
		handOver: func(ctx context.Context) (bool, error) { return o.raft.HandOverForRoom(ctx) },
		critical: make(chan struct{}),
	}
}

// checkSpace refuses to start on a volume with hardly any space, before anything is written to it, and bounds that do not
// suit the volume. A reserve that is still there is given free first.
func (o *opener) checkSpace(context.Context) error {
	o.disk = o.newDiskMonitor()
	return o.cfg.checkSpace(true)
}

// checkSpace is that of an opener; unless the reserve may be dropped nothing is changed or written, and only the bounds are
// judged.
func (c Config) checkSpace(mayDrop bool) error {
	dir := existing(c.DataDir)
	free, size, err := volumeSpace(dir)
	if err != nil || size == 0 {
		return nil // whatever is wrong with the directory, who opens it says
	}
	bounds, err := c.spaceBounds(size)
	if err != nil {
		return &ConfigError{err}
	}
	if !mayDrop || free >= bounds.full {
		return nil
	}
	if err := raftdisk.DropReserve(c.DataDir); err != nil {
		return fmt.Errorf("--data-dir %s: the reserve is not given free: %w", c.DataDir, err)
	}
	if free, _, err = volumeSpace(dir); err != nil {
		return err
	}
	if free < bounds.critical {
		return &DiskCriticalError{c.DataDir, free, bounds.critical}
	}
	return nil
}

// existing is the nearest directory above a path, or itself, that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// growthRefused says why nothing that makes the state grow is taken in now; nil: it is. It is the leader's volume that
// counts, at every door: there the log grows first, and a coordinator with room leads if there is one.
func (n *Node) growthRefused() error {
	id, space := n.raft.LeaderDisk()
	if !space.IsFull() {
		return nil
	}
	e := wire.NotTried("disk full: the volume of coordinator %s, which leads, has %s of %s free, and no other can lead in its place: "+
		"make room there; what ends or deletes something goes on", id, binarySize(space.Free), binarySize(space.Size))
	e.RetryAfter = diskRetryAfter
	return e
}

// diskRetryAfter is when a repeat of what a full disk refused makes sense.
const diskRetryAfter = 10 * time.Second
