package link_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/folkmoot/folkmoot/router/link"
)

// Frames come as they were appended, however the bytes are cut on their way; Ready is
// true only for one that is whole.
func TestFrames(t *testing.T) {
	bodies := [][]byte{{1}, bytes.Repeat([]byte("x"), link.MaxBody), []byte("end")}
	var all []byte
	for i, b := range bodies {
		all = link.AppendFrame(all, byte(i+1), b)
	}
	for what, src := range map[string]io.Reader{
		"at once":     bytes.NewReader(all),
		"in halves":   iotest.HalfReader(bytes.NewReader(all)),
		"byte by one": iotest.OneByteReader(bytes.NewReader(all)),
	} {
		r := link.NewReader(src)
		if r.Ready() {
			t.Errorf("%s: ready before anything was read", what)
		}
		for i, want := range bodies {
			kind, body, err := r.Next()
			if err != nil || kind != byte(i+1) || !bytes.Equal(body, want) {
				t.Fatalf("%s: frame %d is of kind %d with %d bytes, %v", what, i, kind, len(body), err)
			}
		}
		if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last frame: %v", what, err)
		}
	}
}

// A frame that is wrong in itself is the other side's fault, one that is cut short is
// the connection's.
func TestWrongFrames(t *testing.T) {
	frame := func(change func(f []byte) []byte) []byte {
		return change(link.AppendFrame(nil, link.KindData, []byte("body")))
	}
	for what, x := range map[string]struct {
		bytes     []byte
		malformed bool
	}{
		"another body":     {frame(func(f []byte) []byte { f[len(f)-1]++; return f }), true},
		"another kind":     {frame(func(f []byte) []byte { f[0]++; return f }), true},
		"another checksum": {frame(func(f []byte) []byte { f[8]++; return f }), true},
		"no body":          {frame(func(f []byte) []byte { f[4] = 0; return f }), true},
		"a huge body":      {frame(func(f []byte) []byte { f[1] = 1; return f }), true},
		"half a head":      {frame(func(f []byte) []byte { return f[:5] }), false},
		"half a body":      {frame(func(f []byte) []byte { return f[:len(f)-2] }), false},
	} {
		_, _, err := link.NewReader(bytes.NewReader(x.bytes)).Next()
		var p link.ProtocolError
		if errors.As(err, &p) != x.malformed || !x.malformed && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, a protocol error: %t, want %t", what, err, errors.As(err, &p), x.malformed)
		}
	}
}
