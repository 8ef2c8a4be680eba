package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// A log's file loses what was deleted from it and keeps all else, also after a run that
// was ended in the midst of the copy; a directory in use, and one that is none, are refused
// and stay as they are.
func TestCompact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := Compact(dir); err == nil || !strings.Contains(err.Error(), "is no data directory") {
		t.Errorf("an empty directory: %v", err)
	}
	id, err := OpenIdentity(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, boltFile)
	db, err := openBolt(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	key := func(n int) []byte { return fmt.Appendf(nil, "%06d", n) }
	change := func(f func(*bbolt.Bucket) error) {
		t.Helper()
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("logs"))
			if err != nil {
				return err
			}
			return f(b)
		}); err != nil {
			t.Fatal(err)
		}
	}
	value := make([]byte, 1000)
	for from := range 4 {
		change(func(b *bbolt.Bucket) error {
			for n := range 1000 {
				if err := b.Put(key(from*1000+n), value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	change(func(b *bbolt.Bucket) error {
		for n := range 3900 {
			if err := b.Delete(key(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Compact(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a directory in use: %v", err)
	}
	if err := id.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+compactSuffix, []byte("half a copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // who runs this is another than who runs the coordinator
		if err := os.Chown(path, 1234, 5678); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, err := Compact(dir)
	if err != nil || after*4 > before {
		t.Fatalf("from %d to %d bytes, %v", before, after, err)
	}
	is, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner, now := was.Sys().(*syscall.Stat_t), is.Sys().(*syscall.Stat_t)
	if os.SameFile(was, is) || is.Mode() != was.Mode() || now.Uid != owner.Uid || now.Gid != owner.Gid {
		t.Errorf("a file %v of %d:%d became one %v of %d:%d", was.Mode(), owner.Uid, owner.Gid, is.Mode(), now.Uid, now.Gid)
	}
	if again, same, err := Compact(dir); err != nil || again != after || same != after {
		t.Errorf("a second time from %d to %d bytes, %v; want %d as it is", again, same, err, after)
	}
	if left, err := pathExists(path + compactSuffix); err != nil || left {
		t.Errorf("the copy is left: %t, %v", left, err)
	}
	if db, err = openBolt(path, 0); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("logs"))
		for n := range 4000 {
			if has := len(b.Get(key(n))) == len(value); has != (n >= 3900) {
				return fmt.Errorf("entry %d is there: %t", n, has)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if id, err = OpenIdentity(dir, "n1"); err != nil {
		t.Fatal(err)
	}
	if err := id.Close(); err != nil {
		t.Error(err)
	}
}
