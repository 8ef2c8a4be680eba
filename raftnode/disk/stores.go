// Package disk keeps what one server of the group has on disk: its identity, its
// votes, its log and its snapshots, each with checksums.
package disk

import (
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/durable"
	"github.com/folkmoot/folkmoot/wire/histogram"
)

// What a data directory holds, beside local.db.
const (
	boltFile = "raft.db" // votes, and with LogStoreBolt the log
	walDir   = "wal"     // the log with LogStoreWAL
)

// cachedEntries is how many of the newest entries are kept in memory, so that
// replication and apply do not read them back from disk.
const cachedEntries = 1024

// Kinds of log stores.
const (
	LogStoreBolt = "bolt" // raft-boltdb, the default
	LogStoreWAL  = "wal"  // raft-wal for the log, bbolt for the votes
)

// Config says how the stores of a data directory are opened.
type Config struct {
	Dir         string       // the data directory, which the Identity has prepared
	LogStore    string       // LogStoreBolt or LogStoreWAL; "": what the first start chose, else bolt
	MaxFileSize int          // bytes raft.db may grow to; 0: no limit
	Logger      hclog.Logger // of the libraries; required

	// Logs, Stable and Snapshots replace the files, for tests.
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
}

// Stores is what a node keeps on disk, opened and checked. Every error of Log
// and Stable goes to the FailStop.
type Stores struct {
	Kind      string        // LogStoreBolt or LogStoreWAL
	Log       raft.LogStore // fail-stop, checksums, cache
	Stable    raft.StableStore
	Snapshots *SnapshotStore

	// Stored is how long it took to store entries, until they were on the disk.
	Stored histogram.Histogram

	dir     string
	bolt    *raftboltdb.BoltStore // raft.db; nil where there are no files
	closers []func() error
}

// Close closes the files. Nothing may use the stores any more.
func (s *Stores) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// LogSize returns the bytes of the files that hold votes and log, and how many of them are
// free for further entries: what Compact gives back. It reads the sizes of files, and
// returns zeros where there are none.
func (s *Stores) LogSize() (size, free uint64) {
	if s.bolt == nil {
		return 0, 0
	}
	files := []string{join(s.dir, boltFile)}
	if s.Kind == LogStoreWAL {
		if in, err := os.ReadDir(join(s.dir, walDir)); err == nil {
			for _, f := range in {
				files = append(files, join(s.dir, walDir, f.Name()))
			}
		}
	}
	for _, path := range files {
		if info, err := os.Stat(path); err == nil { // else it was removed just now
			size += uint64(info.Size())
		}
	}
	stats := s.bolt.Stats()
	return size, uint64(stats.FreePageN+stats.PendingPageN) * uint64(os.Getpagesize())
}

// keyServer names the server that the votes in raft.db belong to.
var keyServer = []byte("folkmoot.server")

// Open opens log, votes and snapshots, makes them at the first start, and reads
// every entry once. Its errors name the file.
func Open(c Config, id *Identity, stop *FailStop) (_ *Stores, err error) {
	s := &Stores{dir: c.Dir}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	self := id.Record()
	if s.Kind, err = logStoreKind(c, self); err != nil {
		return nil, err
	}
	logs, stable := c.Logs, c.Stable
	if logs == nil {
		if logs, stable, err = s.openFiles(c, id, self.LogStore != ""); err != nil {
			return nil, err
		}
	}
	if c.Snapshots != nil {
		s.Snapshots = &SnapshotStore{SnapshotStore: c.Snapshots}
	} else if s.Snapshots, err = openSnapshots(c.Dir, c.Logger); err != nil {
		return nil, err
	}
	if err := checkEntries(join(c.Dir, logFile(s.Kind)), logs, s.Snapshots, self.Last); err != nil {
		return nil, err
	}
	s.Log = checkedLogStore{store: logs, stop: stop, took: &s.Stored}
	if s.Log, err = raft.NewLogCache(cachedEntries, s.Log); err != nil {
		return nil, err
	}
	s.Stable = checkedStableStore{store: stable, stop: stop}
	return s, id.Update(func(l *SelfRecord) { l.LogStore, l.Last = s.Kind, 0 })
}

func logFile(kind string) string {
	if kind == LogStoreWAL {
		return walDir
	}
	return boltFile
}

// Kind is what the first start chose; another choice later is refused.
func logStoreKind(c Config, self SelfRecord) (string, error) {
	switch {
	case self.LogStore == "" && c.LogStore == "":
		return LogStoreBolt, nil
	case self.LogStore == "":
		return c.LogStore, nil
	case c.LogStore != "" && c.LogStore != self.LogStore:
		return "", wire.Invalid("log_store", "%s was begun with the log store %s and cannot go on with %s", c.Dir, self.LogStore, c.LogStore)
	}
	return self.LogStore, nil
}

// openFiles opens raft.db and, with LogStoreWAL, the directory of the log.
// begun says that they must be there already.
func (s *Stores) openFiles(c Config, id *Identity, begun bool) (raft.LogStore, raft.StableStore, error) {
	path := join(c.Dir, boltFile)
	if begun {
		for _, p := range []string{path, join(c.Dir, logFile(s.Kind))} {
			if info, err := os.Stat(p); err != nil || info.Size() == 0 {
				return nil, nil, fmt.Errorf("%s is missing or empty: the data directory is not whole; remove this coordinator, empty the directory and let it join anew", p)
			}
		}
	}
	var bolt *raftboltdb.BoltStore
	err := RecoverFaults(path, func() (err error) {
		bolt, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: boltOptions(c.MaxFileSize)})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	s.bolt = bolt
	s.closers = append(s.closers, bolt.Close)
	if err := RecoverFaults(path, func() error { return checkVotes(bolt, id.ServerID(), begun) }); err != nil {
		return nil, nil, err
	}
	if s.Kind == LogStoreBolt {
		return bolt, bolt, durable.SyncDir(c.Dir)
	}
	wal, err := s.openWAL(c)
	return wal, bolt, err
}

func (s *Stores) openWAL(c Config) (wal *raftwal.WAL, err error) {
	dir := join(c.Dir, walDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// raft-wal keeps its list of segments in a bbolt file of its own.
	metaPath := join(dir, "wal-meta.db")
	err = RecoverFaults(metaPath, func() error {
		f, err := os.Open(metaPath)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return checkPages(f)
	})
	if err != nil {
		return nil, err
	}
	// The library does not close it, not even when it cannot open the rest.
	meta := &metadb.BoltMetaDB{}
	s.closers = append(s.closers, meta.Close)
	err = RecoverFaults(dir, func() (err error) {
		wal, err = raftwal.Open(dir, raftwal.WithLogger(c.Logger), raftwal.WithMetaStore(meta))
		return err
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, wal.Close)
	return wal, durable.SyncDir(c.Dir)
}

// checkVotes makes sure that the votes are whole and this server's own.
func checkVotes(stable raft.StableStore, serverID string, begun bool) error {
	owner, err := stable.Get(keyServer)
	switch {
	case notFound(err) && !begun:
		return stable.Set(keyServer, addChecksum(keyServer, []byte(serverID)))
	case notFound(err):
		return errors.New("it was emptied: it does not say which server it belongs to")
	case err != nil:
		return err
	}
	if owner, err = stripChecksum(keyServer, owner); err != nil {
		return err
	}
	if string(owner) != serverID {
		return fmt.Errorf("it belongs to server %s, not to %s", owner, serverID)
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		sealed, err := stable.Get([]byte(key))
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := stripChecksum([]byte(key), sealed); err != nil {
			return err
		}
	}
	return nil
}

// checkEntries reads the whole log once, so that damage shows now and not in
// the middle of an election. A gap is right only below the newest snapshot. A
// log must not be shorter than it was at the last orderly stop: raft-wal takes
// a damaged end for a write that a crash cut short, and drops it.
func checkEntries(path string, logs raft.LogStore, snaps *SnapshotStore, stoppedAt uint64) error {
	list, err := snaps.List()
	if err != nil {
		return err
	}
	var covered uint64
	if len(list) > 0 {
		covered = list[0].Index
	}
	return RecoverFaults(path, func() error {
		first, err := logs.FirstIndex()
		if err != nil {
			return err
		}
		last, err := logs.LastIndex()
		if err != nil {
			return err
		}
		if first > covered+1 {
			return fmt.Errorf("the log begins at %d, but the newest snapshot ends at %d: entries or snapshots are missing", first, covered)
		}
		if last < stoppedAt {
			return fmt.Errorf("the log ends at %d, but at the last stop it ended at %d: its end is damaged", last, stoppedAt)
		}
		if first == 0 {
			return nil
		}
		for i := first; i <= last; i++ {
			var l raft.Log
			err := readEntry(logs, i, &l)
			if errors.Is(err, raft.ErrLogNotFound) && i <= covered {
				continue
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
