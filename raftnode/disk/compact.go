package disk

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/folkmoot/folkmoot/wire/durable"
)

// compactTxSize is how many bytes are copied in one transaction.
const compactTxSize = 1 << 20

// compactSuffix is that of the copy while it is made. Nobody reads it: what a run that was
// ended has left is overwritten by the next.
const compactSuffix = ".compact"

// Compact writes the log's file of a data directory anew, without the pages that it has
// freed, and returns its size before and after. The directory must not be in use, and is
// locked meanwhile. The file is replaced at once, when the copy is whole and on the disk:
// whatever ends this, one of the two is there.
func Compact(dir string) (before, after int64, err error) {
	// A coordinator opens local.db first, so with that it is kept away from the log, too.
	lock, err := OpenStopped(dir)
	if err != nil {
		return 0, 0, err
	}
	defer lock.Close()
	if err := DropReserve(dir); err != nil { // the copy may need its room; the next start makes it again
		return 0, 0, err
	}
	path := join(dir, boltFile)
	if before, err = fileSize(path); err != nil {
		return 0, 0, err
	}
	if err := replaceByCopy(path); err != nil {
		return before, before, err
	}
	after, err = fileSize(path)
	return before, after, errors.Join(err, durable.SyncDir(dir))
}

// replaceByCopy puts a compact copy of a bbolt file in its place.
func replaceByCopy(path string) error {
	from, err := openBolt(path, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	partial := path + compactSuffix
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := copyBolt(partial, from); err != nil {
		return errors.Join(fmt.Errorf("%s: nothing was changed: %w", path, err), os.Remove(partial))
	}
	old, errOld := fileSize(path)
	size, err := fileSize(partial)
	if err := errors.Join(errOld, err); err != nil {
		return err
	}
	if size >= old { // nothing was free
		return os.Remove(partial)
	}
	if err := copyOwnerAndMode(partial, path); err != nil {
		return errors.Join(fmt.Errorf("%s: nothing was changed: %w", path, err), os.Remove(partial))
	}
	return os.Rename(partial, path)
}

// copyOwnerAndMode gives a file the owner, the group and the mode of another.
func copyOwnerAndMode(path, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	return errors.Join(giveTo(path, like), os.Chmod(path, info.Mode().Perm()))
}

// copyBolt writes what is in a file into another one, to the disk.
func copyBolt(path string, from *bbolt.DB) error {
	to, err := bbolt.Open(path, 0o600, boltOptions(0))
	if err != nil {
		return err
	}
	err = RecoverFaults(path, func() error { return bbolt.Compact(to, from, compactTxSize) })
	return errors.Join(err, to.Sync(), to.Close())
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
