//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The program copies itself, over an older one too, for everybody to run.
func TestInstall(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "worker")
	for range 2 {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"install", path}, nil, &out, &errs); code != 0 || out.Len()+errs.Len() > 0 {
			t.Fatalf("exit %d: %s%s", code, out.String(), errs.String())
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes were written, want %d (%v)", len(got), len(want), err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o755 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	for _, args := range [][]string{{"install"}, {"install", "a", "b"}, {"install", filepath.Join(dir, "nowhere", "worker")}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &errs); code == 0 || !strings.Contains(errs.String(), "install") {
			t.Errorf("%v: exit %d, %q", args, code, errs.String())
		}
	}
}
