package link_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/folkmoot/folkmoot/router/link"
)

const first, last, abort = 1, 2, 4

// chunk is a chunk's body; one with the flag first announces total bytes.
func chunk(id uint32, flags byte, total uint32, n int) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, id), flags)
	if flags&first != 0 {
		b = binary.BigEndian.AppendUint32(b, total)
	}
	return append(b, make([]byte, n)...)
}

// Chunks that cannot be of a message as they come are the other side's fault.
func TestWrongChunks(t *testing.T) {
	const total = 100_000
	many := make([][]byte, link.LargeAtOnce+1)
	for i := range many {
		many[i] = chunk(uint32(i), first, total, 10)
	}
	for what, chunks := range map[string][][]byte{
		"too short":            {{1, 2, 3}},
		"no length":            {append(chunk(1, 0, 0, 0)[:4], first)},
		"begins in the middle": {chunk(1, 0, 0, 10)},
		"begins twice":         {chunk(1, first, total, 10), chunk(1, first, total, 10)},
		"of one frame":         {chunk(1, first, link.MaxBody, 10)},
		"too large":            {chunk(1, first, 1<<31, 10)},
		"longer than said":     {chunk(1, first, total, 60_000), chunk(1, 0, 0, 60_000)},
		"shorter than said":    {chunk(1, first, total, 60_000), chunk(1, last, 0, 10)},
		"given up unbegun":     {chunk(1, abort, 0, 0)},
		"too many at once":     many,
	} {
		var c link.Chunks
		var err error
		for i, b := range chunks {
			var whole *link.Partial
			if whole, err = c.Add(b); whole != nil {
				t.Errorf("%s: chunk %d completes a message", what, i)
			}
			if err != nil {
				break
			}
		}
		var p link.ProtocolError
		if !errors.As(err, &p) {
			t.Errorf("%s: %v, want a protocol error", what, err)
		}
	}
}

// A message that is given up makes room for another, of the same id too.
func TestAbortedChunks(t *testing.T) {
	var c link.Chunks
	for range 2 * link.LargeAtOnce {
		for _, b := range [][]byte{chunk(1, first, 100_000, 60_000), chunk(1, abort, 0, 0)} {
			if whole, err := c.Add(b); whole != nil || err != nil {
				t.Fatalf("a message came whole: %t, %v", whole != nil, err)
			}
		}
	}
	for _, b := range [][]byte{chunk(1, first, 100_000, 60_000), chunk(1, 0, 0, 30_000)} {
		if _, err := c.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := c.Add(chunk(1, last, 0, 10_000))
	if err != nil || whole == nil || len(whole.Join()) != 100_000 {
		t.Fatalf("the message is whole: %t, %v", whole != nil, err)
	}
}
