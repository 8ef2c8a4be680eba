package snapshots

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// MaxFile is how many bytes a snapshot to restore may have, and chunkSize how many of them
// one entry of the log takes along: in JSON they are a third more.
const (
	MaxFile   = fsm.MaxRestoreFile
	chunkSize = 128 << 10
)

// patience is how long a step of a restore is tried while there is no leader, and pause the
// wait between two tries.
const (
	patience = time.Minute
	pause    = 200 * time.Millisecond
)

// restoreRetry is when it makes sense to come again while another file is restored.
const restoreRetry = 10 * time.Second

// Target says over what a file is restored.
type Target struct {
	Cluster string // the id of this cluster, told again, so that no other is overwritten by mistake
	Foreign bool   // the file may be of another cluster
	Key     string // a repeat with the same file under the same key is the same restore; "": none is
}

// Restore puts the state of a file, which is opened once it is clear that the caller may do
// that, in place of the cluster's, all of it or nothing. The file is read whole, as long as
// the context lasts that open is given, and checked before anything is proposed; then it goes
// through the log in pieces, which change nothing until the last step. A change of leaders in
// the middle is waited for. It blocks for as long as that takes. Errors: invalid (no whole
// snapshot, with its first wrong line), too_large, busy (another file is restored by this
// coordinator), conflict (another cluster, of the file or of the target; a level that the
// cluster is not at; another restore began), unavailable (nothing was restored), unknown
// (look at the state before it is repeated).
func (s *Snapshots) Restore(ctx context.Context, who control.Principal, to Target, open func(context.Context) (io.Reader, error)) (wire.Restored, error) {
	if err := s.Authorize(who, control.Admin, control.Thing{}); err != nil {
		return wire.Restored{}, err
	}
	if err := s.GrowthRefused(); err != nil { // the whole file goes through the log
		return wire.Restored{}, err
	}
	if to.Cluster == "" {
		return wire.Restored{}, wire.Invalid("cluster", "cluster is the id of the cluster whose state is replaced: raftctl status shows it")
	}
	if err := control.CheckKey(to.Key); err != nil {
		return wire.Restored{}, err
	}
	held, release := s.Hold(ctx, who)
	defer release()
	view, _, err := s.View(held, control.Read{Consistency: string(raftnode.Strict)})
	if err != nil {
		return wire.Restored{}, err
	}
	if to.Cluster != view.ClusterID {
		return wire.Restored{}, wire.Refuse(wire.CodeConflict, "this is cluster %s, not %.80q: nothing was restored", view.ClusterID, to.Cluster)
	}
	if !s.restoring.CompareAndSwap(false, true) {
		busy := wire.Refuse(wire.CodeBusy, "a snapshot is being restored by this coordinator: nothing was done with this one")
		busy.RetryAfter = restoreRetry
		return wire.Restored{}, busy
	}
	defer s.restoring.Store(false)
	file, err := open(held)
	if err != nil {
		return wire.Restored{}, err
	}
	temp, begin, err := s.receive(held, file)
	if err != nil {
		return wire.Restored{}, err
	}
	defer func() {
		temp.Close()
		_ = os.Remove(temp.Name()) // else it goes at the next start
	}()
	rows, err := s.examine(temp, &begin)
	if err != nil {
		return wire.Restored{}, err
	}
	begin.ID, begin.Foreign = restoreID(to, begin.SHA256), to.Foreign
	done, err := s.carryOut(ctx, held, who, temp, begin)
	if err != nil {
		return wire.Restored{}, err
	}
	s.Log().Warn("the state was restored from a snapshot", "cluster", begin.Cluster, "from", begin.Index, "index", done.Index, "rows", rows)
	return wire.Restored{Cluster: view.ClusterID, FileCluster: begin.Cluster, FileIndex: begin.Index, Rows: rows, Index: done.Index}, nil
}

// tempName is what the bytes of a file are kept in meanwhile.
const tempName = "restore-*.tmp"

// receive writes a file to the disk. ctx is that by which it is read.
func (s *Snapshots) receive(ctx context.Context, file io.Reader) (*os.File, fsm.BeginRestore, error) {
	temp, err := os.CreateTemp(s.dir, tempName)
	if err != nil {
		return nil, fsm.BeginRestore{}, wire.NotTried("no room for the snapshot: %v", err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(&onDisk{w: temp}, sum), io.LimitReader(file, MaxFile+1))
	var full *diskError
	switch {
	case err == nil && n > MaxFile:
		err = wire.Refuse(wire.CodeTooLarge, "a snapshot to restore has at most %d bytes", MaxFile)
	case errors.As(err, &full):
		err = wire.NotTried("no room for the snapshot: %v", full.error)
	case err != nil && ctx.Err() != nil:
		err = ended(ctx)
	case err != nil:
		err = wire.Invalid("", "the body broke off after %d bytes: %v", n, err)
	}
	if err != nil {
		temp.Close()
		_ = os.Remove(temp.Name())
		return nil, fsm.BeginRestore{}, err
	}
	return temp, fsm.BeginRestore{Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// ended says why nothing was restored by the time ctx ended.
func ended(ctx context.Context) error {
	var why *wire.Error
	if errors.As(context.Cause(ctx), &why) {
		return why
	}
	return wire.NotTried("nothing was restored: %v", context.Cause(ctx))
}

// onDisk marks the errors of the disk.
type onDisk struct{ w io.Writer }

type diskError struct{ error }

func (d *onDisk) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		err = &diskError{err}
	}
	return n, err
}

// restoreID is the id of the restore of a file: with a key the one that both stand for.
func restoreID(to Target, sum string) string {
	var b [32]byte
	if to.Key == "" {
		rand.Read(b[:])
	} else {
		b = control.Digest("folkmoot restore v1", to.Key, sum, strconv.FormatBool(to.Foreign))
	}
	return "r_" + hex.EncodeToString(b[:16])
}

// examine reads the whole file as the state machine will, and notes what its header says.
func (s *Snapshots) examine(file io.ReadSeeker, begin *fsm.BeginRestore) (rows int, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, wire.NotTried("read the snapshot again: %v", err)
	}
	f, err := fsm.ReadFileUpTo(file, s.Bounds().RestoreBytes)
	var long *fsm.LengthError
	switch {
	case errors.As(err, &long):
		return 0, wire.Refuse(wire.CodeTooLarge, "%v: nothing was restored; while it is, every coordinator holds the state of before, that of the file, and the file: "+
			"with the memory for that, --restore-bytes takes more", long)
	case err != nil:
		return 0, wire.Invalid("", "%v", err)
	}
	begin.Cluster, begin.Index, begin.Level, begin.Bytes = f.Header.Cluster, f.Header.Index, f.Header.Level, f.Bytes
	return f.Rows, nil
}

// carryOut takes a file through the log. held is ctx for as long as the caller may do that.
func (s *Snapshots) carryOut(ctx, held context.Context, who control.Principal, file io.ReaderAt, begin fsm.BeginRestore) (fsm.Restored, error) {
	author := who.Author(control.Admin, "")
	sent := int64(0)
	drop := func(err error) (fsm.Restored, error) {
		now, _ := s.State().Restoring()
		if now.ID != begin.ID {
			now.Changed = 0 // as far as this coordinator knows nothing of it is there
		} else if now.Received > sent {
			return fsm.Restored{}, err // a repeat goes on with it
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), propose.Timeout)
		defer cancel()
		_, _, _ = propose.Do[bool](ctx, s.Proposer(), fsm.KindDropRestore, author, fsm.DropRestore{ID: begin.ID, Changed: now.Changed}) // else the leader drops it in time
		return fsm.Restored{}, err
	}
	begun, unsure, err := step[fsm.Restoring](held, s, fsm.KindBeginRestore, author, begin)
	if err != nil {
		if !unsure {
			return fsm.Restored{}, err
		}
		return drop(notRestored(err))
	}
	buf := make([]byte, chunkSize)
	for at := begun.Received; at < begin.Size; { // a repeat begins where the one before ended
		n, err := file.ReadAt(buf[:min(chunkSize, begin.Size-at)], at)
		if n == 0 && err != nil {
			return drop(wire.NotTried("nothing was restored: read the snapshot again: %v", err))
		}
		sent = at + int64(n)
		if _, _, err := step[int64](held, s, fsm.KindRestoreChunk, author, fsm.RestoreChunk{ID: begin.ID, At: at, Data: buf[:n]}); err != nil {
			return drop(notRestored(err))
		}
		at = sent
	}
	// The tokens that come with the state end what is held by who had none: not before the
	// outcome is known.
	if err := s.Authorize(who, control.Admin, control.Thing{}); err != nil {
		return drop(err)
	}
	done, unsure, err := step[fsm.Restored](ctx, s, fsm.KindCommitRestore, author, fsm.CommitRestore{ID: begin.ID})
	switch {
	case err == nil:
		return done, nil
	case unsure && wire.CodeOf(err) != wire.CodeUnknown: // of one try that may have been the one
		return done, wire.Unknown(fmt.Errorf("the last try: %w", err))
	case unsure:
		return done, err
	}
	return drop(notRestored(err))
}

// notRestored says of an unknown outcome of a step before the last that nothing was restored.
func notRestored(err error) error {
	if wire.CodeOf(err) == wire.CodeUnknown {
		return wire.NotTried("nothing was restored: %v", err)
	}
	return err
}

// step proposes one command until its outcome is known, for as long as patience lasts: done
// twice, each of them is one. Where the error is not nil, unsure says that a try may have been
// carried out all the same.
func step[R any](ctx context.Context, s *Snapshots, kind string, author propose.Author, body any) (out R, unsure bool, err error) {
	for began := time.Now(); ; {
		if out, _, err = propose.Do[R](ctx, s.Proposer(), kind, author, body); err == nil {
			return out, false, nil
		}
		code := wire.CodeOf(err)
		unsure = unsure || code == wire.CodeUnknown || code == wire.CodeInternal
		if code != wire.CodeUnknown && code != wire.CodeUnavailable && code != wire.CodeBusy {
			return out, unsure, err
		}
		if time.Since(began) > patience || !control.Sleep(ctx, pause) {
			return out, unsure, err
		}
	}
}
