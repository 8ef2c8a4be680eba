package trail

import "time"

// Disk and File are the writer's view of the disk, for tests with one that fails.
type (
	Disk = disk
	File = file
)

// System is the real disk.
var System Disk = system{}

// With returns a configuration with a disk and the size of files.
func (c Config) With(d Disk, maxFile int64, now func() time.Time) Config {
	c.disk, c.maxFile, c.Now = d, maxFile, now
	return c
}
