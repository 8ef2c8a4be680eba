//go:build unix

package work

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dirPrefix begins the name of every worker's directory.
const dirPrefix = "folkmoot-work-"

// workDir is the directory of one worker. Its lock is held as long as the
// process lives, so that others know the directory of one that was killed.
type workDir struct {
	path string
	lock *os.File
	// short is another way to path, or path itself, so that sockets can be
	// made in the directories of parts; via holds it and may be nil.
	short string
	via   *workDir
}

// maxShort keeps the name of a socket in TMPDIR within the 107 bytes that it
// may have: part-0123456789 follows, and of multiprocessing's managers
// pymp-01234567/listener-01234567.
const maxShort = 107 - 16 - 32

// makeDir makes one under root, and removes those of workers that were killed.
func makeDir(root string) (*workDir, error) {
	sweep(root)
	path, err := os.MkdirTemp(root, dirPrefix)
	if err != nil {
		return nil, err
	}
	d := &workDir{path: path}
	// Locked before it has its name: who finds it unlocked knows the owner dead.
	unnamed := filepath.Join(path, "lock.new")
	if d.lock, err = os.OpenFile(unnamed, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
		if err = tryLock(d.lock); err == nil {
			err = os.Rename(unnamed, filepath.Join(path, "lock"))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), d.remove())
	}
	return d, nil
}

// shorten sets the short way to the directory: a link in a directory like it,
// whose name is short, if its own is not.
func (d *workDir) shorten() error {
	d.short = d.path
	if len(d.path) <= maxShort {
		return nil
	}
	var errs []error
	for _, root := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if len(root)+len("/"+dirPrefix+"0123456789/d") > maxShort {
			continue
		}
		via, err := makeDir(root)
		if err == nil {
			short := filepath.Join(via.path, "d")
			if err = os.Symlink(d.path, short); err == nil {
				d.short, d.via = short, via
				return nil
			}
			err = errors.Join(err, via.remove())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// remove removes the directory with all that is in it.
func (d *workDir) remove() error {
	var err error
	if d.via != nil {
		err = d.via.remove()
	}
	err = errors.Join(err, os.RemoveAll(d.path))
	if d.lock != nil {
		d.lock.Close()
	}
	return err
}

// sweep removes the directories under root whose workers are dead. What it
// cannot judge or remove stays.
func sweep(root string) {
	old, _ := filepath.Glob(filepath.Join(root, dirPrefix+"*")) // fails for no pattern of ours
	for _, path := range old {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if tryLock(lock) == nil {
			_ = os.RemoveAll(path)
		}
		lock.Close()
	}
}

func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
