package snapshots_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/folkmoot/folkmoot/control/snapshots"
)

// A process that was killed in the middle of a restore leaves its file behind, as large as a state: the next start
// removes it, and nothing else.
func TestWhatWasLeftBehindIsRemoved(t *testing.T) {
	dir := t.TempDir()
	left, other := filepath.Join(dir, "restore-123.tmp"), filepath.Join(dir, "raft.db")
	for _, name := range []string{left, other} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snapshots.New(nil, dir)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
