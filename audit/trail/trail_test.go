package trail_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/audit/trail"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TRAIL_TEST_WRITE"); dir != "" {
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, cfg trail.Config) *trail.Trail {
	t.Helper()
	if cfg.Coordinator == "" {
		cfg.Coordinator = "n1"
	}
	tr, err := trail.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func closed(t *testing.T, tr *trail.Trail) {
	t.Helper()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
}

func done(i int) audit.Event {
	return audit.Event{Door: audit.DoorHTTP, What: "PUT /v1/things/:id", Target: fmt.Sprint(i), Outcome: audit.Done, Index: uint64(i)}
}

func refused(target string) audit.Event {
	return audit.Event{Door: audit.DoorHTTP, What: "PUT /v1/things/:id", Target: target, Outcome: audit.Refused, Code: "forbidden"}
}

// whole verifies the trail and returns how many lines it has.
func whole(t *testing.T, dir string, anchors ...audit.Anchor) audit.Trail {
	t.Helper()
	found, err := trail.Verify(dir, anchors)
	if err != nil {
		t.Fatalf("the trail is not whole: %v", err)
	}
	return found
}

func flush(t *testing.T, tr *trail.Trail) {
	t.Helper()
	if err := tr.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func faultOf(t *testing.T, dir string, anchors ...audit.Anchor) *audit.Fault {
	t.Helper()
	_, err := trail.Verify(dir, anchors)
	var f *audit.Fault
	if !errors.As(err, &f) {
		t.Fatalf("nothing was found: %v", err)
	}
	return f
}

// A trail goes on where it was, over restarts and files.
func TestTrailGoesOnOverRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	var newest audit.Anchor
	for round := range 4 {
		tr := open(t, trail.Config{Dir: dir}.With(trail.System, 2000, time.Now))
		for i := range 10 {
			tr.Record(done(10*round + i))
		}
		closed(t, tr)
		seq, hash := tr.Newest()
		newest = audit.Anchor{Coordinator: "n1", Seq: seq, Hash: hash}
	}
	if got := whole(t, dir, newest); got.Lines != 40 || got.Last != 40 || got.Anchors != 1 || got.Coordinator != "n1" {
		t.Errorf("%+v", got)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl")); len(files) < 3 || filepath.Base(files[0]) != "000001.jsonl" {
		t.Errorf("the files are %v", files)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is open to others: %v, %v", info.Mode(), err)
	}
}

// Sixteen files are kept, each page of what is left can be read, and what is missing beside that is found.
func TestSixteenFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, trail.Config{Dir: dir}.With(trail.System, 4000, time.Now))
	for i := range 1000 {
		tr.Record(done(i))
	}
	flush(t, tr)
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if len(files) != trail.Keep || filepath.Base(files[0]) == "000001.jsonl" {
		t.Fatalf("%d files: %v", len(files), files)
	}
	var seen []uint64
	after := uint64(0)
	for {
		p, err := tr.Read(after, 37)
		if err != nil {
			t.Fatal(err)
		}
		if p.Last != 1000 || p.First == 1 {
			t.Fatalf("the page says %d to %d", p.First, p.Last)
		}
		for _, raw := range p.Lines {
			l, err := audit.ParseLine(raw)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, l.Seq)
		}
		if p.Next == 0 {
			break
		}
		after = p.Next
	}
	got := whole(t, dir)
	if got.Lines != len(seen) || seen[0] != got.First || seen[len(seen)-1] != 1000 {
		t.Errorf("read %d lines from %d, verified %+v", len(seen), seen[0], got)
	}
	if p, err := tr.Read(998, 100); err != nil || len(p.Lines) != 2 {
		t.Errorf("behind 998: %d lines, %v", len(p.Lines), err)
	}
	if p, err := tr.Read(1000, 100); err != nil || len(p.Lines) != 0 || p.Next != 0 {
		t.Errorf("behind the last: %d lines, %v", len(p.Lines), err)
	}
	closed(t, tr)
	if err := os.Remove(files[5]); err != nil {
		t.Fatal(err)
	}
	if f := faultOf(t, dir); f.Kind != audit.Missing || f.File != filepath.Base(files[5]) {
		t.Errorf("a file is missing: %v", f)
	}
}

// A file taken from the beginning is missing, unless there are as many as are kept.
func TestFirstFileIsMissed(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, trail.Config{Dir: dir}.With(trail.System, 1000, time.Now))
	for i := range 20 {
		tr.Record(done(i))
	}
	closed(t, tr)
	first := filepath.Join(dir, "000001.jsonl")
	for name, take := range map[string]func() error{"emptied": func() error { return os.Truncate(first, 0) }, "removed": func() error { return os.Remove(first) }} {
		if err := take(); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if f := faultOf(t, dir); f.Kind != audit.Missing || f.File != "000001.jsonl" {
			t.Errorf("%s: got %v", name, f)
		}
	}
}

// threeLines is a trail of three lines that was closed, and its file.
func threeLines(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	tr := open(t, trail.Config{Dir: dir})
	for i := range 3 {
		tr.Record(done(i))
	}
	closed(t, tr)
	return dir, filepath.Join(dir, "000001.jsonl")
}

// A process may be killed at any byte of a line: the next one mends that, says so, and the chain holds.
func TestTornLineIsMended(t *testing.T) {
	synctest.Test(t, tornLineIsMended) // the verifier waits for a writer
}

func tornLineIsMended(t *testing.T) {
	dir, path := threeLines(t)
	full, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	third := strings.LastIndex(strings.TrimSuffix(string(full), "\n"), "\n") + 1
	for cut := third - 1; cut <= len(full); cut++ {
		if err := os.WriteFile(path, full[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		torn := cut != third && cut != len(full)
		if torn {
			if f := faultOf(t, dir); f.Kind != audit.Cut || f.File != "000001.jsonl" {
				t.Fatalf("cut at %d: %v", cut, f)
			}
		}
		tr := open(t, trail.Config{Dir: dir})
		tr.Record(done(7))
		closed(t, tr)
		want := 3 // two, and that of now
		if cut >= len(full)-1 {
			want++ // the third was whole but for its end
		}
		if torn {
			want++ // the repair
		}
		if got := whole(t, dir); got.Lines != want {
			t.Fatalf("cut at %d of %d: %d lines, want %d", cut, len(full), got.Lines, want)
		}
		if now, _ := os.ReadFile(path); torn != strings.Contains(string(now), `"what":"repair the trail","target":"000001.jsonl: `) {
			t.Fatalf("cut at %d: recorded as\n%s", cut, now)
		}
	}
}

// Where there is no room for the end of the last line, that is taken away: a start does not wait for room.
func TestTornLineOnAFullDisk(t *testing.T) {
	dir, path := threeLines(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	lift := limitFiles(t, info.Size()-1)
	tr := open(t, trail.Config{Dir: dir})
	lift()
	tr.Record(done(7))
	closed(t, tr)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := whole(t, dir); got.Lines != 4 || !strings.Contains(string(text), "bytes of a line without an end were taken away") {
		t.Errorf("%d lines:\n%s", got.Lines, text)
	}
}

// limitFiles lets this process write no file beyond a size until lift is called, as if there were no room.
func limitFiles(t *testing.T, size int64) (lift func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	set := func(limit syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	}
	lift = sync.OnceFunc(func() {
		set(before)
		signal.Reset(syscall.SIGXFSZ)
	})
	t.Cleanup(lift)
	set(syscall.Rlimit{Cur: uint64(size), Max: before.Max})
	return lift
}

// A line that somebody made unreadable does not keep the coordinator from going on, and is named.
func TestUnreadableLastLine(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, trail.Config{Dir: dir})
	for i := range 3 {
		tr.Record(done(i))
	}
	closed(t, tr)
	path := filepath.Join(dir, "000001.jsonl")
	full, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(full[:len(full)-20], []byte("garbage\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	tr = open(t, trail.Config{Dir: dir})
	tr.Record(done(4))
	closed(t, tr)
	if f := faultOf(t, dir); f.Kind != audit.Changed || f.Line != 3 {
		t.Errorf("got %v", f)
	}
}

// Nobody else writes into a directory in use, nor into that of another coordinator.
func TestDirectoryIsOfOne(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, trail.Config{Dir: dir})
	tr.Record(done(1))
	if _, err := trail.Open(trail.Config{Dir: dir, Coordinator: "n1"}); err == nil || !strings.Contains(err.Error(), "another process") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one: %v", err)
	}
	closed(t, tr)
	if _, err := trail.Open(trail.Config{Dir: dir, Coordinator: "n2"}); err == nil || !strings.Contains(err.Error(), "coordinator n1") {
		t.Errorf("another coordinator: %v", err)
	}
	file := filepath.Join(dir, "000001.jsonl")
	if _, err := trail.Open(trail.Config{Dir: file, Coordinator: "n1"}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as the directory: %v", err)
	}
}

// Equal refusals are one line, also before their minute is over if somebody looks; who reads the trail waits for that.
func TestRefusalsAndReadersAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tr := open(t, trail.Config{Dir: dir})
		read := audit.Event{What: "GET /v1/audit", Outcome: audit.Done, Polled: true}
		for range 20 {
			tr.Record(refused("a"))
			tr.Record(read)
			time.Sleep(time.Second)
		}
		if p, _ := tr.Read(0, 10); len(p.Lines) != 0 {
			t.Errorf("%d lines before a minute", len(p.Lines))
		}
		flush(t, tr)
		p, err := tr.Read(0, 10)
		if err != nil || len(p.Lines) != 1 {
			t.Fatalf("%d lines, %v", len(p.Lines), err)
		}
		if l, _ := audit.ParseLine(p.Lines[0]); l.Times != 20 || l.Code != "forbidden" {
			t.Errorf("%s", p.Lines[0])
		}
		tr.Record(refused("b"))
		tr.Record(refused("a"))
		flush(t, tr)
		if p, _ = tr.Read(1, 10); len(p.Lines) != 1 || !strings.Contains(string(p.Lines[0]), `"target":"b"`) {
			t.Errorf("read again at once: %s", p.Lines)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if p, _ = tr.Read(2, 10); len(p.Lines) != 2 {
			t.Errorf("after the minute: %s", p.Lines)
		}
		closed(t, tr)
	})
}

// Real processes are killed in the middle of their writes, again and again, and no line is lost but the last.
func TestKilledWriters(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "TRAIL_TEST_WRITE="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var newest audit.Anchor
		in := bufio.NewScanner(out)
		for n := 0; n < 20 || newest.Seq <= last; n++ { // until this one has made something certain
			if !in.Scan() {
				t.Fatalf("the writer ended: %v", in.Err())
			}
			if _, err := fmt.Sscanf(in.Text(), "%d %64s", &newest.Seq, &newest.Hash); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		tr := open(t, trail.Config{Dir: dir})
		closed(t, tr)
		got := whole(t, dir, newest)
		if got.Last < newest.Seq || got.Last <= last || got.Anchors != 1 {
			t.Errorf("it ends at %+v, and %d was certain before", got, newest.Seq)
		}
		last = got.Last
	}
}

// writeUntilKilled records without end and prints what is on the disk for certain.
func writeUntilKilled(dir string) {
	tr, err := trail.Open(trail.Config{Dir: dir, Coordinator: "n1"}.With(trail.System, 64<<10, time.Now))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		tr.Record(done(i))
		if i%50 == 0 {
			if seq, hash := tr.Newest(); seq > 0 {
				fmt.Println(seq, hash)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// faultyDisk is a disk of so many bytes; sync can fail as well.
type faultyDisk struct {
	trail.Disk
	room     *atomic.Int64 // nil: enough
	syncFail *atomic.Bool
}

func (d faultyDisk) Create(path string) (trail.File, error) {
	if d.room != nil && d.room.Load() <= 0 {
		return nil, syscall.ENOSPC
	}
	f, err := d.Disk.Create(path)
	return faultyFile{f, d}, err
}

func (d faultyDisk) Open(path string) (trail.File, error) {
	f, err := d.Disk.Open(path)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d}, nil
}

type faultyFile struct {
	trail.File
	d faultyDisk
}

func (f faultyFile) Write(b []byte) (int, error) {
	if f.d.room == nil {
		return f.File.Write(b)
	}
	fits := min(int(f.d.room.Load()), len(b))
	f.d.room.Add(-int64(fits))
	n, err := f.File.Write(b[:fits])
	if err == nil && fits < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func (f faultyFile) Sync() error {
	if f.d.syncFail != nil && f.d.syncFail.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// busyDisk has something more to be recorded whenever something is written.
type busyDisk struct {
	trail.Disk
	more func()
}

func (d busyDisk) Create(path string) (trail.File, error) {
	f, err := d.Disk.Create(path)
	return busyFile{f, d.more}, err
}

type busyFile struct {
	trail.File
	more func()
}

func (f busyFile) Write(b []byte) (int, error) {
	f.more()
	return f.File.Write(b)
}

// What is written becomes certain within SyncEvery though there is always something more to write.
func TestAlwaysMoreToWrite(t *testing.T) {
	var tr *trail.Trail
	var at atomic.Int64
	at.Store(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC).UnixNano())
	now := func() time.Time { return time.Unix(0, at.Load()) }
	ready, newest := make(chan struct{}), make(chan uint64, 1)
	writes := 0
	more := func() {
		<-ready
		switch writes++; {
		case writes < 1000:
			at.Add(int64(trail.SyncEvery / 100))
			tr.Record(done(writes))
		case writes == 1000:
			seq, _ := tr.Newest()
			newest <- seq
		}
	}
	tr = open(t, trail.Config{Dir: t.TempDir(), Now: now}.With(busyDisk{trail.System, more}, 1<<20, now))
	close(ready)
	tr.Record(done(0))
	if seq := <-newest; seq < 850 {
		t.Errorf("after 1000 lines in %v line %d is the newest that is on the disk", 1000*trail.SyncEvery/100, seq)
	}
	closed(t, tr)
}

// Many lines are few writes, also while much is not synced yet.
func TestManyLinesAreFewWrites(t *testing.T) {
	const lines = 4000
	var tr *trail.Trail
	at := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC) // no further sync is due
	ready := make(chan struct{})
	writes := 0
	more := func() {
		<-ready
		if writes++; writes == 1 {
			for i := range lines {
				tr.Record(done(i))
			}
		}
	}
	tr = open(t, trail.Config{Dir: t.TempDir()}.With(busyDisk{trail.System, more}, trail.MaxFile, func() time.Time { return at }))
	close(ready)
	tr.Record(done(0))
	flush(t, tr)
	closed(t, tr)
	if seq, _ := tr.Newest(); seq != lines+1 || writes > 20 {
		t.Errorf("%d lines in %d writes", seq, writes)
	}
}

// While the disk is full the trail says so; once there is room again it mends itself, and nothing is lost that there was
// room for in memory. What was not kept is counted in a line.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var room atomic.Int64
		room.Store(1000)
		tr := open(t, trail.Config{Dir: dir}.With(faultyDisk{Disk: trail.System, room: &room}, 3000, time.Now))
		for i := range 10 {
			tr.Record(done(i))
		}
		synctest.Wait()
		if err := tr.Err(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("with a full disk: %v", err)
		}
		for i := range 20_000 {
			tr.Record(done(10 + i))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if tr.Err() == nil || tr.Failures() < 5 {
			t.Errorf("still full: %v after %d failures", tr.Err(), tr.Failures())
		}
		if err := tr.Flush(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a reader is told %v", err)
		}
		room.Store(1 << 30)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := tr.Err(); err != nil {
			t.Errorf("with room again: %v", err)
		}
		tr.Record(done(1))
		closed(t, tr)
		p, err := trailEnd(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := whole(t, dir); got.Last < 5000 || p.Times < 1000 || uint64(p.Times)+p.Seq-1 != 20_010 {
			t.Errorf("it ends at %+v; %d were not kept, by line %d", got, p.Times, p.Seq)
		}
	})
}

// trailEnd is the last line but one.
func trailEnd(dir string) (l audit.Line, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return l, err
	}
	var lines []string
	for _, f := range files[max(0, len(files)-2):] {
		b, err := os.ReadFile(f)
		if err != nil {
			return l, err
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return audit.ParseLine([]byte(lines[len(lines)-2]))
}

// What a failed sync may have lost is written anew.
func TestFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var fail atomic.Bool
		fail.Store(true)
		tr := open(t, trail.Config{Dir: dir}.With(faultyDisk{Disk: trail.System, syncFail: &fail}, 1<<20, time.Now))
		tr.Record(done(1))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if seq, _ := tr.Newest(); seq != 0 || !errors.Is(tr.Err(), syscall.EIO) {
			t.Errorf("line %d is certain, %v", seq, tr.Err())
		}
		if err := os.Truncate(filepath.Join(dir, "000001.jsonl"), 0); err != nil { // as the kernel may
			t.Fatal(err)
		}
		fail.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if seq, _ := tr.Newest(); seq != 1 || tr.Err() != nil {
			t.Errorf("line %d is certain, %v", seq, tr.Err())
		}
		closed(t, tr)
		if got := whole(t, dir); got.Lines != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// A trail whose file or directory was taken away goes on in another, and what is missing shows.
func TestFilesTakenAway(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"file":      func(dir string) error { return os.Remove(filepath.Join(dir, "000001.jsonl")) },
		"directory": os.RemoveAll,
		"content":   func(dir string) error { return os.Truncate(filepath.Join(dir, "000001.jsonl"), 0) },
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "audit")
			tr := open(t, trail.Config{Dir: dir})
			tr.Record(done(1))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			tr.Record(done(2))
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if err := tr.Err(); err != nil || tr.Failures() == 0 {
				t.Errorf("%s: %v after %d failures", name, err, tr.Failures())
			}
			closed(t, tr)
			second, _ := os.ReadFile(filepath.Join(dir, "000002.jsonl"))
			if l, err := audit.ParseLine([]byte(strings.TrimSuffix(string(second), "\n"))); err != nil || l.Seq != 2 {
				t.Errorf("%s: 000002.jsonl is %q", name, second)
			}
			if f := faultOf(t, dir); f.Kind != audit.Missing && name != "content" {
				t.Errorf("%s: %v", name, f)
			}
		})
	}
}

// Who settles a trail has all of it on the disk, though no sync is due and refusals are held back for their minute.
func TestSettled(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC) // and it stays
	tr := open(t, trail.Config{Dir: dir}.With(trail.System, trail.MaxFile, func() time.Time { return at }))
	for i := range 3 { // the first is synced at once
		tr.Record(done(i))
		flush(t, tr)
	}
	tr.Record(refused("n4"))
	flush(t, tr) // a reader is shown the first, and not at once the next
	tr.Record(refused("n4"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	last, err := trail.NewestLine(dir)
	if seq, _ := tr.Newest(); err != nil || seq != 5 || last.Seq != 5 || last.Outcome != audit.Refused {
		t.Errorf("on the disk is number %d, in the file %+v (%v)", seq, last, err)
	}
	closed(t, tr)
	if err := tr.Settle(ctx); err != nil {
		t.Errorf("closed: %v", err)
	}
}

// Whatever the newest file holds, a coordinator starts with it, and a whole beginning stays whole.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("{"), false)
	f.Add([]byte("garbage\nand more"), true)
	f.Add(make([]byte, 5000), true)
	f.Fuzz(func(t *testing.T, behind []byte, lines bool) {
		dir := t.TempDir()
		var c audit.Chain
		var b []byte
		if lines {
			b = c.Append(c.Append(b, "n1", done(1)), "n1", done(2))
		}
		path := filepath.Join(dir, "000001.jsonl")
		if err := os.WriteFile(path, append(b, behind...), 0o600); err != nil {
			t.Fatal(err)
		}
		tr, err := trail.Open(trail.Config{Dir: dir, Coordinator: "n1"})
		if err != nil {
			if l, parsed := audit.ParseLine(behind); parsed == nil && l.Coordinator != "n1" || strings.Contains(string(behind), "\n") {
				return
			}
			t.Fatal(err)
		}
		tr.Record(done(3))
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		now, _ := os.ReadFile(path)
		if !strings.HasPrefix(string(now), string(b)) || !strings.HasSuffix(string(now), "\n") {
			t.Errorf("now it is %q", now)
		}
		if _, err := trail.Verify(dir, nil); err != nil && !strings.Contains(string(behind), "\n") && !strings.Contains(string(behind), "prev") {
			t.Errorf("%q behind whole lines: %v", behind, err)
		}
	})
}
