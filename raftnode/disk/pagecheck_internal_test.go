package disk

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// Every bit of a small file, an empty bucket in it, is flipped once: the file
// is refused, or bbolt can walk it. (A walk that leaves its page ends the
// process under the race detector, and reads what is not its own without.)
func TestEveryFlippedBitOfASmallFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole.db")
	db, err := openBolt(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte("empty")); err != nil {
			return err
		}
		b, err := tx.CreateBucket([]byte("full"))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), []byte("value"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	walk := func(path string) error {
		db, err := openBolt(path, 0)
		if err != nil {
			return err
		}
		defer db.Close()
		return RecoverFaults(path, func() error {
			return db.View(func(tx *bbolt.Tx) error {
				return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
					return b.ForEach(func(_, _ []byte) error { return nil })
				})
			})
		})
	}
	flipped, refused := filepath.Join(dir, "flipped.db"), 0
	for at, b := range whole {
		if b == 0 {
			continue // mostly what nobody uses
		}
		for bit := range 8 {
			whole[at] = b ^ 1<<bit
			if err := os.WriteFile(flipped, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if walk(flipped) != nil {
				refused++
			}
		}
		whole[at] = b
	}
	if refused < 300 {
		t.Errorf("only %d flipped bits were noticed", refused)
	}
}

// A list of free pages that names a page in use, or none of the file, is
// refused: bbolt would write over the one and panic at the other. raft-wal keeps
// such lists.
func TestEveryFlippedBitOfAListOfFreePages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 { // pages come free
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("full"))
			if err != nil {
				return err
			}
			if i > 20 {
				return b.Delete(fmt.Appendf(nil, "key %d", i-20))
			}
			return b.Put(fmt.Appendf(nil, "key %d", i), make([]byte, 2000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	size, free := int64(db.Info().PageSize), db.Stats().FreePageN
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkFile(path); err != nil {
		t.Fatalf("the whole file: %v", err)
	}
	var list int64 // the newer of the lists that the two metas name
	var txid uint64
	for id := range int64(2) {
		m := whole[id*size+pageHeader:]
		if at := binary.LittleEndian.Uint64(m[48:]); at >= txid {
			list, txid = int64(binary.LittleEndian.Uint64(m[32:])), at
		}
	}
	count := int(binary.LittleEndian.Uint16(whole[list*size+10:]))
	if count < 5 {
		t.Fatalf("%d pages are free (bbolt says %d), want some", count, free)
	}
	flipped := filepath.Join(dir, "flipped.db")
	for i := range 8 * count * 8 {
		at := list*size + pageHeader + int64(i/8)
		whole[at] ^= 1 << (i % 8)
		if err := os.WriteFile(flipped, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if checkFile(flipped) == nil {
			t.Errorf("bit %d of free page %d of %d went unnoticed", i%64, i/64, count)
		}
		whole[at] ^= 1 << (i % 8)
	}
}

func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkPages(f)
}
