package fsm

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"iter"
)

// A snapshot is lines of JSON: a header, one line for every row in the order of
// the tables, and a trailer with the number of rows and the SHA-256 of
// everything before it.
//
//	{"v":1,"index":812,"events":1,"cluster":"c1","level":1}
//	{"t":"registry.coordinator","row":{"id":"n1",...}}
//	{"rows":1,"sha256":"..."}
//
// v 1: the first release, 2026-11.
const snapshotVersion = 1

// rowGroup is the table of the one Group in a snapshot.
const rowGroup = "fsm.group"

type header struct {
	V       int    `json:"v"`
	Index   uint64 `json:"index"`
	Events  int    `json:"events"` // emitted by the entry at index
	Cluster string `json:"cluster"`
	Level   int    `json:"level"`
}

type trailer struct {
	Rows   int    `json:"rows"`
	SHA256 string `json:"sha256"`
}

// Freeze returns the present state for a snapshot, at once: there is nothing to
// copy. Write it from any goroutine while Apply goes on.
func (m *Machine) Freeze() io.WriterTo { return m.View() }

// WriteTo writes the state as a snapshot. Equal states give equal bytes.
func (s *State) WriteTo(w io.Writer) (int64, error) {
	out := &counter{w: w}
	h := header{V: snapshotVersion, Index: s.Index, Events: s.events, Cluster: s.ClusterID, Level: s.Level}
	err := s.write(out, h)
	return out.n, err
}

// Fingerprint is the hex SHA-256 of all rows with the cluster's id and level.
// Coordinators at the same index have the same one. The index itself is not in
// it, so a refused command leaves it as it was.
func (s *State) Fingerprint() string {
	sum := sha256.New()
	h := header{V: snapshotVersion, Cluster: s.ClusterID, Level: s.Level}
	if err := s.write(sum, h); err != nil {
		panic(err) // a row that cannot be written: no snapshot could be taken either
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (s *State) write(w io.Writer, h header) error {
	sum := sha256.New()
	b := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false) // pieces of JSON in a row stay as they came
	if err := enc.Encode(h); err != nil {
		return err
	}
	n := 0
	for t, row := range s.rows() {
		line := struct {
			T   string `json:"t"`
			Row any    `json:"row"`
		}{t, row}
		if err := enc.Encode(line); err != nil {
			return err
		}
		n++
	}
	if err := b.Flush(); err != nil {
		return err
	}
	end := trailer{Rows: n, SHA256: hex.EncodeToString(sum.Sum(nil))}
	if err := enc.Encode(end); err != nil {
		return err
	}
	return b.Flush()
}

// rows yields every row with the name of its table. A row is good only until
// the next one.
func (s *State) rows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i := range domains {
			for name, row := range domains[i].table(s).Rows() {
				if !yield(name, row) {
					return
				}
			}
		}
	}
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
