package peer_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// FuzzFrame: the decoder never panics and never takes more than the limit, and
// what it takes is written again as the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(peer.Frame{Kind: 1, ID: 1, Left: time.Second, Method: "control.send", Body: []byte("body")}.Encode())
	f.Add(peer.Frame{Kind: 2, ID: 1 << 63, Body: make([]byte, 1000)}.Encode())
	f.Add(peer.Frame{Kind: 3, ID: 2, Body: []byte(`{"code":"busy"}`)}.Encode())
	f.Add(peer.Frame{Kind: 4, ID: 3}.Encode())
	f.Add(peer.Frame{Kind: 5}.Encode())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1})
	const limit = 64 << 10
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			r := bytes.NewReader(b)
			got, err := peer.ReadFrame(r, limit)
			if err != nil {
				return
			}
			taken := b[:len(b)-r.Len()]
			if len(taken) > limit+8 {
				t.Errorf("took a frame of %d bytes, the limit is %d", len(taken), limit)
			}
			if again := got.Encode(); !bytes.Equal(again, taken) {
				t.Errorf("frame %+v: written again got %x, want %x", got, again, taken)
			}
		}
		check(b)
		// The check sum keeps most inputs out: try the bytes as a payload too.
		if len(b) > 0 {
			sealed := peer.Frame{Kind: b[0], ID: 1, Body: b[1:]}.Encode()
			check(sealed)
		}
	})
}

// Any damaged byte is noticed.
func TestFrameDamaged(t *testing.T) {
	t.Parallel()
	good := peer.Frame{Kind: 1, ID: 9, Left: time.Second, Method: "m", Body: []byte("body")}.Encode()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if f, err := peer.ReadFrame(bytes.NewReader(bad), 4<<20); err == nil {
			t.Errorf("byte %d damaged: got %+v, want an error", i, f)
		}
	}
}

// A frame is read in steps, whatever its size, and whole.
func TestFrameSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 64<<10 - 9, 64<<10 - 8, 256 << 10, 1<<20 + 1, 4<<20 - 9} {
		want := bytes.Repeat([]byte{7}, n)
		got, err := peer.ReadFrame(bytes.NewReader(peer.Frame{Kind: 2, ID: 9, Body: want}.Encode()), 4<<20)
		if err != nil || got.ID != 9 || !bytes.Equal(got.Body, want) {
			t.Errorf("answer of %d bytes: got id %d with %d bytes, %v", n, got.ID, len(got.Body), err)
		}
	}
	if _, err := peer.ReadFrame(bytes.NewReader(peer.Frame{Kind: 2, ID: 9, Body: make([]byte, 4<<20-8)}.Encode()), 4<<20); err == nil {
		t.Error("a frame one byte over the limit: got no error")
	}
}
