package disk_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/disk"
)

// names lists a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	inside, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range inside {
		all = append(all, e.Name())
	}
	return all
}

// What a removed server has goes to a directory of its own, and a new server takes
// its place; certificates stay. A crash midway is made good by the next call.
func TestSetAsideMakesRoomForANewServer(t *testing.T) {
	dir := t.TempDir()
	first, err := disk.OpenIdentity(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	old := first.ServerID()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"raft.db", "snapshots/1-2-3/state.bin", "tls/cert.pem", "lost+found/x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A crash left one half moved, a second ago.
	at := time.Date(2026, 11, 30, 1, 2, 3, 0, time.FixedZone("", 3600))
	half := filepath.Join(dir, "removed-20261130T000203Z")
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "raft.db"), filepath.Join(half, "raft.db")); err != nil {
		t.Fatal(err)
	}

	aside, err := disk.SetAside(dir, at, "tls")
	if err != nil {
		t.Fatal(err)
	}
	if aside != half+"-2" {
		t.Errorf("set aside in %s, want %s-2", aside, half)
	}
	if got, want := names(t, dir), []string{"lost+found", "removed-20261130T000203Z", "removed-20261130T000203Z-2", "tls"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if got, want := names(t, aside), []string{"local.db", "snapshots"}; !slices.Equal(got, want) {
		t.Errorf("moved were %v, want %v", got, want)
	}
	if there, err := disk.HasSetAside(dir); err != nil || !there {
		t.Errorf("set aside: %t, %v", there, err)
	}
	next, err := disk.OpenIdentity(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if next.ServerID() == old {
		t.Errorf("the server is %s again", old)
	}
	if there, err := disk.HasSetAside(t.TempDir()); err != nil || there {
		t.Errorf("in an empty directory: %t, %v", there, err)
	}
}
