package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// maxLine bounds one line of a snapshot, in bytes. A row is little more than
// the command it came from, which wire.MaxCommand bounds.
const maxLine = 4 << 20

// Restore replaces the state by a snapshot, all of it or nothing: a snapshot
// that is cut short, changed, of another cluster or from a newer binary is
// refused with the line and the reason, and the state is as before. The feed
// starts anew: readers that are not yet at the snapshot lag.
//
// A snapshot older than the state is checked and then left aside, since nobody
// may see the state go back; the entries up to the present index may then be
// applied again, and are skipped.
func (m *Machine) Restore(r io.Reader) error {
	in := &loader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), state: empty(), maxLevel: m.maxLevel}
	if err := in.load(); err != nil {
		return fmt.Errorf("snapshot line %d: %w", in.line, err)
	}
	old, s := m.View(), in.state
	if old.ClusterID != "" && s.ClusterID != old.ClusterID {
		return fmt.Errorf("snapshot is of cluster %q, this is cluster %s", s.ClusterID, old.ClusterID)
	}
	if s.Index < old.Index {
		m.replayUntil = old.Index
		return nil
	}
	m.state.Store(s)
	m.feed.reset(s.Position())
	m.wake(s)
	return nil
}

// loader builds a state from the lines of a snapshot.
type loader struct {
	r        *bufio.Reader
	sum      hash.Hash // of all lines before the present one
	buf      []byte    // the present line, when it is longer than r's buffer
	line     int       // its number, from 1
	state    *State
	maxLevel int
	rows     int
}

func (l *loader) load() error {
	if err := l.header(); err != nil {
		return err
	}
	for {
		line, err := l.next()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte(`{"rows":`)) {
			return l.trailer(line)
		}
		if err := l.loadRow(line); err != nil {
			return err
		}
		l.rows++
		l.digest(line)
	}
}

// next returns the next line without its end, good until the next call.
func (l *loader) next() ([]byte, error) {
	l.line++
	l.buf = l.buf[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		if err == nil && len(l.buf) == 0 {
			return piece[:len(piece)-1], nil
		}
		l.buf = append(l.buf, piece...)
		switch {
		case len(l.buf) > maxLine:
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		case err == nil:
			return l.buf[:len(l.buf)-1], nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("the snapshot is cut short: no trailer")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// digest adds a line to the sum.
func (l *loader) digest(line []byte) {
	l.sum.Write(line)
	l.sum.Write([]byte{'\n'})
}

func (l *loader) header() error {
	line, err := l.next()
	if err != nil {
		return err
	}
	var h header
	if err := decodeStrict(line, &h); err != nil {
		return fmt.Errorf("not the header of a snapshot: %w", err)
	}
	switch {
	case h.V != snapshotVersion:
		return fmt.Errorf("a snapshot of format %d: this binary reads format %d", h.V, snapshotVersion)
	case h.Level < 1 || h.Level > l.maxLevel:
		return fmt.Errorf("level %d: this binary knows levels 1 to %d", h.Level, l.maxLevel)
	case h.Events < 0:
		return fmt.Errorf("%d events", h.Events)
	}
	l.state.loaded = h.Index
	l.state.Index, l.state.events, l.state.ClusterID, l.state.Level = h.Index, h.Events, h.Cluster, h.Level
	l.digest(line)
	return nil
}

func (l *loader) trailer(line []byte) error {
	var end trailer
	if err := decodeStrict(line, &end); err != nil {
		return fmt.Errorf("not the trailer of a snapshot: %w", err)
	}
	if end.Rows != l.rows {
		return fmt.Errorf("the trailer counts %d rows, there are %d", end.Rows, l.rows)
	}
	if got := hex.EncodeToString(l.sum.Sum(nil)); got != end.SHA256 {
		return fmt.Errorf("the snapshot was changed: its SHA-256 is %s, the trailer says %.64q", got, end.SHA256)
	}
	if _, err := l.r.ReadByte(); err == nil {
		return errors.New("there is more after the trailer")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// loadRow reads {"t":"...","row":...} by its layout and puts the row into its table.
func (l *loader) loadRow(line []byte) error {
	rest, ok := bytes.CutPrefix(line, []byte(`{"t":"`))
	name, row, found := bytes.Cut(rest, []byte(`","row":`))
	if !ok || !found || len(row) == 0 || row[len(row)-1] != '}' {
		return fmt.Errorf("not a row: %.40q", line)
	}
	return l.state.loadRow(string(name), row[:len(row)-1])
}

// loadRow puts one row into its table.
func (s *State) loadRow(name string, row []byte) error {
	decode := func(into any) error { return decodeStrict(row, into) }
	for i := range domains {
		known, err := domains[i].table(s).Load(name, decode)
		if err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
		if known {
			return nil
		}
	}
	return fmt.Errorf("unknown table %.40q: this binary is too old", name)
}
