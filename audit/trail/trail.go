// Package trail keeps an audit trail in files: 000001.jsonl and so on, written by one goroutine, so that nobody who
// records something waits for a disk.
package trail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// What is on disk.
const (
	MaxFile = 64 << 20 // bytes from which on a new file is begun
	Keep    = 16       // files; older ones are removed
)

// Times of the writer. A line is written at once and on the disk within SyncEvery; a machine that crashes may lose
// those of that time, none of which is anchored.
const (
	SyncEvery  = time.Second
	retryEvery = time.Second
)

// Bounds of what waits in memory while the disk is slow or does not take anything.
const (
	maxPending      = 8192
	maxPendingBytes = 4 << 20
	maxBatch        = 256 << 10 // bytes that are written at once
	maxUncertain    = 4 << 20   // bytes that are written and not yet on the disk
)

// Config is what a Trail is made of. Dir and Coordinator are needed, the rest has defaults.
type Config struct {
	Dir         string // made with mode 0700
	Coordinator string // whose trail it is
	Logger      *slog.Logger
	Now         func() time.Time

	maxFile int64
	disk    disk
}

// Trail is the trail of one coordinator. Its methods are safe for concurrent use; none but Close, Flush, Settle
// and Read blocks for a disk.
type Trail struct {
	cfg  Config
	lock *os.File

	mu       sync.Mutex
	pending  []audit.Event
	bytes    int // of pending
	held     audit.Merger
	accepted uint64        // events that came to pending, ever
	settled  uint64        // of them, those that were written
	synced   uint64        // of them, those that are on the disk
	atOnce   bool          // somebody waits until all is on the disk
	lost     int           // events that there was no room for, since the last line that says so
	loss     bool          // it was logged that there are
	failure  error         // why nothing can be written now
	failures uint64        // attempts that failed, ever
	certain  audit.Chain   // the newest line that is on the disk
	progress chan struct{} // closed, and made anew, when settled or failure has changed
	closing  bool

	wake chan struct{} // of the writer, with room for one
	done chan struct{} // closed when the writer has ended

	// The writer's.
	writer   writer
	lastSync time.Time
	lastTry  time.Time
}

// Open takes the directory for this process and goes on with the trail in it; a last line that a killed process has
// left unfinished is mended, and that is recorded. Errors name the directory. Close ends it.
func Open(cfg Config) (*Trail, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.maxFile == 0 {
		cfg.maxFile = MaxFile
	}
	if cfg.disk == nil {
		cfg.disk = system{}
	}
	if err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	t := &Trail{cfg: cfg, lock: lock, progress: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{})}
	if err := t.resume(); err != nil {
		_ = lock.Close() // the error says why
		return nil, fmt.Errorf("%s: %w", cfg.Dir, err)
	}
	go t.run()
	return t, nil
}

// makeDir makes the directory if it is missing, so that it outlives a power cut.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// takeLock refuses a directory in which another process writes.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		_ = f.Close() // the error says why
		return nil, fmt.Errorf("%s: another process writes the trail there: %w", dir, err)
	}
	return f, nil
}

// resume goes on where the trail ends.
func (t *Trail) resume() error {
	e, err := findEnd(t.cfg.Dir)
	if err != nil {
		return err
	}
	if e.coordinator != "" && e.coordinator != t.cfg.Coordinator {
		return fmt.Errorf("this is the trail of coordinator %s: each has a directory of its own", e.coordinator)
	}
	t.writer = writer{
		disk: t.cfg.disk, dir: t.cfg.Dir, maxFile: t.cfg.maxFile,
		chain: e.chain, certain: e.chain, number: e.number, synced: e.size,
	}
	t.certain = e.chain
	if err := t.writer.reopen(); err != nil {
		return err
	}
	if e.repaired != "" {
		t.cfg.Logger.Warn("the audit trail ended with an unfinished line, as a process that was killed leaves it", "repaired", e.repaired)
		t.Record(audit.Event{What: "repair the trail", Target: e.repaired, Outcome: audit.Done})
	}
	return nil
}

// Record takes an event; its time is set if it has none. Those that merge and are equal within a minute become one line,
// which is written when the minute is over, or when somebody reads the trail (see audit.Merger). It never blocks.
func (t *Trail) Record(e audit.Event) {
	if e.At.IsZero() {
		e.At = t.cfg.Now()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, merges := t.held.Takes(e); merges {
		for _, out := range t.held.Add(e) {
			t.accept(out)
		}
	} else {
		t.accept(e)
	}
	t.signal()
}

// accept puts an event in the queue if there is room; mu is held.
func (t *Trail) accept(e audit.Event) {
	if t.closing {
		return // nothing after Close is kept
	}
	if len(t.pending) >= maxPending || t.bytes+e.Size() > maxPendingBytes {
		t.lost += max(1, e.Times)
		return
	}
	t.pending = append(t.pending, e)
	t.bytes += e.Size()
	t.accepted++
}

func (t *Trail) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Err says why the trail cannot be written now; nil: it can.
func (t *Trail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil && t.lost > 0 {
		return errors.New("more is to be recorded than the disk takes")
	}
	return t.failure
}

// Failures counts the attempts to write that failed, ever.
func (t *Trail) Failures() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failures
}

// Newest returns number and hash of the newest line that is on the disk; 0: there is none.
func (t *Trail) Newest() (seq uint64, hash string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.certain.Seq, t.certain.Hash
}

// Flush waits until what was recorded before is written, what is held back too: only of what was written in the last ten
// seconds more may be. Errors: why it cannot be written, and that of ctx.
func (t *Trail) Flush(ctx context.Context) error {
	t.mu.Lock()
	for _, e := range t.held.Show(t.cfg.Now()) {
		t.accept(e)
	}
	want := t.accepted
	t.mu.Unlock()
	t.signal()
	return t.await(ctx, func() bool { return t.settled >= want })
}

// Settle waits until all that was recorded before is on the disk, also what is held back, so that Newest is the last line
// of it. Errors: why it cannot be written, and that of ctx.
func (t *Trail) Settle(ctx context.Context) error {
	t.mu.Lock()
	for _, e := range t.held.All() {
		t.accept(e)
	}
	t.atOnce = true
	want := t.accepted
	t.mu.Unlock()
	t.signal()
	return t.await(ctx, func() bool { return t.synced >= want })
}

// await waits until the writer has come so far; it is asked with mu held.
func (t *Trail) await(ctx context.Context, far func() bool) error {
	for {
		t.mu.Lock()
		there, failure, progress := far(), t.failure, t.progress
		t.mu.Unlock()
		switch {
		case failure != nil:
			return failure
		case there:
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close writes what there is, also what is held back, and gives the directory free. Nothing that is recorded after it is
// kept. The error is that something could not be written.
func (t *Trail) Close() error {
	t.mu.Lock()
	if t.closing {
		t.mu.Unlock()
		<-t.done
		return nil
	}
	for _, e := range t.held.All() {
		t.accept(e)
	}
	t.closing = true
	t.mu.Unlock()
	t.signal()
	<-t.done
	return errors.Join(t.Err(), t.lock.Close())
}
