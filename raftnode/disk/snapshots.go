package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// keepSnapshots is how many snapshots stay on disk.
const keepSnapshots = 3

// snapshotsDir is where raft's file store puts snapshots below its base.
const snapshotsDir = "snapshots"

// SnapshotStore is a raft.SnapshotStore that shows raft its newest snapshot only,
// so that a damaged one is an error and not a silent fall back to an older
// state with a hole behind it. It tells who reads from one what index it is.
type SnapshotStore struct {
	raft.SnapshotStore
	dir string // "" when there are no files

	// Of the newest snapshot, as far as this process has looked.
	lastIndex atomic.Uint64
	lastMade  atomic.Int64 // milliseconds since 1970; 0: not known

	mu        sync.Mutex
	lastError error // why the last Open failed
}

// openSnapshots removes what crashed writers and removers left, and checks that
// every other snapshot is whole as far as its description goes.
func openSnapshots(base string, log hclog.Logger) (*SnapshotStore, error) {
	dir := filepath.Join(base, snapshotsDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	var whole [][3]uint64
	for _, e := range entries {
		if place, ok := parseSnapshotName(e.Name()); ok && e.IsDir() {
			whole = append(whole, place)
		}
	}
	slices.SortFunc(whole, func(a, b [3]uint64) int { return slices.Compare(b[:], a[:]) })
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		// Older than those that are kept: a crash came while it was removed.
		if place, ok := parseSnapshotName(e.Name()); ok && slices.Index(whole, place) >= keepSnapshots {
			log.Warn("removing a snapshot that was not wholly removed", "path", path)
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("remove old snapshot: %w", err)
			}
			continue
		}
		if strings.HasSuffix(e.Name(), ".tmp") {
			log.Warn("removing a snapshot that was never finished", "path", path)
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
			continue
		}
		if !e.IsDir() {
			continue
		}
		if err := checkSnapshotMeta(path); err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", path, err)
		}
	}
	store, err := raft.NewFileSnapshotStoreWithLogger(base, keepSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("snapshots %s: %w", dir, err)
	}
	return &SnapshotStore{SnapshotStore: store, dir: dir}, nil
}

// parseSnapshotName reads the library's name of a snapshot: term, index and time in
// milliseconds, by which they are ordered.
func parseSnapshotName(name string) (place [3]uint64, ok bool) {
	parts := strings.Split(name, "-")
	if len(parts) != len(place) {
		return place, false
	}
	for i, p := range parts {
		var err error
		if place[i], err = strconv.ParseUint(p, 10, 64); err != nil {
			return place, false
		}
	}
	return place, true
}

// checkSnapshotMeta makes sure that a snapshot's description can be read and that its
// state has the size it names; raft checks the state's checksum when it reads.
func checkSnapshotMeta(dir string) error {
	path := filepath.Join(dir, "meta.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// A crash right after the snapshot may have kept the checksum from disk.
	sum, err := os.ReadFile(filepath.Join(dir, metaChecksumFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil && string(sum) != checksumLine(text) {
		return fmt.Errorf("%s is damaged: it does not fit its checksum in %s", path, metaChecksumFile)
	}
	var meta raft.SnapshotMeta
	if err := json.Unmarshal(text, &meta); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	if meta.Index == 0 || meta.Term == 0 || meta.ID != filepath.Base(dir) || len(meta.Configuration.Servers) == 0 {
		return fmt.Errorf("%s is damaged: it names index %d, term %d, id %q and %d servers", path, meta.Index, meta.Term, meta.ID, len(meta.Configuration.Servers))
	}
	info, err := os.Stat(filepath.Join(dir, "state.bin"))
	if err != nil {
		return err
	}
	if info.Size() != meta.Size {
		return fmt.Errorf("state.bin has %d bytes, not %d", info.Size(), meta.Size)
	}
	return nil
}

// metaChecksumFile is the file with the checksum of meta.json, which holds the
// configuration and has none in the library's format.
const metaChecksumFile = "meta.crc32c"

func checksumLine(text []byte) string { return fmt.Sprintf("%08x\n", crc32.Checksum(text, castagnoli)) }

// writeMetaChecksum writes the checksum of a finished snapshot's description.
func writeMetaChecksum(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, metaChecksumFile), []byte(checksumLine(text)), 0o600)
}

// List tells the newest snapshot.
func (s *SnapshotStore) List() ([]*raft.SnapshotMeta, error) {
	list, err := s.SnapshotStore.List()
	list = list[:min(1, len(list))]
	if len(list) > 0 {
		s.note(list[0].Index, list[0].ID)
	}
	return list, err
}

// Create begins a snapshot, which counts as the newest once it is closed.
func (s *SnapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, at, t)
	if err != nil {
		return nil, err
	}
	return &checksumSink{SnapshotSink: sink, store: s, index: index}, nil
}

type checksumSink struct {
	raft.SnapshotSink
	store *SnapshotStore
	index uint64
}

func (s *checksumSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	s.store.note(s.index, s.ID())
	if s.store.dir == "" {
		return nil
	}
	return writeMetaChecksum(filepath.Join(s.store.dir, s.ID()))
}

// Open reads a snapshot; the reader knows what it reads.
func (s *SnapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.SnapshotStore.Open(id)
	if err != nil {
		path := id
		if s.dir != "" {
			path = filepath.Join(s.dir, id)
		}
		err = fmt.Errorf("snapshot %s is damaged: %w", path, err)
		s.mu.Lock()
		s.lastError = err
		s.mu.Unlock()
		return nil, nil, err
	}
	return meta, &snapshotReader{ReadCloser: r, meta: meta}, nil
}

// GiveToOwner makes whoever owns a data directory's identity the owner of the snapshots in it, if this process is root.
func (s *SnapshotStore) GiveToOwner(dir string) error { return GiveToOwner(dir, s.dir) }

// note records which snapshot is the newest.
func (s *SnapshotStore) note(index uint64, id string) {
	s.lastIndex.Store(index)
	if place, ok := parseSnapshotName(id); ok {
		s.lastMade.Store(int64(place[2]))
	}
}

// LastMade is when the newest snapshot was begun; the zero time if there is none.
func (s *SnapshotStore) LastMade() time.Time {
	if at := s.lastMade.Load(); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// LastIndex is the index of the newest snapshot, 0 if there is none.
func (s *SnapshotStore) LastIndex() uint64 { return s.lastIndex.Load() }

// OpenError is why the last Open failed.
func (s *SnapshotStore) OpenError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastError
}

// snapshotReader is a snapshot being read, with its place in the log.
type snapshotReader struct {
	io.ReadCloser
	meta *raft.SnapshotMeta
}

// SnapshotMetaOf finds the snapshotReader inside what raft hands to Restore.
func SnapshotMetaOf(r io.ReadCloser) (*raft.SnapshotMeta, bool) {
	for {
		switch v := r.(type) {
		case *snapshotReader:
			return v.meta, true
		case raft.ReadCloserWrapper:
			r = v.WrappedReadCloser()
		default:
			return nil, false
		}
	}
}
