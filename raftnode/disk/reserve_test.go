package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func reserveSize(t *testing.T, dir string) int64 {
	t.Helper()
	n, err := ReserveSize(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A reserve takes its bytes of the volume, grows where it is too small, and is gone when it is dropped, once or twice.
func TestReserveIsAllocated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if n := reserveSize(t, dir); n != 0 {
		t.Errorf("a directory without a reserve has %d bytes of it", n)
	}
	for _, size := range []int64{1 << 20, 3 << 20} {
		if err := MakeReserve(dir, size); err != nil {
			t.Fatal(err)
		}
		if n := reserveSize(t, dir); n != size {
			t.Errorf("a reserve of %d bytes takes %d", size, n)
		}
	}
	for range 2 {
		if err := DropReserve(dir); err != nil {
			t.Error(err)
		}
	}
	if inside, err := os.ReadDir(dir); err != nil || len(inside) != 0 {
		t.Errorf("left in the directory: %v, %v", inside, err)
	}
}

// A file of that name that holds nothing, as a copy with holes, keeps no room and is made whole.
func TestReserveWithHoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "reserve")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if n := reserveSize(t, dir); n != 0 {
		t.Errorf("a file of holes takes %d bytes", n)
	}
	if err := MakeReserve(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	if n := reserveSize(t, dir); n != 1<<20 {
		t.Errorf("made whole, it takes %d bytes", n)
	}
}

// A reserve that cannot be made leaves nothing.
func TestReserveThatDoesNotFit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := MakeReserve(dir, 1<<60); err == nil {
		t.Fatal("a volume has 2^60 bytes")
	}
	if _, err := os.Lstat(filepath.Join(dir, "reserve")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

// What is copied or set aside is without the reserve, and a file that is made anew has its room.
func TestReserveIsInNoCopy(t *testing.T) {
	t.Parallel()
	dir := stoppedServer(t)
	if err := MakeReserve(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := CopyState(dir, to); err != nil {
		t.Fatal(err)
	}
	if n := reserveSize(t, to); n != 0 {
		t.Errorf("the copy has %d bytes of the reserve", n)
	}
	aside, err := SetAside(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if in, out := reserveSize(t, aside), reserveSize(t, dir); in != 0 || out != 1<<20 {
		t.Errorf("set aside: %d bytes of the reserve; kept: %d", in, out)
	}
}

// The copies that are made of a stopped server's files may take the room of the reserve.
func TestCopiesGetTheReserve(t *testing.T) {
	t.Parallel()
	dir := stoppedServer(t)
	for what, copies := range map[string]func() error{
		"compact": func() error { _, _, err := Compact(dir); return err },
		"recover": func() error { _, err := CopyAside(dir, time.Now()); return err },
	} {
		if err := errors.Join(MakeReserve(dir, 1<<20), copies()); err != nil {
			t.Fatal(err)
		}
		if n := reserveSize(t, dir); n != 0 {
			t.Errorf("%s: the reserve still has %d bytes", what, n)
		}
	}
}

// stoppedServer is the data directory of a server that has run.
func stoppedServer(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	id, err := OpenIdentity(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	log, err := openBolt(filepath.Join(dir, boltFile), 0)
	if err := errors.Join(err, log.Close(), id.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}
