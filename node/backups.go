package node

import (
	"context"
	"io"
	"time"

	"github.com/folkmoot/folkmoot/backup"
)

// keepBackups keeps snapshots of the state in BackupDir while this coordinator leads.
// What fails is tried again an interval later.
func (n *Node) keepBackups(ctx context.Context) error {
	dir := backup.Dir{Path: n.cfg.BackupDir, Keep: n.cfg.BackupKeep}
	wait := n.firstBackup(dir)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if wait = n.cfg.BackupInterval; n.machine.View().ClusterID == "" {
			wait = clusterIDRetry // it is just being founded
			continue
		}
		n.backUp(ctx, dir)
	}
}

// firstBackup is how long a new leader waits with its first snapshot: as long as the
// newest in its directory is not an interval old.
func (n *Node) firstBackup(dir backup.Dir) time.Duration {
	newest, ok, err := dir.Newest(n.machine.View().ClusterID)
	if err != nil || !ok {
		return 0
	}
	n.lastBackup.Store(newest.Unix())
	return untilBackup(newest, time.Now(), n.cfg.BackupInterval)
}

// untilBackup is how long there is until the next snapshot is due, by wall clocks that may
// have been set: at most an interval.
func untilBackup(newest, now time.Time, interval time.Duration) time.Duration {
	return min(max(newest.Add(interval).Sub(now), 0), interval)
}

// backUp makes one snapshot.
func (n *Node) backUp(ctx context.Context, dir backup.Dir) {
	view, now := n.machine.View(), time.Now()
	made, err := dir.Save(func(w io.Writer) error { return view.WriteFile(ctx, w, n.cfg.ID, now) })
	switch {
	case made.Path == "" && ctx.Err() != nil: // another leads, and goes on
	case made.Path == "":
		n.log.Error("no snapshot could be kept; the next try comes after the interval", "dir", dir.Path, "interval", n.cfg.BackupInterval, "error", err)
	default:
		n.lastBackup.Store(made.Header.Created.Unix())
		n.log.Info("snapshot kept", "file", made.Path, "index", made.Header.Index, "removed", made.Removed)
		if err != nil {
			n.log.Warn("older snapshots stay", "dir", dir.Path, "error", err)
		}
	}
}
