package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// lockWait is how long a data file may be held by another process.
const lockWait = 2 * time.Second

// openBolt opens the bbolt file at path for this process alone. The file is
// locked, then checked page by page without mapping it, and only then given to
// bbolt, which trusts what it maps: a damaged page would end the process.
func openBolt(path string, maxSize int) (db *bbolt.DB, err error) {
	err = RecoverFaults(path, func() (err error) {
		db, err = bbolt.Open(path, 0o600, boltOptions(maxSize))
		return err
	})
	return db, err
}

// boltOptions are for every bbolt file of ours. The free list is not written:
// it is found again at open, which the page check has made safe.
func boltOptions(maxSize int) *bbolt.Options {
	return &bbolt.Options{
		Timeout:        lockWait,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		MaxSize:        maxSize,
		OpenFile:       openFileChecked,
	}
}

func openFileChecked(name string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	if err := checkPages(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("the file is damaged: %w; restore the data directory from a copy, or remove this coordinator, empty the directory and let it join anew", err)
	}
	return f, nil
}

// lockFile takes the lock that bbolt takes itself a moment later, so that the
// check sees a file at rest.
func lockFile(f *os.File) error {
	for end := time.Now().Add(lockWait); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock: %w", err)
		case time.Now().After(end):
			return fmt.Errorf("in use by another process (its lock was not free for %s)", lockWait)
		}
	}
}

// RecoverFaults runs f and turns a panic or a memory fault, as damaged pages cause
// them, into an error that names the file.
func RecoverFaults(path string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	return f()
}

// castagnoli is the polynomial of every checksum that this package writes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// addChecksum puts a checksum of key and value before the value.
func addChecksum(key, value []byte) []byte {
	b := make([]byte, 4, 4+len(value))
	binary.BigEndian.PutUint32(b, crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value))
	return append(b, value...)
}

// stripChecksum takes the checksum off, or says that the value was changed on disk.
func stripChecksum(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 {
		return nil, fmt.Errorf("the record %q has no checksum", key)
	}
	value := sealed[4:]
	if binary.BigEndian.Uint32(sealed) != crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value) {
		return nil, fmt.Errorf("the record %q does not fit its checksum", key)
	}
	return value, nil
}

// readFullAt is ReadAt that calls a short file damaged.
func readFullAt(r io.ReaderAt, b []byte, off int64) error {
	if _, err := r.ReadAt(b, off); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file ends too early")
		}
		return err
	}
	return nil
}
