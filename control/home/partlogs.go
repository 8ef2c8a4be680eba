package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// MaxPartLog bounds the log of one try of one part, in bytes: when there was
// more output, the log has its first bytes and its last.
const MaxPartLog = wire.LogHead + wire.LogTail

// LogChunkSize is how much of a log one read returns at most.
const LogChunkSize = 128 << 10

// LogChunk is a piece of the log of one try.
type LogChunk struct {
	Part    int    `json:"part"`
	Attempt int    `json:"attempt"`
	Offset  int64  `json:"offset"` // of the first byte of Data in the output of the try
	Data    []byte `json:"data"`   // stdout and stderr as they came; empty at the end for now
	Next    int64  `json:"next"`   // the offset to read on from
	// End: the try has ended and nothing follows Data. Cut: the
	// output from Offset to Next was dropped: Data is a mark in its place.
	End bool `json:"end"`
	Cut bool `json:"cut,omitempty"`
}

// Appended answers append_log: how long the log is now.
type Appended struct {
	Size int64 `json:"size"`
}

// StoredChunk is what a log's keeper reads of it.
type StoredChunk struct {
	LogChunk
	More bool `json:"more,omitempty"` // there is more behind Next already
}

// partLogs are the logs of parts whose workers are at home here: the file
// <job>/<part>.<attempt>.log under the root for every try. The root is an
// os.Root, so that no name leads out of it, whatever it is.
type partLogs struct {
	root   *os.Root // nil: none are kept
	budget int64

	// mu guards used and the files, parts of which are written again.
	mu   sync.Mutex
	used int64 // bytes of all logs
}

func openPartLogs(dir string, budget int64) (*partLogs, error) {
	l := &partLogs{budget: budget}
	if dir == "" {
		return l, nil
	}
	dir = filepath.Join(dir, "joblogs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of part logs: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of part logs: %w", err)
	}
	l.root = root
	for _, job := range l.jobs() {
		l.used += l.size(job)
	}
	return l, nil
}

func (l *partLogs) close() {
	if l.root != nil {
		l.root.Close()
	}
}

// jobs returns the jobs that have logs here.
func (l *partLogs) jobs() (ids []string) {
	if l.root == nil {
		return nil
	}
	entries, err := fs.ReadDir(l.root.FS(), ".")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

func (l *partLogs) size(job string) (sum int64) {
	entries, err := fs.ReadDir(l.root.FS(), job)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// file returns the name of a log, or refuses what could not be one.
func (l *partLogs) file(job string, part, attempt int) (string, error) {
	if err := jobs.CheckID(job); err != nil {
		return "", err
	}
	if strings.ContainsAny(job, `/\`) || job == "." || job == ".." || part < 0 || attempt < 1 {
		return "", wire.Invalid("id", "job %.130q, part %d, try %d has no log", job, part, attempt)
	}
	return job + "/" + strconv.Itoa(part) + "." + strconv.Itoa(attempt) + ".log", nil
}

// append writes at the given offset what is not there yet and returns how much
// output the log knows of. An offset behind that is a conflict within the first
// wire.LogHead bytes; further behind the output between was dropped.
func (l *partLogs) append(in wire.AppendLog) (int64, error) {
	name, err := l.file(in.Job, in.Part, in.Attempt)
	if err != nil {
		return 0, err
	}
	if in.Offset < 0 || in.Offset > math.MaxInt64/2 {
		return 0, wire.Invalid("offset", "offset is from 0 to %d, not %d", int64(math.MaxInt64/2), in.Offset)
	}
	if l.root == nil {
		return 0, wire.Refuse(wire.CodeForbidden, "this coordinator keeps no part logs")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.root.Mkdir(in.Job, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("make the folder of job %s's logs: %w", in.Job, err)
	}
	f, err := l.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open part log: %w", err)
	}
	defer f.Close()
	log, err := openLog(f)
	if err != nil {
		return 0, err
	}
	end := in.Offset + int64(len(in.Data))
	switch {
	case end <= log.end:
		return log.end, nil // appended before
	case in.Offset > log.end && log.end < wire.LogHead:
		return log.end, wire.Refuse(wire.CodeConflict, "the log of part %d of job %s has %d bytes: nothing goes in at %d", in.Part, in.Job, log.end, in.Offset)
	}
	size := end
	if in.Offset > log.end || end > MaxPartLog {
		size = MaxPartLog + logTrailer
	}
	if growth := size - log.size; growth > 0 && l.used+growth > l.budget {
		return log.end, wire.Refuse(wire.CodeBusy, "the part logs of this coordinator have %d bytes, the most they may", l.used)
	}
	before := log.size
	err = log.add(in.Offset, in.Data)
	l.used += log.size - before
	if err != nil {
		return log.end, fmt.Errorf("write part log: %w", err)
	}
	return log.end, nil
}

// read returns a chunk of a log from offset on; one that is not there is empty.
func (l *partLogs) read(job string, part, attempt int, offset int64) (StoredChunk, error) {
	chunk := StoredChunk{LogChunk: LogChunk{Part: part, Attempt: attempt, Offset: offset, Next: offset}}
	name, err := l.file(job, part, attempt)
	if err != nil {
		return chunk, err
	}
	if l.root == nil {
		return chunk, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return chunk, nil
	}
	if err != nil {
		return chunk, fmt.Errorf("open part log: %w", err)
	}
	defer f.Close()
	log, err := openLog(f)
	if err != nil {
		return chunk, err
	}
	chunk.Data, chunk.Next, chunk.Cut, err = log.read(offset)
	if err != nil {
		return chunk, fmt.Errorf("read part log: %w", err)
	}
	chunk.More = chunk.Next < log.end
	return chunk, nil
}

// remove deletes the logs of a job.
func (l *partLogs) remove(job string) error {
	if l.root == nil {
		return nil
	}
	if _, err := l.file(job, 0, 1); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	size := l.size(job)
	if err := l.root.RemoveAll(job); err != nil {
		return fmt.Errorf("remove the logs of job %s: %w", job, err)
	}
	l.used -= size
	return nil
}

// AppendLog appends the output of a part to its log, which keeper (the id of a
// coordinator) keeps, and returns how long the log is now. Errors: invalid,
// conflict, busy, forbidden (no logs are kept there), unavailable.
func (h *Home) AppendLog(ctx context.Context, keeper string, in wire.AppendLog) (Appended, error) {
	if keeper == h.Self().ID {
		size, err := h.logs.append(in)
		return Appended{Size: size}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return askHome[Appended](ctx, h, keeper, "control.append_log", in)
}

// ReadLog reads a chunk of the log of one try from an offset on, which keeper
// keeps. Errors as of AppendLog.
func (h *Home) ReadLog(ctx context.Context, keeper string, try wire.PartRef, offset int64) (StoredChunk, error) {
	if keeper == h.Self().ID {
		return h.logs.read(try.Job, try.Part, try.Attempt, offset)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return askHome[StoredChunk](ctx, h, keeper, "control.read_log", readLogAt{Job: try.Job, Part: try.Part, Attempt: try.Attempt, Offset: offset})
}
