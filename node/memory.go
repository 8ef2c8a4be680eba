package node

import (
	"cmp"
	"math"
	"runtime/debug"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of what the doors hold of messages that have begun to come and not ended: a quarter
// of the memory that this process is granted, but room for two of the longest messages and
// not more than 1 GiB.
const (
	leastUnfinished = 2 * (wire.MaxMessage + 1<<20)
	mostUnfinished  = 1 << 30
)

// unfinishedBytes returns that bound for the limit that the garbage collector keeps to.
func unfinishedBytes(memory int64) int64 {
	return max(leastUnfinished, min(memory/4, mostUnfinished))
}

// restoreBytes returns how large a snapshot may be that is restored, if asked says so (0: the
// default) and that is not above a quarter of the memory: the state of before, that of the
// file and the file itself are there at once.
func restoreBytes(asked, memory int64) int64 {
	return min(cmp.Or(asked, fsm.DefaultRestoreBytes), memory/4)
}

// memoryLimit returns how many bytes the garbage collector keeps to: what the program has set
// by what the system grants it, or GOMEMLIMIT. Without one there is no bound.
func memoryLimit() int64 {
	if limit := debug.SetMemoryLimit(-1); limit > 0 {
		return limit
	}
	return math.MaxInt64
}
