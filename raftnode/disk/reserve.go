package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/folkmoot/folkmoot/wire/durable"
)

// reserveFile is the reserve of a data directory: nobody reads it. It is in no copy and is not set aside.
const reserveFile = "reserve"

// MakeReserve keeps so many bytes of the volume for a data directory, really allocated, in a file of it. One that is there
// already grows. If that fails, or the volume has no such room, nothing is kept.
func MakeReserve(dir string, size int64) error {
	path := join(dir, reserveFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err = allocate(f, size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), DropReserve(dir))
	}
	return durable.SyncDir(dir)
}

// writeAll fills a file with so many bytes that no file system stores as less.
func writeAll(f *os.File, size int64) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(f, rand.Reader, size)
	return err
}

// DropReserve gives the reserve of a data directory free. Without one it does nothing.
func DropReserve(dir string) error {
	if err := os.Remove(join(dir, reserveFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ReserveSize is how many bytes of the volume the reserve of a data directory takes: 0 without one, and none for the holes
// of a file that was copied.
func ReserveSize(dir string) (int64, error) {
	var s unix.Stat_t
	err := unix.Lstat(join(dir, reserveFile), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: join(dir, reserveFile), Err: err}
	}
	const block = 512 // of st_blocks, on every system
	return min(s.Size, s.Blocks*block), nil
}
