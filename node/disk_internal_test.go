package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// A volume that fills is told of once, before it is full, and once when it is
// well again; one that wavers at the bound says nothing more.
func TestLowDiskIsToldOnce(t *testing.T) {
	t.Parallel()
	const gi = 1 << 30
	var said bytes.Buffer
	var free, size uint64
	var fault error
	d := &disk{dir: "data", log: slog.New(slog.NewTextHandler(&said, nil)), space: func(string) (uint64, uint64, error) { return free, size, fault }}
	for _, step := range []struct {
		free, size uint64
		fault      error
		low        bool
		says       string // in what is said at this step; empty: nothing
	}{
		{10 * gi, 20 * gi, nil, false, ""},
		{3*gi + 1, 20 * gi, nil, false, ""},
		{2 * gi, 20 * gi, nil, true, `level=WARN msg="the volume of the data directory is nearly full`},
		{1 * gi, 20 * gi, nil, true, ""},
		{3*gi + gi/10, 20 * gi, nil, true, ""},
		{4 * gi, 20 * gi, nil, false, "level=INFO"},
		{0, 0, errors.New("stale handle"), false, "stale handle"},
		{0, 0, errors.New("stale handle"), false, ""},
		{9 * gi, 4000 * gi, nil, false, ""}, // far below 15 %, yet plenty
		{7 * gi, 4000 * gi, nil, true, "level=WARN"},
	} {
		said.Reset()
		free, size, fault = step.free, step.size, step.fault
		d.look()
		if step.says == "" && said.Len() > 0 || strings.Count(said.String(), "\n") > 1 || !strings.Contains(said.String(), step.says) {
			t.Errorf("%d of %d bytes free, %v: said %q, want %q", step.free, step.size, step.fault, &said, step.says)
		}
		got := d.last.Load()
		switch {
		case step.fault != nil && got != nil:
			t.Errorf("%v: got %+v, want nothing", step.fault, got)
		case step.fault == nil && (got == nil || *got != wire.DiskSpace{Free: step.free, Size: step.size, Low: step.low}):
			t.Errorf("%d of %d bytes free: got %+v, want low %v", step.free, step.size, got, step.low)
		}
	}
}

// A node looks again every half minute, until it ends.
func TestDiskIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		d := &disk{dir: "data", log: slog.New(slog.DiscardHandler), space: func(string) (uint64, uint64, error) {
			looks.Add(1)
			return 1, 2, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*diskEvery+time.Second)
		defer cancel()
		if err := d.watch(ctx); err != nil || looks.Load() != 5 {
			t.Errorf("in five times %s it looked %d times, %v", diskEvery, looks.Load(), err)
		}
	})
}

// The system tells the space of a directory that there is.
func TestSpaceOfADirectory(t *testing.T) {
	t.Parallel()
	if free, size, err := spaceOf(t.TempDir()); err != nil || size == 0 || free > size {
		t.Errorf("a directory: %d of %d, %v", free, size, err)
	}
	if _, _, err := spaceOf(t.TempDir() + "/none"); err == nil {
		t.Error("a directory that there is not has space")
	}
}
