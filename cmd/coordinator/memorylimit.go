package main

import (
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory makes the garbage collector keep to nine tenths of the memory that
// the system grants this process (a container's limit, MemoryMax of systemd):
// beyond the whole of it the system kills the process. Who sets GOMEMLIMIT knows
// better; without a limit nothing is changed.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit := cgroupLimit("/", os.ReadFile); limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// cgroupLimit is the smallest memory limit of the control groups (version 2) that
// this process is in, in bytes; math.MaxInt64 is none. Files are below root.
func cgroupLimit(root string, read func(string) ([]byte, error)) int64 {
	limit := int64(math.MaxInt64)
	b, err := read(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(b)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		// Within a container the path may lead out of what is mounted: then the root is the group.
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			if b, err := read(path.Join(root, "sys/fs/cgroup", group, "memory.max")); err == nil {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
					limit = min(limit, n)
				}
			}
			if group == "/" {
				break
			}
		}
	}
	return limit
}
