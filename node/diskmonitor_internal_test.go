package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	raftdisk "github.com/folkmoot/folkmoot/raftnode/disk"
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
	d := &diskMonitor{dir: "data", log: slog.New(slog.NewTextHandler(&logged, nil)), bounds: defaultBounds, space: func(string) (uint64, uint64, error) { return free, size, fault }}
	for _, step := range []struct {
		free, size uint64
		fault      error
		low        bool
		log        string // in what is logged at this step; empty: nothing
	}{
		{10 * gi, 20 * gi, nil, false, ""},
		{3*gi + 1, 20 * gi, nil, false, ""},
		{2 * gi, 20 * gi, nil, true, `level=WARN msg="the volume of the data directory is nearly full`},
		{2*gi - gi/10, 20 * gi, nil, true, ""},
		{3*gi + gi/10, 20 * gi, nil, true, ""},
		{4 * gi, 20 * gi, nil, false, "level=INFO"},
		{0, 0, errors.New("stale handle"), false, "stale handle"},
		{0, 0, errors.New("stale handle"), false, ""},
		{9 * gi, 4000 * gi, nil, false, ""}, // far below 15 %, yet plenty
		{7 * gi, 4000 * gi, nil, true, "level=WARN"},
	} {
		logged.Reset()
		free, size, fault = step.free, step.size, step.fault
		d.check(t.Context())
		if step.log == "" && logged.Len() > 0 || strings.Count(logged.String(), "\n") > 1 || !strings.Contains(logged.String(), step.log) {
			t.Errorf("%d of %d bytes free, %v: logged %q, want %q", step.free, step.size, step.fault, &logged, step.log)
		}
		got := d.last.Load()
		switch {
		case step.fault != nil && got != nil:
			t.Errorf("%v: got %+v, want nothing", step.fault, got)
		case step.fault == nil && (got == nil || *got != wire.DiskSpace{Free: step.free, Size: step.size, Low: step.low, State: map[bool]string{false: wire.DiskOK, true: wire.DiskLow}[step.low]}):
			t.Errorf("%d of %d bytes free: got %+v, want low %v", step.free, step.size, got, step.low)
		}
	}
}

// defaultBounds are those that hold if nothing is set.
func defaultBounds(size uint64) (spaceBounds, error) {
	c, err := Config{ID: "n1"}.withDefaults()
	if err != nil {
		return spaceBounds{}, err
	}
	return c.spaceBounds(size)
}

// The space is checked every half minute while there is plenty, more often the less there is above the bound, and each
// second below it, until the node ends.
func TestDiskIsChecked(t *testing.T) {
	const mi = 1 << 20
	for free, want := range map[uint64]time.Duration{
		90 << 30:        30 * time.Second,
		8<<30 + 1000*mi: 10 * time.Second,
		8<<30 + mi:      time.Second,
		8<<30 - 1:       time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			var checks atomic.Int64
			d := &diskMonitor{dir: "data", bounds: defaultBounds, log: slog.New(slog.DiscardHandler), space: func(string) (uint64, uint64, error) {
				checks.Add(1)
				return free, 100 << 30, nil
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 4*want+time.Millisecond)
			defer cancel()
			if err := d.run(ctx); err != nil || checks.Load() != 5 {
				t.Errorf("%d bytes free: in four times %s it was checked %d times, %v", free, want, checks.Load(), err)
			}
		})
	}
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

// Each state begins below its bound, and ends a tenth above it; what of the reserve was given free counts for critical
// alone.
func TestStatesOfAVolume(t *testing.T) {
	t.Parallel()
	b := spaceBounds{low: 1000, full: 500, critical: 200}
	for _, c := range []struct {
		before     string
		free, kept uint64
		want       string
	}{
		{"", 1000, 0, wire.DiskOK},
		{"", 999, 0, wire.DiskLow},
		{wire.DiskOK, 1000, 0, wire.DiskOK},
		{wire.DiskLow, 1099, 0, wire.DiskLow},
		{wire.DiskLow, 1100, 0, wire.DiskOK},
		{wire.DiskLow, 500, 0, wire.DiskLow},
		{wire.DiskLow, 499, 0, wire.DiskFull},
		{wire.DiskOK, 499, 0, wire.DiskFull},
		{wire.DiskFull, 549, 0, wire.DiskFull},
		{wire.DiskFull, 550, 0, wire.DiskLow},
		{wire.DiskFull, 1050, 0, wire.DiskLow},
		{wire.DiskFull, 1100, 0, wire.DiskOK},
		{wire.DiskFull, 200, 0, wire.DiskFull},
		{wire.DiskFull, 199, 0, wire.DiskCritical},
		{wire.DiskCritical, 219, 0, wire.DiskCritical},
		{wire.DiskCritical, 220, 0, wire.DiskFull},
		{wire.DiskCritical, 2000, 0, wire.DiskOK},
		{wire.DiskFull, 849, 300, wire.DiskFull}, // 549 without the reserve
		{wire.DiskFull, 850, 300, wire.DiskLow},  // 550
		{wire.DiskFull, 250, 300, wire.DiskFull}, // nothing without it, which is what it is for
		{wire.DiskFull, 199, 300, wire.DiskCritical},
		{wire.DiskOK, 1299, 300, wire.DiskLow}, // it finds no room of its own
	} {
		if got := b.stateOf(c.before, c.free, c.kept); got != c.want {
			t.Errorf("%d free, %d of them for the reserve, %q before: %s, want %s", c.free, c.kept, c.before, got, c.want)
		}
	}
}

// Bounds are percent of the volume, up to a number of bytes, or bytes; those in a wrong order are refused, by the flag.
func TestBoundsOfAVolume(t *testing.T) {
	t.Parallel()
	const gi, mi = 1 << 30, 1 << 20
	bytes := func(n int64) SpaceBound { return SpaceBound{Bytes: n} }
	percent := func(p float64) SpaceBound { return SpaceBound{Percent: p} }
	for _, c := range []struct {
		low, full, critical SpaceBound
		size                uint64
		want                spaceBounds
		refused             string
	}{
		{size: 100 * mi, want: spaceBounds{15 * mi, 8 * mi, 4 * mi}},
		{size: 1000 * gi, want: spaceBounds{8 * gi, 4 * gi, gi}},
		{low: percent(50), full: percent(25), critical: percent(12.5), size: 800, want: spaceBounds{400, 200, 100}},
		{low: bytes(3 * gi), full: bytes(2 * gi), critical: bytes(gi), size: 10 * gi, want: spaceBounds{3 * gi, 2 * gi, gi}},
		{low: bytes(20 * gi), size: 1000 * gi, want: spaceBounds{20 * gi, 4 * gi, gi}}, // bytes have no limit
		{low: percent(8), size: 100 * mi, refused: "--disk-low 8% must be more than --disk-full 8%"},
		{critical: percent(20), size: 100 * mi, refused: "--disk-low 15% must be more than --disk-critical 20%"},
		{full: bytes(gi), critical: bytes(gi), size: 100 * gi, refused: "--disk-full 1GiB must be more than --disk-critical 1GiB"},
		{full: bytes(20 * mi), size: 100 * mi, refused: "--disk-low 15% must be more than --disk-full 20MiB: on the volume of the data directory that is 15.0 MiB and 20.0 MiB"},
		{low: bytes(2 * gi), size: gi, refused: "--disk-low 2GiB: the volume of the data directory has only 1.0 GiB"},
	} {
		cfg, err := Config{ID: "n1", DiskLow: c.low, DiskFull: c.full, DiskCritical: c.critical}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.checkSpaceOrder()
		var got spaceBounds
		if err == nil {
			got, err = cfg.spaceBounds(c.size)
		}
		if c.refused == "" && (err != nil || got != c.want) || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%v %v %v on %d bytes: %+v, %v; want %+v %s", c.low, c.full, c.critical, c.size, got, err, c.want, c.refused)
		}
	}
}

// handOvers counts attempts to hand over.
type handOvers struct {
	tried int
	done  bool
	err   error
}

func (h *handOvers) try(context.Context) (bool, error) { h.tried++; return h.done, h.err }

// A full coordinator asks at each look for somebody with room to lead, which is an attempt only if there is one; after an
// attempt that failed it leaves the cluster in peace for a while. The state is told once that is over.
func TestFullDiskHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free, size := uint64(50), uint64(100)
		hand := &handOvers{}
		d := &diskMonitor{
			dir: t.TempDir(), bounds: defaultBounds, log: slog.New(slog.DiscardHandler), critical: make(chan struct{}),
			space: func(string) (uint64, uint64, error) { return free, size, nil },
		}
		told := ""
		d.handOver = func(ctx context.Context) (bool, error) {
			told = d.last.Load().State
			return hand.try(ctx)
		}
		d.check(t.Context())
		free = 10
		d.check(t.Context())
		if hand.tried != 0 {
			t.Errorf("with %d %% free it handed over", free)
		}
		free = 7
		d.check(t.Context())
		if hand.tried != 1 || told != wire.DiskLow || d.last.Load().State != wire.DiskFull {
			t.Errorf("full: tried %d times, told %q before and %q after", hand.tried, told, d.last.Load().State)
		}
		hand.err = errors.New("it does not answer")
		for range 10 {
			d.check(t.Context())
		}
		if hand.tried != 2 {
			t.Errorf("after an attempt that failed it was tried %d times more", hand.tried-2)
		}
		time.Sleep(handOverAgain)
		d.check(t.Context())
		if hand.tried != 3 {
			t.Errorf("a while after a failed attempt: %d attempts, want 3", hand.tried)
		}
	})
}

// Below critical the node is told to end, once, and why.
func TestCriticalDiskEndsTheNode(t *testing.T) {
	t.Parallel()
	free := uint64(50)
	hand := &handOvers{}
	d := &diskMonitor{
		dir: t.TempDir(), bounds: defaultBounds, log: slog.New(slog.DiscardHandler), critical: make(chan struct{}), handOver: hand.try,
		space: func(string) (uint64, uint64, error) { return free, 100, nil },
	}
	for _, free = range []uint64{50, 4, 3, 90, 2} {
		d.check(t.Context())
	}
	select {
	case <-d.critical:
	default:
		t.Fatal("the node goes on")
	}
	if FatalStatus(d.end) != StatusDisk || !strings.Contains(d.end.Error(), d.dir) {
		t.Errorf("it ends with %d, %v", FatalStatus(d.end), d.end)
	}
}

// The reserve is made while there is space, also where there never was one, given free when the volume is full, and made
// again once there is space, which its own absence is not.
func TestReserveOfTheDisk(t *testing.T) {
	t.Parallel()
	const size, keeps = 100 << 20, 1 << 20
	dir := t.TempDir()
	free := uint64(50 << 20)
	d := &diskMonitor{
		dir: dir, bounds: defaultBounds, reserve: reserve{size: keeps}, log: slog.New(slog.DiscardHandler), critical: make(chan struct{}),
		handOver: (&handOvers{}).try, space: func(string) (uint64, uint64, error) { return free, size, nil },
	}
	for _, step := range []struct {
		free uint64
		keep int64
		want string
	}{
		{50 << 20, keeps, wire.DiskOK},
		{10 << 20, keeps, wire.DiskLow},
		{7 << 20, 0, wire.DiskFull},
		{9 << 20, 0, wire.DiskFull}, // 8 without what was given free
		{12 << 20, 0, wire.DiskLow},
		{16 << 20, 0, wire.DiskLow},
		{40 << 20, keeps, wire.DiskOK},
	} {
		free = step.free
		d.check(t.Context())
		has, err := raftdisk.ReserveSize(dir)
		if err != nil || has != step.keep || d.last.Load().State != step.want {
			t.Errorf("%d MiB free: %s with a reserve of %d bytes, %v; want %s with %d", free>>20, d.last.Load().State, has, err, step.want, step.keep)
		}
	}
	if small := (&reserve{size: DefaultDiskReserve}).on(50 << 20); small != 5<<20 {
		t.Errorf("on 50 MiB the reserve is %d bytes, want a tenth", small)
	}
}

// A node does not start on a volume with hardly any space, and writes nothing there; one that was told to run ends when
// that is so.
func TestNoStartOnACriticalDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "below", "data")
	free, size, err := volumeSpace(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		ID: "n1", DataDir: dir, Logger: slog.New(slog.DiscardHandler),
		DiskCritical: SpaceBound{Bytes: int64(free + (size-free)/4)}, DiskFull: SpaceBound{Bytes: int64(free + (size-free)/2)}, DiskLow: SpaceBound{Bytes: int64(size - 1)},
	}
	if _, err := Open(t.Context(), cfg); FatalStatus(err) != StatusDisk {
		t.Errorf("it starts: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	if err := Check(cfg); err != nil {
		t.Errorf("config check judges the space that there is now: %v", err)
	}
}
