package worker_test

import (
	"os"
	"testing"
	"time"
)

func touch(name string) error { return os.WriteFile(name, nil, 0o600) }

// poll waits for a file that a part makes.
func poll(t *testing.T, name string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		if _, err := os.Stat(name); err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatalf("no file %s within 20 s", name)
		}
	}
}
