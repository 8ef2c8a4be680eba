// Package pyenv makes a Python with foreign clients for tests.
package pyenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// LECO are the packages that a LECO client needs, pinned.
var LECO = []string{"pyzmq==27.3.0", "pyleco==0.6.0.post1"}

var mu sync.Mutex // one environment is made at a time

// Python returns an interpreter that has the packages, each pinned. They are
// installed once and kept in the user's cache. If that is not possible (no
// Python, no package index) the test is skipped, loudly; with CI set in the
// environment it fails.
func Python(t testing.TB, packages ...string) string {
	t.Helper()
	python, err := Ready(packages...)
	if err == nil {
		return python
	}
	text := fmt.Sprintf("NOT TESTED against real clients: no Python with %s: %v", strings.Join(packages, ", "), err)
	if os.Getenv("CI") != "" {
		t.Fatal(text)
	}
	fmt.Fprintln(os.Stderr, "SKIP "+t.Name()+": "+text)
	t.Skip(text)
	return ""
}

// Ready is Python for programs that are no tests. Errors: no Python, or no
// package index.
func Ready(packages ...string) (string, error) {
	mu.Lock()
	defer mu.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join(packages, "\n")))
	dir := filepath.Join(cache, "folkmoot", "python-"+hex.EncodeToString(sum[:6]))
	python := filepath.Join(dir, "bin", "python")
	done := filepath.Join(dir, "complete")
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(done); err == nil {
		return python, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, "python3", "-m", "venv", "--clear", dir); err != nil {
		return "", err
	}
	if err := run(ctx, python, append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check"}, packages...)...); err != nil {
		return "", err
	}
	return python, os.WriteFile(done, nil, 0o600)
}

// lock keeps out the other processes that want the same environment: the tests
// of several packages run at once. It waits.
func lock(name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := out.Bytes()
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, bytes.TrimSpace(text[max(0, len(text)-400):]))
	}
	return nil
}
