package node

import (
	"log/slog"
	"time"

	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
)

// DefaultDiskReserve is how many bytes a coordinator keeps for the time in which its volume is full.
const DefaultDiskReserve = 32 << 20

// reservePart is which part of a volume the reserve is at most.
const reservePart = 10

// reserve is space in the data directory that is given free when the volume is full, so that a snapshot and a compaction
// of the log still fit.
type reserve struct {
	size   int64     // bytes; 0: none is kept
	failed time.Time // when it was last tried to make it in vain
}

// reserveAgain is the wait between two attempts to make a reserve.
const reserveAgain = 10 * time.Minute

// on is how many bytes are kept on a volume of a size.
func (r *reserve) on(size uint64) uint64 { return min(uint64(r.size), size/reservePart) }

// missing is how many bytes of the reserve are not kept now.
func (r *reserve) missing(dir string, size uint64) (uint64, error) {
	want := r.on(size)
	if want == 0 {
		return 0, nil
	}
	has, err := raftdisk.ReserveSize(dir)
	if err != nil {
		return 0, err
	}
	return want - min(want, uint64(has)), nil
}

// make makes the reserve, or what of it is missing.
func (r *reserve) make(log *slog.Logger, dir string, size uint64) {
	missing, err := r.missing(dir, size)
	if missing == 0 && err == nil || !r.failed.IsZero() && time.Since(r.failed) < reserveAgain {
		return
	}
	if err == nil {
		err = raftdisk.MakeReserve(dir, int64(r.on(size)))
	}
	if err == nil {
		missing, err = r.missing(dir, size)
	}
	if err != nil || missing > 0 {
		r.failed = time.Now()
		log.Warn("no reserve is kept for a full volume", "dir", dir, "bytes", r.on(size), "missing", missing, "error", err)
	}
}

// drop gives the reserve free, and reports whether there was one.
func (r *reserve) drop(log *slog.Logger, dir string) bool {
	has, err := raftdisk.ReserveSize(dir)
	if err == nil && has > 0 {
		err = raftdisk.DropReserve(dir)
	}
	if err != nil {
		log.Warn("the reserve for a full volume is not given free", "dir", dir, "error", err)
	}
	return err == nil && has > 0
}
