package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/histogram"
)

// slowStore is how long one write to the log may take before the disk counts
// as failed: raft does nothing else meanwhile and so could never be deposed by
// itself. Time in which this process stood still does not count.
const slowStore = 10 * time.Second

// FailStop ends the process with the first error of the storage. An fsync that
// failed cannot be repeated, and after a failed append raft's idea of its last
// entry may be wrong, so nothing may be asked of this storage again.
type FailStop struct {
	once   sync.Once
	fatal  func(error)
	onFail func(error)
}

// NewFailStop returns a FailStop that calls onFail and then fatal, once, with
// the first error. fatal does not return in production.
func NewFailStop(fatal, onFail func(error)) *FailStop {
	return &FailStop{fatal: fatal, onFail: onFail}
}

// check returns nil and raft.ErrLogNotFound as they are. Any other error is
// fatal: if fatal comes back, the calling goroutine ends here, with its
// deferred answers saying no.
func (f *FailStop) check(doing string, err error) error {
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	f.Fail(fmt.Errorf("%s: %w", doing, err))
	runtime.Goexit()
	return err
}

// Fail ends the process because of err, unless an earlier error already has.
func (f *FailStop) Fail(err error) {
	f.once.Do(func() {
		f.onFail(err)
		f.fatal(err)
	})
}

// checkedLogStore is a raft.LogStore whose entries carry a checksum and whose errors
// end the process.
type checkedLogStore struct {
	store raft.LogStore
	stop  *FailStop
	took  *histogram.Histogram // of storing entries
}

func (s checkedLogStore) FirstIndex() (uint64, error) {
	i, err := s.store.FirstIndex()
	return i, s.stop.check("first index of the log", err)
}

func (s checkedLogStore) LastIndex() (uint64, error) {
	i, err := s.store.LastIndex()
	return i, s.stop.check("last index of the log", err)
}

func (s checkedLogStore) GetLog(index uint64, l *raft.Log) error {
	err := readEntry(s.store, index, l)
	return s.stop.check("read the log", err)
}

func (s checkedLogStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s checkedLogStore) StoreLogs(logs []*raft.Log) error {
	sealed := make([]raft.Log, len(logs))
	refs := make([]*raft.Log, len(logs))
	sums := make([]byte, 4*len(logs))
	for i, l := range logs {
		sealed[i] = *l
		sum := sums[4*i : 4*i+4 : 4*i+4]
		binary.BigEndian.PutUint32(sum, checksum(l))
		sealed[i].Extensions = sum
		refs[i] = &sealed[i]
	}
	watch := awake.AfterFunc(slowStore, func() {
		s.stop.Fail(fmt.Errorf("append to the log: the disk has not answered for %s", slowStore))
	})
	began := time.Now()
	err := s.store.StoreLogs(refs)
	s.took.Observe(time.Since(began))
	watch.Stop()
	return s.stop.check("append to the log", err)
}

func (s checkedLogStore) DeleteRange(from, to uint64) error {
	return s.stop.check("delete from the log", s.store.DeleteRange(from, to))
}

// IsMonotonic passes on that raft-wal cannot hold a log with a gap.
func (s checkedLogStore) IsMonotonic() bool {
	m, ok := s.store.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// readEntry reads and verifies one entry.
func readEntry(s raft.LogStore, index uint64, l *raft.Log) error {
	if err := s.GetLog(index, l); errors.Is(err, raft.ErrLogNotFound) {
		return err
	} else if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	if l.Index != index || len(l.Extensions) != 4 || binary.BigEndian.Uint32(l.Extensions) != checksum(l) {
		return fmt.Errorf("entry %d does not fit its checksum", index)
	}
	l.Extensions = nil
	return nil
}

// checksum covers what raft acts on: place, term, kind and data.
func checksum(l *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data)
}

// checkedStableStore is a raft.StableStore whose values carry a checksum and whose
// errors end the process.
type checkedStableStore struct {
	store raft.StableStore
	stop  *FailStop
}

// notFound is what raft expects, by its text, of a key that was never set.
func notFound(err error) bool { return err != nil && err.Error() == "not found" }

func (s checkedStableStore) Set(key, value []byte) error {
	return s.stop.check("store a vote", s.store.Set(key, addChecksum(key, value)))
}

func (s checkedStableStore) Get(key []byte) ([]byte, error) {
	sealed, err := s.store.Get(key)
	if notFound(err) || err == nil && len(sealed) == 0 {
		return nil, errKeyNotFound
	}
	if err != nil {
		return nil, s.stop.check("read a vote", err)
	}
	value, err := stripChecksum(key, sealed)
	return value, s.stop.check("read a vote", err)
}

var errKeyNotFound = errors.New("not found")

func (s checkedStableStore) SetUint64(key []byte, v uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

func (s checkedStableStore) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, s.stop.check("read a vote", fmt.Errorf("the record %q is %d bytes long, not 8", key, len(b)))
	}
	return binary.BigEndian.Uint64(b), nil
}
