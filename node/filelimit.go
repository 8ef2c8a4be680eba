package node

import (
	"math"
	"syscall"
)

// reservedFiles is how many open files are kept from strangers' connections: for
// the log, the other coordinators, the ops port and the output of jobs.
const reservedFiles = 512

// warnBelowFiles is the limit of open files below which a node logs a warning.
const warnBelowFiles = 4096

// openFileLimit returns how many files this process may have open.
func openFileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return uint64(limit.Cur) // of another type on some systems
}

// connLimit returns how many connections a door may have that gets one share-th
// of the files that are not reserved, at most limit. So idle connections never
// take the files that the cluster needs.
func connLimit(files, share uint64, limit int) int {
	free := (files - min(reservedFiles, files/2)) / share
	return int(max(1, min(free, uint64(limit))))
}
