package peer

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/wire/flow"
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

// SentOf writes frames of these sizes to a connection that fails after some
// bytes, and says which of them count as having left.
func SentOf(sizes []int, failAfter int) []bool {
	o := newSendQueue(Limits{}.withDefaults())
	var all []*outFrame
	for _, n := range sizes {
		p := &outFrame{data: make([]byte, n)}
		all = append(all, p)
		if err := o.enqueue(p); err != nil {
			panic(err)
		}
	}
	_ = o.write(context.Background(), flow.NewWriter(failing{after: failAfter}, time.Minute), time.Minute, func() {})
	var left []bool
	for _, p := range all {
		left = append(left, o.wasSent(p))
	}
	return left
}

// WriteAll writes frames of this size to a connection, until all are taken or
// nothing is for patience.
func WriteAll(ctx context.Context, c net.Conn, patience time.Duration, sizes ...int) error {
	o := newSendQueue(Limits{}.withDefaults())
	for _, n := range sizes {
		if err := o.enqueue(&outFrame{data: make([]byte, n)}); err != nil {
			return err
		}
	}
	return o.write(ctx, flow.NewWriter(c, patience), time.Hour, func() {})
}

type failing struct {
	net.Conn
	after int
}

func (f failing) Write([]byte) (int, error)        { return f.after, io.ErrClosedPipe }
func (f failing) SetWriteDeadline(time.Time) error { return nil }
