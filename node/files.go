package node

import (
	"math"
	"syscall"
)

// keptFiles is how many open files are kept from strangers' connections: for
// the log, the other coordinators, the ops port and what jobs write.
const keptFiles = 512

// fewFiles is where it is worth a warning that the process may open no more.
const fewFiles = 4096

// openFiles returns how many files this process may have open.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return uint64(limit.Cur) // of another type on some systems
}

// roomFor returns how many connections a door may have that gets one part-th of
// what files leaves to strangers, at most want. So connections that say nothing
// never take the files that the cluster lives by.
func roomFor(files uint64, part uint64, want int) int {
	left := (files - min(keptFiles, files/2)) / part
	return int(max(1, min(left, uint64(want))))
}
