package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/backup"
	"github.com/folkmoot/folkmoot/fsm"
)

// backupStore is a backup.Dir.
type backupStore interface {
	Newest(cluster string) (at time.Time, ok bool, err error)
	Save(write func(io.Writer) error) (backup.Saved, error)
}

// backups keeps snapshots of the state in a directory while this coordinator leads. What the
// disk does runs beside the leader's task, one at a time: a disk over the network may hang
// for as long as it likes, and the end of a leadership and that of the process do not wait
// for it.
type backups struct {
	store    backupStore
	path     string
	interval time.Duration
	most     int64 // bytes that may be restored here, uncompressed
	by       string
	view     func() *fsm.State
	log      *slog.Logger

	disk chan struct{} // has an element while something is asked of the disk
	last atomic.Int64  // when the newest snapshot was made, in s of the wall clock; 0: there is none
}

func newBackups(store backupStore, path string, interval time.Duration, most int64, by string, view func() *fsm.State, log *slog.Logger) *backups {
	return &backups{store: store, path: path, interval: interval, most: most, by: by, view: view, log: log, disk: make(chan struct{}, 1)}
}

// whileLeading is a task of the leader. What fails is tried again an interval later.
func (b *backups) whileLeading(ctx context.Context) error {
	due := b.firstDue
	for {
		wait := clusterIDRetry // it is just being founded
		if b.view().ClusterID != "" {
			var err error
			if wait, err = b.beside(ctx, due); err != nil {
				return err
			}
			due = b.keepOne
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// beside has do run once nothing else is asked of the disk, and returns what it returns, or
// the error of ctx as soon as that ends.
func (b *backups) beside(ctx context.Context, do func(context.Context) time.Duration) (time.Duration, error) {
	late := time.NewTicker(b.interval)
	defer late.Stop()
	done := make(chan time.Duration, 1)
	free := b.disk // until do has begun
	for {
		select {
		case free <- struct{}{}:
			free = nil
			go func() {
				defer func() { <-b.disk }()
				done <- do(ctx)
			}()
		case wait := <-done:
			return wait, nil
		case <-late.C:
			b.log.Error("the directory for snapshots does not answer; none is kept until it does", "dir", b.path, "interval", b.interval)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// close waits until nothing is asked of the disk any more, or ctx ends.
func (b *backups) close(ctx context.Context) error {
	select {
	case b.disk <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.disk <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("--backup-dir %s does not answer: a snapshot is still being written: %w", b.path, ctx.Err())
	}
}

// firstDue is how long a new leader waits with its first snapshot: as long as the newest
// in its directory is not an interval old.
func (b *backups) firstDue(ctx context.Context) time.Duration {
	newest, ok, err := b.store.Newest(b.view().ClusterID)
	if err == nil && ok {
		b.last.Store(newest.Unix())
		if wait := untilBackup(newest, time.Now(), b.interval); wait > 0 {
			return wait
		}
	}
	return b.keepOne(ctx)
}

// untilBackup is how long there is until the next snapshot is due, by wall clocks that may
// have been set: at most an interval.
func untilBackup(newest, now time.Time, interval time.Duration) time.Duration {
	return min(max(newest.Add(interval).Sub(now), 0), interval)
}

// keepOne makes one snapshot, and returns how long there is until the next.
func (b *backups) keepOne(ctx context.Context) time.Duration {
	view, now := b.view(), time.Now()
	made, err := b.store.Save(func(w io.Writer) error { return view.WriteFile(ctx, w, b.by, now) })
	switch {
	case made.Path == "" && ctx.Err() != nil: // another leads, and goes on
	case made.Path == "":
		b.log.Error("no snapshot could be kept; the next try comes after the interval", "dir", b.path, "interval", b.interval, "error", err)
	default:
		b.last.Store(made.Header.Created.Unix())
		b.log.Info("snapshot kept", "file", made.Path, "index", made.Header.Index, "removed", made.Removed)
		if err != nil {
			b.log.Warn("older snapshots stay", "dir", b.path, "error", err)
		}
		if made.Bytes > b.most {
			b.log.Warn("the snapshot is larger than what is restored here: raise --restore-bytes, with four times the memory", "bytes", made.Bytes, "restored", b.most)
		}
	}
	return b.interval
}
