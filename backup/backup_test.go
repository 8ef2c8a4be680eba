package backup_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/backup"
	"github.com/folkmoot/folkmoot/fsm/snapfile"
)

var t0 = time.Date(2026, 12, 1, 2, 3, 4, 0, time.UTC)

// snapshot writes one of a cluster at an index, that many hours after t0.
func snapshot(cluster string, index uint64, hours int) func(io.Writer) error {
	return func(w io.Writer) error {
		f, err := snapfile.NewWriter(w, snapfile.Header{Cluster: cluster, Index: index, Term: 1, Level: 2, Created: t0.Add(time.Duration(hours) * time.Hour), Coordinator: "n1"})
		if err != nil {
			return err
		}
		_, err = f.Close()
		return err
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func save(t *testing.T, d backup.Dir, write func(io.Writer) error) backup.Saved {
	t.Helper()
	made, err := d.Save(write)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// The newest stay, by their time, whatever order they come in; other clusters' and other files are left alone.
func TestTheNewestAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by it")
	d := backup.Dir{Path: dir, Keep: 2}
	save(t, d, snapshot("c1", 9, 0))
	save(t, d, snapshot("c2", 9, 0))
	foreign := []string{"folkmoot-c1-notes.txt", "folkmoot-c1-x-20261201T020304Z.snap.gz", "folkmoot-c1-8-20201201T020304Z.snap.gz.old"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save(t, d, snapshot("c1", 100, 2))
	made := save(t, d, snapshot("c1", 20, 1)) // by a clock that went back
	if made.Removed != 1 || filepath.Base(made.Path) != "folkmoot-c1-20-20261201T030304Z.snap.gz" {
		t.Errorf("saved %+v", made)
	}
	want := append([]string{
		"folkmoot-c1-100-20261201T040304Z.snap.gz", "folkmoot-c1-20-20261201T030304Z.snap.gz", "folkmoot-c2-9-20261201T020304Z.snap.gz",
	}, foreign...)
	slices.Sort(want)
	if got := namesIn(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are\n%q\nwant\n%q", got, want)
	}
	if at, ok, err := d.Newest("c1"); err != nil || !ok || !at.Equal(t0.Add(2*time.Hour)) {
		t.Errorf("the newest is of %v, %v, %v", at, ok, err)
	}
	for _, none := range []backup.Dir{d, {Path: filepath.Join(dir, "nowhere")}} {
		if at, ok, err := none.Newest("c3"); err != nil || ok {
			t.Errorf("of a cluster without a file: %v, %v, %v", at, ok, err)
		}
	}
	if made := save(t, d, snapshot("c1", 1, -9)); made.Removed != 1 {
		t.Errorf("%+v: want one removed", made)
	} else if _, err := os.Stat(made.Path); err != nil {
		t.Errorf("the one just made was removed: %v", err)
	}
	info, err := os.Stat(made.Path)
	if err == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: others may read it", info.Mode())
	}
}

// The id of a cluster is no way out of the directory.
func TestAClustersIDIsNoPath(t *testing.T) {
	dir := t.TempDir()
	made := save(t, backup.Dir{Path: dir, Keep: 1}, snapshot("../../etc/x y", 1, 0))
	if filepath.Dir(made.Path) != dir || !strings.HasPrefix(filepath.Base(made.Path), "folkmoot-.._.._etc_x_y-1-") {
		t.Errorf("saved as %s", made.Path)
	}
}

// Whatever fails, there is no new file, and the older ones are all there.
func TestAFailureLeavesTheFilesAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	d := backup.Dir{Path: dir, Keep: 1}
	old := save(t, d, snapshot("c1", 1, 0))
	before := namesIn(t, dir)
	broken := errors.New("the line is cut")
	for name, write := range map[string]func(io.Writer) error{
		"an error at once": func(io.Writer) error { return broken },
		"an error later": func(w io.Writer) error {
			return errors.Join(snapshot("c1", 2, 1)(w), broken)
		},
		"a piece":      func(w io.Writer) error { return snapshot("c1", 2, 1)(&short{w, 40}) },
		"nothing":      func(io.Writer) error { return nil },
		"another file": func(w io.Writer) error { _, err := fmt.Fprint(w, "<html>"); return err },
	} {
		if made, err := d.Save(write); err == nil || made.Path != "" {
			t.Errorf("%s: saved %+v, %v", name, made, err)
		}
		if _, err := backup.Write(old.Path, write, backup.Whole); err == nil {
			t.Errorf("%s: written", name)
		}
		if got := namesIn(t, dir); !slices.Equal(got, before) {
			t.Errorf("%s: there are %q, want %q", name, got, before)
		}
	}
	f, err := os.Open(old.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, err := backup.Whole(f); err != nil || c.Header.Index != 1 {
		t.Errorf("the older one has %+v, %v", c, err)
	}
}

// short writes some bytes and says that it wrote all.
type short struct {
	w    io.Writer
	room int
}

func (s *short) Write(p []byte) (int, error) {
	n := min(s.room, len(p))
	s.room -= n
	_, err := s.w.Write(p[:n])
	return len(p), err
}

// What a process that was killed left behind goes, and what another writes just now stays.
func TestWhatNobodyFinishesIsRemoved(t *testing.T) {
	dir := t.TempDir()
	dead, alive := filepath.Join(dir, ".folkmoot-1.snap.tmp"), filepath.Join(dir, ".folkmoot-2.snap.tmp")
	for _, name := range []string{dead, alive} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(dead, long, long); err != nil {
		t.Fatal(err)
	}
	save(t, backup.Dir{Path: dir, Keep: 1}, snapshot("c1", 1, 0))
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what nobody finishes: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("what another writes: %v", err)
	}
}
