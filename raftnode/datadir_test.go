package raftnode_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
)

// openSingle opens a coordinator alone over real files, its network in memory.
func openSingle(t *testing.T, dir string, edit func(*raftnode.Config)) (*raftnode.Node, *recordingMachine, error) {
	t.Helper()
	_, trans := raft.NewInmemTransport("n1:1")
	d := &recordingMachine{}
	c := raftnode.Config{
		ID: "n1", Dir: dir, Machine: d, Expect: 1, Logger: testLogger(t, "n1"),
		HeartbeatTimeout: 50 * time.Millisecond,
		SnapshotInterval: 20 * time.Millisecond, SnapshotThreshold: 20, TrailingLogs: 10,
		Fatal:  func(err error) { t.Errorf("fatal: %v", err) },
		Inject: raftnode.Inject{Transport: trans, Calls: newNetwork(t).lone("n1:1")},
	}
	if edit != nil {
		edit(&c)
	}
	n, err := raftnode.Open(context.Background(), c)
	return n, d, err
}

func (w *network) lone(addr string) *fakeCalls {
	return &fakeCalls{network: w, addr: addr, by: map[string]handler{}}
}

func closeNode(t *testing.T, n *raftnode.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// populatedDir makes a data directory with entries and snapshots in it.
func populatedDir(t *testing.T, store string) (dir, text string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	n, d, err := openSingle(t, dir, func(c *raftnode.Config) { c.LogStore = store })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		if _, _, err := n.Propose(context.Background(), fmt.Append(nil, "w", i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a snapshot is made", func() bool { return n.Status().LastSnapshot > 20 })
	for i := range 5 {
		if _, _, err := n.Propose(context.Background(), fmt.Append(nil, "x", i)); err != nil {
			t.Fatal(err)
		}
	}
	closeNode(t, n)
	return dir, d.text()
}

// What was written is there after a restart, with either log store, and the
// store once chosen stays.
func TestRestartFromDisk(t *testing.T) {
	t.Parallel()
	for _, store := range []string{raftnode.LogStoreBolt, raftnode.LogStoreWAL} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			dir, text := populatedDir(t, store)
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("data directory: %v, %v; want mode 0700", info.Mode(), err)
			}
			leftover := filepath.Join(dir, "snapshots", "9-9-9.tmp")
			if err := os.MkdirAll(leftover, 0o755); err != nil {
				t.Fatal(err)
			}
			other := raftnode.LogStoreWAL
			if store == other {
				other = raftnode.LogStoreBolt
			}
			_, _, err := openSingle(t, dir, func(c *raftnode.Config) { c.LogStore = other })
			if wire.CodeOf(err) != wire.CodeInvalid || !strings.Contains(err.Error(), store) {
				t.Errorf("with the log store %s: %v, want it refused", other, err)
			}
			n, d, err := openSingle(t, dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer closeNode(t, n)
			if _, err := n.Ready(context.Background(), raftnode.Strict, 0); err != nil || d.text() != text {
				t.Errorf("after the restart: %v, machine holds %q, want %q", err, d.text(), text)
			}
			if s := n.Status(); s.Boot < 2 || s.LogStore != store {
				t.Errorf("status %+v, want boot 2 or 3 and log store %s", s, store)
			}
			if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
				t.Error("an unfinished snapshot of a crash is still there")
			}
			kept, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*-*-*"))
			if len(kept) == 0 || len(kept) > 3 {
				t.Errorf("%d snapshots are kept, want 1 to 3", len(kept))
			}
		})
	}
}

// Three snapshots stay, so that a damaged one is not the last. One that a crash
// left half removed is removed at the next start; of the three none may be half.
func TestThreeSnapshotsAreKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	n, d, err := openSingle(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, _, err := n.Propose(context.Background(), fmt.Append(nil, "w", i)); err != nil {
			t.Fatal(err)
		}
		if err := raftnode.Raft(n).Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			t.Fatal(err)
		}
	}
	if kept, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*-*-*")); len(kept) != 3 {
		t.Errorf("%d snapshots are kept, want 3: %v", len(kept), kept)
	}
	closeNode(t, n)
	text := d.text()
	half := filepath.Join(dir, "snapshots", "1-1-1")
	if err := os.Mkdir(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if n, d, err = openSingle(t, dir, nil); err != nil {
		t.Fatalf("with a snapshot half removed: %v", err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Error("a snapshot half removed is still there")
	}
	if _, err := n.Ready(context.Background(), raftnode.Strict, 0); err != nil || d.text() != text {
		t.Errorf("after the restart: %v, machine holds %q, want %q", err, d.text(), text)
	}
	closeNode(t, n)
	kept, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*-*-*"))
	if err := os.Remove(filepath.Join(kept[0], "meta.json")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openSingle(t, dir, nil); err == nil || !strings.Contains(err.Error(), kept[0]) {
		t.Errorf("with half a snapshot among the kept: %v, want it named", err)
	}
}

// fullDisk names, for a process of this very test, the directory to write in
// until there is no room.
const fullDisk = "FOLKMOOT_TEST_FULL_DISK"

// The first error of the storage ends the process, not with 0, and says which;
// what was acknowledged before is there when there is room again.
func TestStormStorageErrors(t *testing.T) {
	storm.Only(t)
	if dir := os.Getenv(fullDisk); dir != "" {
		n, _, err := openSingle(t, dir, func(c *raftnode.Config) { c.MaxFileSize, c.Fatal = 1<<20, nil })
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10000 {
			if _, _, err := n.Propose(context.Background(), fmt.Appendf(nil, "w%d-%0*d", i, 10000, i)); err == nil {
				fmt.Printf("acknowledged w%d-\n", i)
			}
		}
		t.Fatal("there was room for all")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), fullDisk+"="+dir)
	var said, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 ||
		!strings.Contains(complaint.String(), "storage failed: ") || !strings.Contains(complaint.String(), "maximum size") {
		t.Fatalf("%v, it said %q; want exit status 1 and the reason", err, complaint.String())
	}
	n, d, err := openSingle(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNode(t, n)
	if _, err := n.Ready(context.Background(), raftnode.Strict, 0); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for line := range strings.Lines(said.String()) {
		if w, ok := strings.CutPrefix(strings.TrimSpace(line), "acknowledged "); ok {
			if acknowledged++; !strings.Contains(d.text(), w) {
				t.Errorf("%s was acknowledged and is lost", w)
			}
		}
	}
	if acknowledged == 0 {
		t.Errorf("nothing was acknowledged before the end: the scene is not set")
	}
}

// A second process on the same directory is told so, and does no harm.
func TestDirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n, _, err := openSingle(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNode(t, n)
	for _, file := range []string{"local.db", "raft.db"} {
		// A process of its own: locks are shared within one.
		out, err := exec.Command("flock", "--nonblock", filepath.Join(dir, file), "true").CombinedOutput()
		if err == nil {
			t.Errorf("%s is not locked: %s", file, out)
		}
	}
	if _, err := disk.OpenIdentity(dir, "n1"); err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), "local.db") {
		t.Errorf("second open: %v, want local.db in use by another process", err)
	}
	if _, _, err := n.Propose(context.Background(), []byte("one")); err != nil {
		t.Errorf("the first goes on: %v", err)
	}
}

// A directory that is not this coordinator's own, or not whole, is refused by
// name.
func TestForeignAndHalfMissingFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		store string
		spoil func(t *testing.T, dir string)
		id    string
		want  []string
	}{
		"other coordinator": {id: "n2", want: []string{"local.db", `belongs to coordinator "n1", not to "n2"`}},
		"no local.db":       {spoil: remove("local.db"), want: []string{"local.db", "missing"}},
		"no raft.db":        {spoil: remove("raft.db"), want: []string{"raft.db", "missing"}},
		"empty raft.db":     {spoil: truncate("raft.db", 0), want: []string{"raft.db", "missing or empty"}},
		"short raft.db":     {spoil: truncate("raft.db", 9000), want: []string{"raft.db", "damaged"}},
		"empty local.db":    {spoil: truncate("local.db", 0), want: []string{"local.db", "no identity"}},
		"no snapshots":      {spoil: remove("snapshots"), want: []string{"raft.db", "entries or snapshots are missing"}},
		"no snapshot state": {spoil: remove("snapshots/*/state.bin"), want: []string{"snapshots", "state.bin"}},
		"no snapshot meta":  {spoil: remove("snapshots/*/meta.json"), want: []string{"snapshots", "meta.json"}},
		"no wal":            {store: raftnode.LogStoreWAL, spoil: remove("wal"), want: []string{"wal", "missing"}},
		"no wal segments":   {store: raftnode.LogStoreWAL, spoil: remove("wal/*.wal"), want: []string{"wal"}},
		"someone's raft.db": {spoil: swap, want: []string{"raft.db", "belongs to server"}},
		"directory is a file": {spoil: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, nil, 0o600))
		}, want: []string{"data directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := populatedDir(t, c.store)
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			n, _, err := openSingle(t, dir, func(cfg *raftnode.Config) {
				if c.id != "" {
					cfg.ID = c.id
				}
			})
			if err == nil {
				closeNode(t, n)
				t.Fatal("it opened")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want it to contain %q", err, part)
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(pattern string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		if len(found) == 0 {
			t.Fatalf("no %s", pattern)
		}
		for _, f := range found {
			must(t, os.RemoveAll(f))
		}
	}
}

func truncate(name string, size int64) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, name), size)) }
}

// swap puts another server's votes and log in the place of the own.
func swap(t *testing.T, dir string) {
	other, _ := populatedDir(t, "")
	b, err := os.ReadFile(filepath.Join(other, "raft.db"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "raft.db"), b, 0o600))
}

// A directory that holds something already is left as it is while others may
// look into it: whose it is, nobody knows, and the command to type is named.
func TestAnOpenDirectoryIsNotClosedUnasked(t *testing.T) {
	t.Parallel()
	mine, _ := populatedDir(t, "")
	foreign := filepath.Join(t.TempDir(), "it's shared")
	must(t, os.Mkdir(foreign, 0o700))
	must(t, os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600))
	for dir, command := range map[string]string{
		mine:    "type: chmod 700 " + mine,
		foreign: "type: chmod 700 '" + strings.ReplaceAll(foreign, "'", `'\''`) + "'",
	} {
		before, err := os.ReadDir(dir)
		must(t, err)
		must(t, os.Chmod(dir, 0o755))
		n, _, err := openSingle(t, dir, nil)
		if err == nil {
			closeNode(t, n)
			t.Fatalf("%s opened", dir)
		}
		for _, part := range []string{dir, "0755", command} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("got %q, want it to contain %q", err, part)
			}
		}
		info, err := os.Stat(dir)
		if must(t, err); info.Mode().Perm() != 0o755 {
			t.Errorf("%s has mode %v now, want it as it was", dir, info.Mode())
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s holds %d files now, %d before", dir, len(after), len(before))
		}
		must(t, os.Chmod(dir, 0o700)) // as it said
		if n, _, err = openSingle(t, dir, nil); err != nil {
			t.Fatalf("after the command that was named: %v", err)
		}
		closeNode(t, n)
	}
}

// A directory that was made for it and is empty, as the root of a new file
// system is, is closed to others at the first start.
func TestAnEmptyDirectoryIsClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
	n, _, err := openSingle(t, dir, nil)
	must(t, err)
	defer closeNode(t, n)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want mode 0700", info.Mode(), err)
	}
}

// One flipped bit anywhere in a data file is either of no consequence, and then
// all that was written is there, or Open names the file. It never ends the
// process, and never loses anything in silence.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, store := range []string{raftnode.LogStoreBolt, raftnode.LogStoreWAL} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			whole, text := populatedDir(t, store)
			files := []string{"local.db", "raft.db", "snapshots/*/state.bin", "snapshots/*/meta.json"}
			if store == raftnode.LogStoreWAL {
				files = []string{"wal/*.wal", "wal/wal-meta.db"}
			}
			for _, pattern := range files {
				found, _ := filepath.Glob(filepath.Join(whole, pattern))
				if len(found) == 0 {
					t.Fatalf("no %s", pattern)
				}
				path, err := filepath.Rel(whole, found[len(found)-1])
				must(t, err)
				t.Run(filepath.Base(path), func(t *testing.T) {
					refused := 0
					for range 16 {
						refused += flip(t, whole, path, text)
					}
					if refused == 0 {
						t.Errorf("none of 16 flipped bits in %s was noticed", path)
					}
				})
			}
		})
	}
}

// flip copies the directory, flips one bit of a byte that is in use, and opens
// it; 1 if that was refused.
func flip(t *testing.T, whole, path, text string) int {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(whole)))
	must(t, os.Chmod(dir, 0o700))
	file := filepath.Join(dir, path)
	b, err := os.ReadFile(file)
	must(t, err)
	var used []int // most of a file may be room that was taken beforehand
	for i, c := range b {
		if c != 0 {
			used = append(used, i)
		}
	}
	at := used[rand.IntN(len(used))]
	bit := byte(1) << rand.IntN(8)
	b[at] ^= bit
	must(t, os.WriteFile(file, b, 0o600))
	n, d, err := openSingle(t, dir, nil)
	if err != nil {
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("bit %#x at %d of %s: %q does not name the file", bit, at, path, err)
		}
		return 1
	}
	defer closeNode(t, n)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := n.Ready(ctx, raftnode.Strict, 0); err != nil || d.text() != text {
		t.Errorf("bit %#x at %d of %s: opened, but %v and the machine holds %.60q of %.60q", bit, at, path, err, d.text(), text)
	}
	return 0
}
