// Package snapfile is the format of the file in which a cluster's state is kept outside it: written line by line, and
// read back with every line checked.
//
// A file is gzip of lines of JSON. The first is the header, the last says how many rows there are and the SHA-256 of all
// bytes before it, uncompressed; between them is one row a line, in the order of the tables:
//
//	{"format":"folkmoot-snapshot","version":1,"cluster":"c1","index":812,"term":3,"level":2,"created":"...","coordinator":"n1"}
//	{"t":"jobs.job","row":{"id":"j1",...}}
//	{"end":true,"rows":1,"sha256":"..."}
//
// version 1: 2026-12, with level 2.
package snapfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// Format is what the header of every file says it is, and Version the newest version, which is the one that is written.
const (
	Format  = "folkmoot-snapshot"
	Version = 1
)

// Bounds of what is read, in bytes uncompressed: one line, and all of a file. What is written never comes near the first.
// They are rules of level 2: the log is judged by them where a file is restored, so neither is ever lowered.
const (
	MaxLine  = 4 << 20
	MaxBytes = 16 << 30
)

// Header is the first line.
type Header struct {
	Format      string    `json:"format"`
	Version     int       `json:"version"`
	Cluster     string    `json:"cluster"`
	Index       uint64    `json:"index"` // of the log, up to which the state has everything
	Term        uint64    `json:"term"`  // of the leader then
	Level       int       `json:"level"` // of the cluster: rows have no field of a higher one
	Created     time.Time `json:"created"`
	Coordinator string    `json:"coordinator"` // that wrote it
}

// end is the last line.
type end struct {
	End    bool   `json:"end"`
	Rows   int    `json:"rows"`
	SHA256 string `json:"sha256"`
}

// prefixEnd begins the last line, prefixRow a row, and prefixValue what is in it.
const (
	prefixEnd   = `{"end":`
	prefixRow   = `{"t":"`
	prefixValue = `","row":`
)

// Writer writes one file. Its first error stays: all later calls return it.
type Writer struct {
	zip  *gzip.Writer
	out  *bufio.Writer // into zip and sum
	sum  hash.Hash
	json *json.Encoder // into out
	rows int
	err  error
}

// NewWriter begins a file with its header, of which Format and Version are set here. It needs little memory, and w is
// given large pieces.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	f := &Writer{zip: zip, sum: sha256.New()}
	f.out = bufio.NewWriterSize(io.MultiWriter(zip, f.sum), 64<<10)
	f.json = json.NewEncoder(f.out)
	f.json.SetEscapeHTML(false) // pieces of JSON in a row stay as they came
	h.Format, h.Version, h.Created = Format, Version, h.Created.Round(0).UTC()
	f.err = f.json.Encode(h)
	return f, f.err
}

// Row writes one row of a table; rows come in the order of a snapshot.
func (f *Writer) Row(table string, row any) error {
	if f.err != nil {
		return f.err
	}
	f.rows++
	f.err = f.json.Encode(struct {
		T   string `json:"t"`
		Row any    `json:"row"`
	}{table, row})
	return f.err
}

// Close writes the last line and returns how many rows there are. A file without it is cut short, and known as such.
func (f *Writer) Close() (rows int, err error) {
	if f.err == nil {
		f.err = f.out.Flush()
	}
	if f.err == nil {
		f.err = f.json.Encode(end{End: true, Rows: f.rows, SHA256: hex.EncodeToString(f.sum.Sum(nil))})
	}
	if f.err == nil {
		f.err = errors.Join(f.out.Flush(), f.zip.Close())
	}
	return f.rows, f.err
}

// Reader reads one file. Its first error, which names the line, stays.
type Reader struct {
	raw    *bufio.Reader
	lines  *bufio.Reader // uncompressed
	sum    hash.Hash     // of all lines before the present one
	buf    []byte        // the present line, when it is longer than the buffer of lines
	line   int           // its number, from 1
	bytes  int64
	most   int64 // that bytes may become
	rows   int
	header Header
	err    error
}

// LengthError says that a file is longer than what its reader takes.
type LengthError struct {
	Most int64 // bytes, uncompressed
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("the snapshot is longer than %d bytes, uncompressed", e.Most)
}

// NewReader reads and checks the header. The rest of the file is read by Next.
func NewReader(r io.Reader) (*Reader, error) { return NewReaderUpTo(r, MaxBytes) }

// NewReaderUpTo is NewReader for files of at most so many bytes, uncompressed: of a longer one no more is read, and the
// error is a *LengthError.
func NewReaderUpTo(r io.Reader, most int64) (*Reader, error) {
	f := &Reader{raw: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), most: min(most, MaxBytes)}
	zip, err := gzip.NewReader(f.raw)
	if err != nil {
		return nil, fmt.Errorf("line 1: not a snapshot of a cluster: %w", plain(err))
	}
	zip.Multistream(false)
	f.lines = bufio.NewReaderSize(zip, 64<<10)
	if err := f.readHeader(); err != nil {
		return nil, fmt.Errorf("line %d: %w", f.line, err)
	}
	return f, nil
}

func (f *Reader) readHeader() error {
	line, err := f.next()
	if err != nil {
		return err
	}
	h := &f.header
	if err := json.Unmarshal(line, h); err != nil || h.Format != Format {
		return fmt.Errorf("not the header of a snapshot: %.60q", line)
	}
	switch {
	case h.Version > Version:
		return fmt.Errorf("a snapshot of version %d: this binary reads versions 1 to %d", h.Version, Version)
	case h.Version < 1 || h.Level < 1 || h.Cluster == "":
		return fmt.Errorf("version %d, level %d, cluster %.60q: not the header of a snapshot", h.Version, h.Level, h.Cluster)
	}
	f.digest(line)
	return nil
}

// Header returns the first line.
func (f *Reader) Header() Header { return f.header }

// Line is the number of the line read last, from 1, Rows how many rows were read, and Bytes how many bytes, uncompressed.
func (f *Reader) Line() int    { return f.line }
func (f *Reader) Rows() int    { return f.rows }
func (f *Reader) Bytes() int64 { return f.bytes }

// Next returns the next row, good until the next call; io.EOF is the end of a file that is whole and unchanged. Every
// other error names the line.
func (f *Reader) Next() (table string, row []byte, err error) {
	if f.err != nil {
		return "", nil, f.err
	}
	table, row, err = f.readRow()
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.Wrong(err)
	}
	f.err = err
	return table, row, err
}

// Wrong says of an error that it is about the line read last.
func (f *Reader) Wrong(err error) error { return fmt.Errorf("line %d: %w", f.line, err) }

func (f *Reader) readRow() (table string, row []byte, err error) {
	line, err := f.next()
	if err != nil {
		return "", nil, err
	}
	if bytes.HasPrefix(line, []byte(prefixEnd)) {
		return "", nil, f.readEnd(line)
	}
	rest, ok := bytes.CutPrefix(line, []byte(prefixRow))
	name, row, found := bytes.Cut(rest, []byte(prefixValue))
	if !ok || !found || len(row) == 0 || row[len(row)-1] != '}' {
		return "", nil, fmt.Errorf("not a row: %.40q", line)
	}
	f.rows++
	f.digest(line)
	return string(name), row[:len(row)-1], nil
}

// readEnd checks the last line against all before it, and that nothing is behind it. Its
// error is io.EOF if all is well.
func (f *Reader) readEnd(line []byte) error {
	var e end
	d := json.NewDecoder(bytes.NewReader(line))
	if err := d.Decode(&e); err != nil || !e.End {
		return fmt.Errorf("not the last line of a snapshot: %.60q", line)
	}
	if e.Rows != f.rows {
		return fmt.Errorf("the last line counts %d rows, there are %d", e.Rows, f.rows)
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); got != e.SHA256 {
		return fmt.Errorf("the snapshot was changed: its SHA-256 is %s, the last line says %.64q", got, e.SHA256)
	}
	switch _, err := f.lines.ReadByte(); { // reads the checksum of gzip, too
	case err == nil:
		return errors.New("there is more behind the last line")
	case !errors.Is(err, io.EOF):
		return plain(err)
	}
	switch _, err := f.raw.ReadByte(); {
	case err == nil:
		return errors.New("there is more behind the end of the snapshot")
	case !errors.Is(err, io.EOF):
		return err
	}
	return io.EOF
}

// next returns the next line without its end, good until the next call.
func (f *Reader) next() ([]byte, error) {
	f.line++
	f.buf = f.buf[:0]
	for {
		piece, err := f.lines.ReadSlice('\n')
		if f.bytes += int64(len(piece)); f.bytes > f.most {
			return nil, &LengthError{f.most}
		}
		if err == nil && len(f.buf) == 0 {
			return piece[:len(piece)-1], nil
		}
		f.buf = append(f.buf, piece...)
		switch {
		case len(f.buf) > MaxLine:
			return nil, fmt.Errorf("longer than %d bytes", MaxLine)
		case err == nil:
			return f.buf[:len(f.buf)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, plain(err)
		}
	}
}

// digest adds a line to the sum.
func (f *Reader) digest(line []byte) {
	f.sum.Write(line)
	f.sum.Write([]byte{'\n'})
}

// plain says in words what gzip finds.
func plain(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the file is cut short: no last line")
	case errors.Is(err, gzip.ErrHeader):
		return errors.New("the file is no gzip")
	case errors.Is(err, gzip.ErrChecksum):
		return errors.New("the file is damaged: the checksum of gzip is wrong")
	}
	return fmt.Errorf("the file is damaged: %w", err)
}
