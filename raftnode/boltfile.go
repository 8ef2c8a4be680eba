package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
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
	err = recoverFaults(path, func() (err error) {
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

// recoverFaults runs f and turns a panic or a memory fault, as damaged pages cause
// them, into an error that names the file.
func recoverFaults(path string, f func() error) (err error) {
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

// syncDir makes a new name in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// pathExists tells whether path is there at all.
func pathExists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// prepareDataDir makes dir if it is missing and makes sure that it can be written.
// A new directory is closed to others; one that holds something already is
// nobody's to change unasked, so it is refused while others may look into it.
func prepareDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	// A volume that belongs to somebody else stays as its owner made it.
	if info.Mode().Perm()&0o077 != 0 && mayChmod(info) {
		if err := restrictNewDir(dir, info.Mode().Perm()); err != nil {
			return err
		}
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("data directory %s is not writable: %w", dir, err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// mayChmod tells whether this process may change the mode of a file.
func mayChmod(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return !ok || os.Geteuid() == 0 || int(owner.Uid) == os.Geteuid()
}

// restrictNewDir closes a directory to others if it is new: empty, but for what the
// making of a file system leaves in its root.
func restrictNewDir(dir string, mode os.FileMode) error {
	inside, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range inside {
		if e.Name() != "lost+found" {
			return fmt.Errorf("data directory %s is open to other users (mode %04o) and holds files already (%s): nothing was changed; "+
				"if it is the one you mean, type: chmod 700 %s", dir, mode, e.Name(), shellWord(dir))
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// shellWord writes s so that a shell reads it as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
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

func join(dir string, name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
