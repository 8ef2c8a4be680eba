//go:build !linux

package disk

import "os"

// allocate gives a file so many bytes of the volume.
func allocate(f *os.File, size int64) error { return writeAll(f, size) }
