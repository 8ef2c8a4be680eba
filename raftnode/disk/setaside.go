package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire/durable"
)

// asidePrefix begins the names of directories that SetAside makes.
const asidePrefix = "removed-"

// SetAside moves what a removed server has in its data directory to
// removed-<UTC>/ within it, and returns that directory: the next OpenIdentity
// makes a new server. Names in keep stay, and so do the reserve and what was set aside before.
// Nothing of the directory is open. After a crash the next call moves the rest,
// since the identity, which says that the server was removed, goes last.
func SetAside(dir string, now time.Time, keep ...string) (aside string, err error) {
	inside, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	var names []string
	for _, e := range inside {
		if name := e.Name(); name != localFile && name != "lost+found" && name != reserveFile && !strings.HasPrefix(name, asidePrefix) && !slices.Contains(keep, name) {
			names = append(names, name)
		}
	}
	if aside, err = makeAside(dir, asidePrefix, now); err != nil {
		return "", fmt.Errorf("set aside: %w", err)
	}
	for _, name := range append(names, localFile) {
		if name == localFile { // all else is moved for certain before the identity is
			if err := errors.Join(durable.SyncDir(aside), durable.SyncDir(dir)); err != nil {
				return "", err
			}
		}
		if err := os.Rename(join(dir, name), join(aside, name)); err != nil {
			return "", fmt.Errorf("set aside: %w", err)
		}
	}
	return aside, errors.Join(durable.SyncDir(aside), durable.SyncDir(dir))
}

// makeAside makes a directory of a name that was not there: the prefix and a time.
func makeAside(dir, prefix string, now time.Time) (string, error) {
	name := prefix + now.UTC().Format("20060102T150405Z")
	for i := 1; ; i++ {
		path := join(dir, name)
		if i > 1 {
			path = fmt.Sprintf("%s-%d", path, i)
		}
		switch err := os.Mkdir(path, 0o700); {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
	}
}

// HasSetAside reports whether something was set aside in a data directory: whoever
// has it was in a cluster once.
func HasSetAside(dir string) (bool, error) {
	inside, err := os.ReadDir(dir)
	return slices.ContainsFunc(inside, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), asidePrefix) }), err
}
