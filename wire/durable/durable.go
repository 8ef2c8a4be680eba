// Package durable makes names of files survive a power cut.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// SyncDir returns when the names in a directory, new, changed or removed, are on the disk.
// What the files hold is synced by whoever writes them. It waits for the disk. Windows
// syncs no directories: there it does nothing.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncTree is SyncDir for a directory and all below it.
func SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return SyncDir(path)
	})
}
