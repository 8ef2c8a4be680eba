package raftnode

import (
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
		return guarded(path, func() error {
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
