package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/fsm/snapfile"
)

// WriteFile writes the state as a file of package snapfile: all but what belongs to this group of coordinators alone.
// It runs beside everything else, as long as w takes, with little memory; once ctx has ended it writes nothing more, and
// its error is the cause. created is the clock of the coordinator by.
func (s *State) WriteFile(ctx context.Context, w io.Writer, by string, created time.Time) error {
	f, err := snapfile.NewWriter(&during{ctx, w}, snapfile.Header{
		Cluster: s.ClusterID, Index: s.Index, Term: s.Group.Term, Level: s.Level, Created: created, Coordinator: by,
	})
	if err != nil {
		return err
	}
	for i := range domains {
		for name, row := range domains[i].table(s).Rows() {
			if slices.Contains(domains[i].stays, name) {
				continue
			}
			if err := f.Row(name, row); err != nil {
				return fmt.Errorf("table %s: %w", name, err)
			}
		}
	}
	_, err = f.Close()
	return err
}

// during writes until its context ends.
type during struct {
	ctx context.Context
	w   io.Writer
}

func (d *during) Write(p []byte) (int, error) {
	if err := context.Cause(d.ctx); err != nil {
		return 0, err
	}
	return d.w.Write(p)
}

// How large a file may be that is restored: its bytes, and uncompressed where --restore-bytes says nothing else. While it
// is, every coordinator holds the state of before, that of the file, and the file itself.
const (
	MaxRestoreFile      = 1 << 30
	DefaultRestoreBytes = 512 << 20
)

// File is what a file of package snapfile holds.
type File struct {
	Header snapfile.Header
	Rows   int
	Tables map[string]int // how many rows each has
	Bytes  int64          // uncompressed
	State  *State         // without coordinators: what is read from it is looked at, and restored from, never applied to
}

// ReadFile reads a whole file, checks every row of it, and what rows say of each other. Its error names the first line
// that is wrong.
func ReadFile(r io.Reader) (*File, error) { return readFile(r, Level, snapfile.MaxBytes) }

// LengthError says that a file is longer than what ReadFileUpTo was to read.
type LengthError = snapfile.LengthError

// ReadFileUpTo is ReadFile for files of at most so many bytes, uncompressed: what is read is in memory. Of a longer one
// no more is read, and the error is a *LengthError.
func ReadFileUpTo(r io.Reader, most int64) (*File, error) { return readFile(r, Level, most) }

func readFile(r io.Reader, maxLevel int, most int64) (*File, error) {
	in, err := snapfile.NewReaderUpTo(r, most)
	if err != nil {
		return nil, err
	}
	f := &File{Header: in.Header(), Tables: map[string]int{}, State: empty()}
	h, s := &f.Header, f.State
	if h.Level > maxLevel {
		return nil, in.Wrong(fmt.Errorf("level %d: this binary knows levels 1 to %d", h.Level, maxLevel))
	}
	s.Index, s.loaded, s.ClusterID, s.Level = h.Index, h.Index, h.Cluster, h.Level
	for {
		table, row, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.loadRow(table, row); err != nil {
			return nil, in.Wrong(err)
		}
		f.Tables[table]++
		for i := range domains {
			if slices.Contains(domains[i].stays, table) {
				return nil, in.Wrong(fmt.Errorf("table %s: it belongs to one group of coordinators, and is in no snapshot", table))
			}
		}
	}
	f.Rows, f.Bytes = in.Rows(), in.Bytes()
	if err := s.Verify(); err != nil {
		return nil, in.Wrong(err)
	}
	return f, nil
}
