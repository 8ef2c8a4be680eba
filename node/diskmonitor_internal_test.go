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

// A volume that fills is logged once, before it is full, and once when it has
// space again; one that wavers at the threshold logs nothing more.
func TestLowDiskIsLoggedOnce(t *testing.T) {
	t.Parallel()
	const gi = 1 << 30
	var logged bytes.Buffer
	var free, size uint64
	var fault error
	d := &diskMonitor{dir: "data", log: slog.New(slog.NewTextHandler(&logged, nil)), space: func(string) (uint64, uint64, error) { return free, size, fault }}
	for _, step := range []struct {
		free, size uint64
		fault      error
		low        bool
		log        string // in what is logged at this step; empty: nothing
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
		logged.Reset()
		free, size, fault = step.free, step.size, step.fault
		d.check()
		if step.log == "" && logged.Len() > 0 || strings.Count(logged.String(), "\n") > 1 || !strings.Contains(logged.String(), step.log) {
			t.Errorf("%d of %d bytes free, %v: logged %q, want %q", step.free, step.size, step.fault, &logged, step.log)
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

// The space is checked every half minute, until the node ends.
func TestDiskIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks atomic.Int64
		d := &diskMonitor{dir: "data", log: slog.New(slog.DiscardHandler), space: func(string) (uint64, uint64, error) {
			checks.Add(1)
			return 1, 2, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*diskInterval+time.Second)
		defer cancel()
		if err := d.run(ctx); err != nil || checks.Load() != 5 {
			t.Errorf("in five times %s it was checked %d times, %v", diskInterval, checks.Load(), err)
		}
	})
}

// The system knows the space of a directory that exists.
func TestSpaceOfADirectory(t *testing.T) {
	t.Parallel()
	if free, size, err := volumeSpace(t.TempDir()); err != nil || size == 0 || free > size {
		t.Errorf("a directory: %d of %d, %v", free, size, err)
	}
	if _, _, err := volumeSpace(t.TempDir() + "/none"); err == nil {
		t.Error("a directory that does not exist has space")
	}
}
