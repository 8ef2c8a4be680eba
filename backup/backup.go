// Package backup keeps files that a cluster's state is kept in: whole and checked, or not there.
package backup

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/fsm/snapfile"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// Content is what a snapshot has.
type Content struct {
	Header snapfile.Header
	Rows   int
	Tables map[string]int // how many rows each has
	Bytes  int64          // uncompressed
}

// Check reads a snapshot to its end, and says what is wrong with it or what it has. Whole is one.
type Check func(io.Reader) (Content, error)

// Write makes the file path, with mode 0600, of what write writes. It has a temporary name beside path until it is synced
// and check, which reads it from its beginning, has no error. Then it replaces what is at path. If anything fails, what is
// at path stays as it was, and nothing of the new file stays.
func Write(path string, write func(io.Writer) error, check Check) (Content, error) {
	temp, content, err := writeTemp(filepath.Dir(path), write, check)
	if err != nil {
		return Content{}, err
	}
	return content, publish(temp, path)
}

// tempPattern names files that are not whole yet.
const tempPattern = ".folkmoot-*.snap.tmp"

// writeTemp returns the name of a file that is whole, synced and checked.
func writeTemp(dir string, write func(io.Writer) error, check Check) (name string, content Content, err error) {
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return "", Content{}, err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			_ = os.Remove(f.Name()) // the error that says why is returned
		}
	}()
	out := bufio.NewWriterSize(f, 256<<10)
	if err := write(out); err != nil {
		return "", Content{}, err
	}
	if err := out.Flush(); err != nil {
		return "", Content{}, err
	}
	if err := f.Sync(); err != nil {
		return "", Content{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", Content{}, err
	}
	content, err = check(f)
	return f.Name(), content, err
}

// publish gives a file its name for good.
func publish(temp, path string) error {
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// Whole reads a snapshot to its end and checks that it is whole and unchanged; what its rows mean is not looked at. It
// needs little memory.
func Whole(r io.Reader) (Content, error) {
	in, err := snapfile.NewReader(r)
	if err != nil {
		return Content{}, err
	}
	tables := map[string]int{}
	for {
		table, _, err := in.Next()
		if errors.Is(err, io.EOF) {
			return Content{in.Header(), in.Rows(), tables, in.Bytes()}, nil
		}
		if err != nil {
			return Content{}, err
		}
		tables[table]++
	}
}

// Dir is a directory with the newest snapshots of a cluster. Files of other clusters, and those with other names, are
// left alone.
type Dir struct {
	Path string
	Keep int // how many stay, at least 1
	// Check is asked of a new file; nil is Whole.
	Check Check
}

// Saved is a snapshot that was kept.
type Saved struct {
	Content
	Path    string
	Removed int // how many of the oldest were removed for it
}

// staleTemp is how old a file is at least that nobody will finish any more.
const staleTemp = 24 * time.Hour

// Save makes the directory if need be, keeps what write writes under the name folkmoot-CLUSTER-INDEX-UTC.snap.gz, and
// removes the oldest ones beyond Keep: only once the new one is whole, and never that one. If the error is not nil there
// is no new file, unless Path says which.
func (d Dir) Save(write func(io.Writer) error) (Saved, error) {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return Saved{}, err
	}
	d.removeStale()
	check := d.Check
	if check == nil {
		check = Whole
	}
	temp, content, err := writeTemp(d.Path, write, check)
	if err != nil {
		return Saved{}, err
	}
	made := Saved{Content: content}
	path := filepath.Join(d.Path, Name(made.Header))
	if err := publish(temp, path); err != nil {
		return Saved{}, err
	}
	made.Path = path
	made.Removed, err = d.retain(made.Header.Cluster, filepath.Base(path))
	return made, err
}

// removeStale removes what a process left behind that ended in the middle.
func (d Dir) removeStale() {
	left, _ := filepath.Glob(filepath.Join(d.Path, tempPattern))
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > staleTemp {
			_ = os.Remove(name) // another try comes with the next Save
		}
	}
}

// stamp is how the time is written in a name: names in order are times in order.
const stamp = "20060102T150405Z"

// Name is what the snapshot of a header is called.
func Name(h snapfile.Header) string {
	return fmt.Sprintf("folkmoot-%s-%d-%s.snap.gz", cluster(h.Cluster), h.Index, h.Created.UTC().Format(stamp))
}

// cluster is the id of a cluster as it stands in a file's name.
func cluster(id string) string { return notPlain.ReplaceAllString(id, "_") }

var (
	notPlain = regexp.MustCompile(`[^A-Za-z0-9._-]`)
	named    = regexp.MustCompile(`^folkmoot-(.+)-([0-9]{1,20})-([0-9]{8}T[0-9]{6}Z)\.snap\.gz$`)
)

// kept is a file by its name.
type kept struct {
	name, at string
	index    uint64
}

// Newest returns when the newest snapshot of a cluster in the directory was made, by its name; false: there is none, or
// no directory yet.
func (d Dir) Newest(id string) (at time.Time, ok bool, err error) {
	all, err := d.list(id)
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, false, nil
	}
	if err != nil || len(all) == 0 {
		return time.Time{}, false, err
	}
	at, err = time.Parse(stamp, all[len(all)-1].at)
	return at, err == nil, err
}

// list returns the snapshots of a cluster, oldest first.
func (d Dir) list(id string) (all []kept, err error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		m := named.FindStringSubmatch(e.Name())
		if m == nil || m[1] != cluster(id) || !e.Type().IsRegular() {
			continue
		}
		if index, err := strconv.ParseUint(m[2], 10, 64); err == nil {
			all = append(all, kept{e.Name(), m[3], index})
		}
	}
	slices.SortFunc(all, func(a, b kept) int {
		return cmp.Or(strings.Compare(a.at, b.at), cmp.Compare(a.index, b.index))
	})
	return all, nil
}

// retain removes the oldest snapshots of a cluster beyond Keep, but not the one called last.
func (d Dir) retain(id, last string) (removed int, err error) {
	all, err := d.list(id)
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(k kept) bool { return k.name == last })
	for len(all) > 0 && len(all) >= max(d.Keep, 1) {
		if err := os.Remove(filepath.Join(d.Path, all[0].name)); err != nil {
			return removed, fmt.Errorf("remove the oldest snapshot beyond %d: %w", d.Keep, err)
		}
		removed++
		all = all[1:]
	}
	return removed, nil
}
