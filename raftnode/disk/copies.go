package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/folkmoot/folkmoot/wire/durable"
)

// recoverPrefix begins the names of the directories that CopyAside makes.
const recoverPrefix = "before-recover-"

// stateNames are what a server's identity, votes, log and snapshots are kept in.
var stateNames = []string{localFile, boltFile, walDir, snapshotsDir}

// CopyAside copies what the server of a data directory is, its identity, votes, log and
// snapshots, to before-recover-<UTC>/ within it, onto the disk, and returns that
// directory's name. The directory's Identity is open, so nobody changes the files. If
// anything fails no copy is left.
func CopyAside(dir string, now time.Time) (name string, err error) {
	if err := DropReserve(dir); err != nil { // the copy may need its room; the next start makes it again
		return "", err
	}
	aside, err := makeAside(dir, recoverPrefix, now)
	if err != nil {
		return "", err
	}
	err = errors.Join(CopyState(dir, aside), durable.SyncDir(dir))
	if err == nil {
		err = GiveToOwner(dir, aside)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(aside))
	}
	return filepath.Base(aside), nil
}

// CopyState copies what the server of the data directory from is to the directory to,
// onto the disk. Nobody writes to the files meanwhile.
func CopyState(from, to string) error {
	for _, name := range stateNames {
		err := filepath.WalkDir(join(from, name), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			below, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			if e.IsDir() {
				return os.MkdirAll(join(to, below), 0o700)
			}
			return copyFile(path, join(to, below))
		})
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && (name == walDir || name == snapshotsDir)) {
			return fmt.Errorf("copy of %s: %w", join(from, name), err)
		}
	}
	return durable.SyncTree(to)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// GiveToOwner makes whoever owns the identity of a data directory the owner of path and
// all below it. Who works on the files of a stopped coordinator is not always who runs
// the coordinator, which could not open a file of root's.
func GiveToOwner(dir, path string) error { return giveTo(path, join(dir, localFile)) }

// giveTo makes whoever owns a file, and its group, own path and all below it.
func giveTo(path, like string) error {
	var owner unix.Stat_t
	if err := unix.Stat(like, &owner); err != nil {
		return &fs.PathError{Op: "stat", Path: like, Err: err}
	}
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
