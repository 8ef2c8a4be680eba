package tcp_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/tcp"
	"github.com/folkmoot/folkmoot/wire"
)

// script is a connection whose bytes come in pieces of these sizes, in turn.
type script struct {
	net.Conn // nil: for what no test asks
	bytes    []byte
	sizes    []byte
	turn     int
}

func (s *script) SetReadDeadline(time.Time) error { return nil }

func (s *script) Read(b []byte) (int, error) {
	if len(s.bytes) == 0 {
		return 0, io.EOF
	}
	n := len(s.bytes)
	if len(s.sizes) > 0 {
		n = 1 + int(s.sizes[s.turn%len(s.sizes)])*17
		s.turn++
	}
	n = copy(b[:min(n, len(b))], s.bytes)
	s.bytes = s.bytes[n:]
	return n, nil
}

const limit = 200 << 10

func frames(t testing.TB, sizes ...int) (b []byte) {
	t.Helper()
	for _, n := range sizes {
		var err error
		if b, err = wire.AppendFrame(b, &wire.Message{To: "n1.a", From: "n1.b", Payload: [][]byte{bytes.Repeat([]byte{byte(n)}, n), {}}}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func again(t testing.TB, m wire.Message) []byte {
	t.Helper()
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// same fails the test unless the reader cuts the bytes as the plain reader of
// frames does, however they come.
func same(t *testing.T, b, sizes []byte) {
	t.Helper()
	got, err := tcp.ReadAll(&script{bytes: b, sizes: sizes}, limit)
	if err == nil {
		t.Fatal("no error at the end of the stream")
	}
	plain := wire.NewFrameReader(bytes.NewReader(b))
	for i := range got {
		want, err := plain.Next()
		if err != nil {
			t.Fatalf("frame %d is read, and is none: %v", i, err)
		}
		if a, b := again(t, want), again(t, got[i]); !bytes.Equal(a, b) {
			t.Fatalf("frame %d is read as %.100x, and is %.100x", i, b, a)
		}
	}
	if want, err := plain.Next(); err == nil && want.FrameSize() <= limit {
		t.Fatalf("frame %d is not read", len(got))
	}
}

// Frames of every size are cut out of the stream as they were sent, in whatever
// pieces it comes.
func TestFramesAreCutAsSent(t *testing.T) {
	t.Parallel()
	b := frames(t, 0, 1, 1000, 2<<10, 5, 64<<10, 7, 150<<10, 3, 65<<10-40, 9)
	for _, sizes := range [][]byte{nil, {10}, {255}, {0, 255, 3}} {
		same(t, b, sizes)
		same(t, b[:len(b)-1], sizes)
		same(t, append(bytes.Clone(b), 0, 4, 0, 0), sizes) // longer than the limit
	}
}

// FuzzFrames: whatever comes in whatever pieces is cut as the plain reader of
// frames cuts it, and chunks are put together to what was cut.
func FuzzFrames(f *testing.F) {
	f.Add(frames(f, 0, 300), []byte{})
	f.Add(frames(f, 3000, 5), []byte{0, 9})
	f.Add([]byte{0, 0, 0, 27, 1}, []byte{1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, []byte{})
	whole, _ := wire.AppendChunk(nil, 5, frames(f, 300), 0)
	f.Add(append(whole, frames(f, 1)...), []byte{200})
	short := frames(f, 40)
	piece := func(flags ...byte) []byte {
		b, err := wire.AppendFrame(nil, &wire.Message{Type: wire.TypeChunk, ID: 1, Payload: [][]byte{flags, short[:50]}})
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(append(piece(wire.ChunkFirst, 0, 0, 0, 100), piece(wire.ChunkLast)...), []byte{})
	f.Add(append(piece(wire.ChunkFirst, 0, 0, 0, 100), piece(wire.ChunkAbort)...), []byte{})
	f.Fuzz(func(t *testing.T, b, sizes []byte) {
		same(t, b, sizes)
		got, _ := tcp.ReadAll(&script{bytes: b}, limit)
		var parts wire.Reassembler
		came := 0
		for i := range got {
			if got[i].To != "" || got[i].Type != wire.TypeChunk {
				continue
			}
			came += got[i].Size()
			m, whole, err := parts.Add(&got[i])
			if err != nil {
				return
			}
			if whole && (m.To == "" || m.FrameSize() > came) {
				t.Fatalf("%d bytes of chunks make a frame of %d to %q", came, m.FrameSize(), m.To)
			}
		}
	})
}
