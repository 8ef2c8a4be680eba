package peer

import (
	"io"
	"time"
)

// Frame is a call frame, opened up for the fuzzer.
type Frame struct {
	Kind   byte
	ID     uint64
	Left   time.Duration
	Method string
	Body   []byte
}

func (f Frame) Encode() []byte {
	return frame{kind: f.Kind, id: f.ID, left: f.Left, method: f.Method, body: f.Body}.encode()
}

func ReadFrame(r io.Reader, limit int) (Frame, error) {
	f, err := readFrame(r, limit)
	return Frame{f.kind, f.id, f.left, f.method, f.body}, err
}
