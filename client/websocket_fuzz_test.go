package client

import (
	"bufio"
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// body is what a server sent and nobody who reads what is written.
type body struct{ io.Reader }

func (body) Write(p []byte) (int, error) { return len(p), nil }
func (body) Close() error                { return nil }

// Whatever a server sends, what is read is no more than it sent, and the same
// however it comes.
func FuzzWebSocketFrames(f *testing.F) {
	f.Add(serverFrame(0x82, []byte("whole")))
	f.Add(append(serverFrame(0x02, []byte("first")), serverFrame(0x80, bytes.Repeat([]byte("x"), 300))...))
	f.Add(append(serverFrame(0x89, []byte("there?")), serverFrame(0x88, nil)...))
	f.Add([]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2})
	f.Add([]byte{0x89, 126, 0, 126})
	f.Fuzz(func(t *testing.T, sent []byte) {
		at := func(r io.Reader) ([]byte, error) {
			b := body{r}
			w := &webSocket{body: b, in: bufio.NewReaderSize(b, 32<<10)}
			got, err := io.ReadAll(w)
			if len(w.pong) > 125 {
				t.Fatalf("a ping of %d bytes is to be answered", len(w.pong))
			}
			return got, err
		}
		got, err := at(bytes.NewReader(sent))
		if len(got) > len(sent) {
			t.Fatalf("%d bytes were read of %d", len(got), len(sent))
		}
		again, errAgain := at(iotest.OneByteReader(bytes.NewReader(sent)))
		if !bytes.Equal(got, again) || (err == nil) != (errAgain == nil) {
			t.Fatalf("read %q, %v; byte by byte %q, %v", got, err, again, errAgain)
		}
	})
}
