package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/folkmoot/folkmoot/fsm/snapfile"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// A file that is restored goes through the log in chunks, which wait in the state and change
// nothing of it, until one command puts what they are together in place of what there was.
// The one who proposes has checked the whole file before the first of them.

// Rules of level 2: the numbers by which the log is judged, the same ones in every binary
// for ever.
const (
	restoreLevel   = 2
	maxRestoreSize = 4 << 30  // bytes of a file
	maxRestored    = 16 << 30 // bytes of its lines, uncompressed
)

// Names of the tables of what is restored.
const (
	rowRestoring = "fsm.restoring"
	rowChunk     = "fsm.chunk"
	rowRestored  = "fsm.restored"
)

// reasonRestored is why a session ended whose state is another now.
const reasonRestored = "restored"

// EventRestored tells that the state is that of a file.
const EventRestored = "restored"

// BeginRestore announces a file, and drops the chunks of one that was announced before. The
// proposer mints ID; applied twice it is one.
type BeginRestore struct {
	ID      string `json:"id"`
	Cluster string `json:"cluster"` // of the file, as its header says
	Index   uint64 `json:"index"`   // likewise
	Level   int    `json:"level"`   // likewise
	Size    int64  `json:"size"`    // of the file, in bytes
	Bytes   int64  `json:"bytes"`   // of its lines, uncompressed: no more is read of it
	SHA256  string `json:"sha256"`  // hex, of all its bytes
	// Foreign: it may be of another cluster. The tokens of one that is come with it.
	Foreign bool `json:"foreign,omitempty"`
}

// Restoring is the file that waits in the state.
type Restoring struct {
	BeginRestore
	Received int64  `json:"received"`
	Changed  uint64 `json:"changed"` // index of the last chunk
}

// Restored is the last file that was restored.
type Restored struct {
	ID      string    `json:"id"`
	Cluster string    `json:"cluster"` // of the file
	From    uint64    `json:"from"`    // index of the file
	Index   uint64    `json:"index"`   // at which it was restored
	At      time.Time `json:"at"`
}

// staged are the bytes of a file so far. The chunks are shared by all copies of the state
// that have them, and only grow.
type staged struct {
	Restoring
	chunks [][]byte
}

// Restoring returns the file that waits in the state; false: none does.
func (s *State) Restoring() (Restoring, bool) {
	if s.staged == nil {
		return Restoring{}, false
	}
	return s.staged.Restoring, true
}

func (tx *txn) beginRestore(c BeginRestore, _ time.Time) (Restoring, error) {
	switch {
	case c.ID == "" || c.Size <= 0 || c.Size > maxRestoreSize || len(c.SHA256) != hex.EncodedLen(sha256.Size):
		return Restoring{}, wire.Invalid("size", "a restore has an id, a sum, and 1 to %d bytes", int64(maxRestoreSize))
	case c.Bytes <= 0 || c.Bytes > maxRestored:
		return Restoring{}, wire.Invalid("bytes", "a file to restore has 1 to %d bytes, uncompressed", int64(maxRestored))
	case tx.ClusterID == "":
		return Restoring{}, wire.Refuse(wire.CodeConflict, "the cluster is not founded yet")
	case c.Cluster != tx.ClusterID && !c.Foreign:
		return Restoring{}, errOtherCluster(c.Cluster, tx.ClusterID)
	case c.Level < 1 || c.Level > tx.Level:
		return Restoring{}, wire.Refuse(wire.CodeConflict, "the snapshot is of level %d, the cluster at level %d: raftctl level raise", c.Level, tx.Level)
	case tx.staged != nil && tx.staged.ID == c.ID, tx.restored.ID == c.ID:
		if tx.staged != nil {
			return tx.staged.Restoring, nil // applied before
		}
		return Restoring{BeginRestore: c, Received: c.Size}, nil
	}
	tx.staged = &staged{Restoring: Restoring{BeginRestore: c, Changed: tx.Index}}
	return tx.staged.Restoring, nil
}

func errOtherCluster(file, here string) error {
	return wire.Refuse(wire.CodeConflict, "the snapshot is of cluster %.80s, this is cluster %s: --foreign restores it all the same", file, here)
}

// RestoreChunk is a piece of the file.
type RestoreChunk struct {
	ID   string `json:"id"`
	At   int64  `json:"at"` // so many bytes are before it
	Data []byte `json:"data"`
}

// addChunk answers how many bytes there are. A chunk that is there already is done.
func (tx *txn) addChunk(c RestoreChunk, _ time.Time) (int64, error) {
	f := tx.staged
	switch {
	case tx.restored.ID == c.ID:
		return c.At + int64(len(c.Data)), nil // applied before
	case f == nil || f.ID != c.ID:
		return 0, errNotRestoring(c.ID)
	case c.At >= 0 && c.At < f.Received && c.At+int64(len(c.Data)) <= f.Received:
		return f.Received, nil // applied before
	case c.At != f.Received || len(c.Data) == 0 || f.Received+int64(len(c.Data)) > f.Size:
		return 0, wire.Refuse(wire.CodeConflict, "%d bytes at %d do not follow %d of %d", len(c.Data), c.At, f.Received, f.Size)
	}
	next := &staged{f.Restoring, append(f.chunks[:len(f.chunks):len(f.chunks)], c.Data)}
	next.Received += int64(len(c.Data))
	next.Changed = tx.Index
	tx.staged = next
	return next.Received, nil
}

func errNotRestoring(id string) error {
	return wire.Refuse(wire.CodeConflict, "restore %.80s is not under way: it was given up, or another restore came after it: look at the state", id)
}

// CommitRestore puts the state of the file in place of what there is.
type CommitRestore struct {
	ID string `json:"id"`
}

func (tx *txn) commitRestore(c CommitRestore, at time.Time) (Restored, error) {
	f := tx.staged
	switch {
	case tx.restored.ID == c.ID && c.ID != "":
		return tx.restored, nil // applied before
	case f == nil || f.ID != c.ID:
		return Restored{}, errNotRestoring(c.ID)
	case f.Received != f.Size:
		return Restored{}, wire.Refuse(wire.CodeConflict, "%d of %d bytes are there", f.Received, f.Size)
	case f.Cluster != tx.ClusterID && !f.Foreign:
		return Restored{}, errOtherCluster(f.Cluster, tx.ClusterID)
	}
	if sum := f.sum(); sum != f.SHA256 {
		return Restored{}, wire.Refuse(wire.CodeConflict, "the bytes have the SHA-256 %s, want %.64s", sum, f.SHA256)
	}
	file, err := readFile(f.reader(), tx.maxLevel, f.Bytes)
	var long *snapfile.LengthError
	if errors.As(err, &long) {
		return Restored{}, wire.Refuse(wire.CodeConflict, "%v: another one was announced", long)
	}
	if err != nil { // these bytes were read whole before they were proposed
		return Restored{}, &stopError{fmt.Errorf("a snapshot to restore: %w: this binary is too old", err)}
	}
	if h := file.Header; h.Cluster != f.Cluster || h.Index != f.Index || h.Level != f.Level || file.Bytes != f.Bytes {
		return Restored{}, wire.Refuse(wire.CodeConflict, "the file is of cluster %.80s, index %d, level %d, and has %d bytes uncompressed: another one was announced",
			h.Cluster, h.Index, h.Level, file.Bytes)
	}
	tx.take(file, at)
	tx.restored = Restored{ID: f.ID, Cluster: f.Cluster, From: f.Index, Index: tx.Index, At: at}
	tx.staged = nil
	tx.loaded = tx.Index
	tx.emit(EventRestored, fmt.Sprint(f.Index), at)
	return tx.restored, nil
}

// take puts the rows of a file in place of those that are there. What belongs to this group of
// coordinators stays; so do its tokens, so that what was revoked stays so: those of a file come
// beside them if it is of another cluster, or if there are none.
func (tx *txn) take(file *File, at time.Time) {
	ahead := uint64(0)
	if file.Header.Index > tx.Index {
		ahead = file.Header.Index - tx.Index
	}
	tx.registry().EndAll(file.State.Registry, reasonRestored, at)
	if file.Header.Cluster != tx.ClusterID || !tx.Access.Required() {
		tx.access().TakeIn(file.State.Access, func(index uint64) uint64 { return jobs.Lowered(index, ahead) })
	}
	tx.Jobs = file.State.Jobs.Restored(tx.Index, ahead, reasonRestored, at)
	tx.copies[jobsDomain] = copied{own: true}
}

func (f *staged) sum() string {
	sum := sha256.New()
	for _, c := range f.chunks {
		sum.Write(c)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (f *staged) reader() io.Reader {
	all := make([]io.Reader, len(f.chunks))
	for i, c := range f.chunks {
		all[i] = bytes.NewReader(c)
	}
	return io.MultiReader(all...)
}

// DropRestore drops the chunks of a file that nobody goes on with.
type DropRestore struct {
	ID      string `json:"id"`
	Changed uint64 `json:"changed,omitempty"` // only if no chunk came after this index; 0: whatever came
}

func (tx *txn) dropRestore(c DropRestore, _ time.Time) (bool, error) {
	if tx.staged == nil || tx.staged.ID != c.ID || c.Changed != 0 && tx.staged.Changed != c.Changed {
		return false, nil
	}
	tx.staged = nil
	return true, nil
}

// chunk is a row of its table.
type chunk struct {
	N    int    `json:"n"`
	Data []byte `json:"data"`
}

// restoreRows yields what waits and what was restored last.
func (s *State) restoreRows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if s.restored.ID != "" && !yield(rowRestored, &s.restored) {
			return
		}
		if s.staged == nil || !yield(rowRestoring, &s.staged.Restoring) {
			return
		}
		for i, data := range s.staged.chunks {
			if !yield(rowChunk, &chunk{i, data}) {
				return
			}
		}
	}
}

// loadRestore adds a row of these tables.
func (s *State) loadRestore(name string, decode func(any) error) (known bool, err error) {
	switch name {
	case rowRestored:
		if err := decode(&s.restored); err != nil {
			return true, err
		}
		if s.restored.ID == "" {
			return true, errors.New("a restore without an id")
		}
	case rowRestoring:
		f := new(staged)
		if err := decode(&f.Restoring); err != nil {
			return true, err
		}
		if s.staged != nil || f.ID == "" {
			return true, errors.New("two restores, or one without an id")
		}
		s.staged = f
	case rowChunk:
		var c chunk
		if err := decode(&c); err != nil {
			return true, err
		}
		if s.staged == nil || c.N != len(s.staged.chunks) {
			return true, fmt.Errorf("chunk %d does not follow", c.N)
		}
		s.staged.chunks = append(s.staged.chunks, c.Data)
	default:
		return false, nil
	}
	return true, nil
}

// verifyRestore says where what waits contradicts itself.
func (s *State) verifyRestore() error {
	if s.staged == nil {
		return nil
	}
	received := int64(0)
	for _, c := range s.staged.chunks {
		received += int64(len(c))
	}
	if received != s.staged.Received || received > s.staged.Size {
		return fmt.Errorf("a restore has %d bytes, says %d, of %d", received, s.staged.Received, s.staged.Size)
	}
	return nil
}
