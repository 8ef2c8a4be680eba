package tcp

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Sizes of what a connection reads through. An idle one has a small buffer; one
// that fills it gets a large one until it is idle again.
const (
	smallBuffer = 2 << 10
	largeBuffer = 64 << 10
	frameTime   = 30 * time.Second // a frame's first byte to its last, for each 64 KiB
)

var largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

// connState is what the reader asks of a session's connection.
type connState interface {
	MaxFrame() int
	SignedIn() bool
	Ended() bool
}

var _ connState = (*session.Conn)(nil)

// reader cuts a connection's bytes into frames.
type reader struct {
	line       *line
	buf        []byte
	pooled     *[]byte // buf, if it is from the pool
	start, end int     // of buf, what was read and not handed out
	names      wire.Names
	frameBegan time.Time // of the frame that is not complete; zero: none is
	smallReads int       // small reads in a row

	begin       func() *unfinished.Message // counts a long frame
	signInTimer *awake.Timer               // ends reading if nobody signs in
	liveness    awake.Reader               // of the connection, once somebody is signed in
	timeChecked time.Time                  // when the time of the frame was last checked
	signedIn    bool                       // a session has been signed in
}

// read gives every frame to c until the connection ends: nil if the other side
// closed it between two frames.
func (l *line) read(c *session.Conn, late *awake.Timer, ping time.Duration) error {
	rd := newReader(l, late, wire.DeadAfter*ping)
	rd.begin = c.BeginMessage
	rd.liveness.Ended = func() error {
		if c.Ended() {
			return os.ErrDeadlineExceeded
		}
		return nil
	}
	defer rd.release()
	for {
		m, err := rd.next(c)
		if err != nil {
			if errors.Is(err, io.EOF) && rd.start == rd.end {
				return nil
			}
			return err
		}
		if c.Ended() {
			return nil
		}
		if err := c.Frame(&m, session.NextFrame(rd.nextReady(c))); err != nil {
			return err
		}
	}
}

func newReader(l *line, late *awake.Timer, dead time.Duration) *reader {
	uncounted := func() *unfinished.Message { return nil }
	return &reader{begin: uncounted, line: l, buf: make([]byte, smallBuffer), signInTimer: late, liveness: awake.Reader{Conn: l.conn, Limit: dead}}
}

// next waits for one frame.
func (rd *reader) next(c connState) (wire.Message, error) {
	for {
		have := rd.buf[rd.start:rd.end]
		if len(have) >= 4 {
			n := int64(binary.BigEndian.Uint32(have)) + 4
			if limit := int64(c.MaxFrame()); n > limit {
				return wire.Message{}, wire.Refuse(wire.CodeTooLarge, "a frame of %d bytes; the limit here is %d: a longer one goes in chunks, and only after the sign-in", n, limit)
			}
			if n <= int64(len(have)) {
				rd.frameBegan = time.Time{}
				return rd.parse(int(n))
			}
			if n > largeBuffer {
				return rd.readLong(c, int(n))
			}
			rd.grow(int(n))
		}
		if err := rd.fill(c); err != nil {
			return wire.Message{}, err
		}
	}
}

// nextReady reports whether the next frame is complete in the buffer, or is invalid.
func (rd *reader) nextReady(c connState) bool {
	have := rd.buf[rd.start:rd.end]
	if len(have) < 4 {
		return false
	}
	n := int64(binary.BigEndian.Uint32(have)) + 4
	return n <= int64(len(have)) || n > int64(c.MaxFrame())
}

// parse hands out the frame of n bytes at the start of the buffer: it is valid
// until the next read.
func (rd *reader) parse(n int) (wire.Message, error) {
	b := rd.buf[rd.start : rd.start+n : rd.start+n]
	rd.start += n
	m, _, err := wire.ParseFrame(b, &rd.names)
	return m, err
}

// readLong reads a frame that does not fit the buffer. It never holds more than
// twice what has come.
func (rd *reader) readLong(c connState, n int) (wire.Message, error) {
	held := rd.begin()
	defer held.End()
	b := make([]byte, min(n, 2*largeBuffer))
	have := copy(b, rd.buf[rd.start:rd.end])
	rd.start, rd.end = 0, 0
	for have < n {
		if have == len(b) {
			room := min(n, 2*len(b))
			if !held.Grow(room - len(b)) {
				return wire.Message{}, wire.Refuse(wire.CodeBusy, "too much is held here of frames that have begun, and this one began first: send it again")
			}
			grown := make([]byte, room)
			copy(grown, b)
			b = grown
		}
		rd.frameBegan = time.Now() // each piece has its own time
		piece := b[have:min(len(b), have+largeBuffer)]
		for got := 0; got < len(piece); {
			k, err := rd.readSome(c, piece[got:])
			if err != nil {
				return wire.Message{}, err
			}
			got += k
		}
		have += len(piece)
	}
	rd.frameBegan = time.Time{}
	m, _, err := wire.ParseFrame(b, &rd.names)
	return m, err
}

// fill reads what there is into the buffer.
func (rd *reader) fill(c connState) error {
	switch {
	case rd.start == rd.end:
		rd.start, rd.end = 0, 0
		rd.frameBegan = time.Time{}
		if rd.pooled != nil && rd.smallReads > 8 {
			rd.release()
			rd.buf = make([]byte, smallBuffer)
		}
	case rd.end == len(rd.buf):
		rd.end = copy(rd.buf, rd.buf[rd.start:rd.end])
		rd.start = 0
	}
	if rd.frameBegan.IsZero() && rd.end > rd.start {
		rd.frameBegan = time.Now()
	}
	n, err := rd.readSome(c, rd.buf[rd.end:])
	rd.end += n
	switch {
	case rd.end == len(rd.buf):
		rd.grow(largeBuffer)
		rd.smallReads = 0
	case n < smallBuffer:
		rd.smallReads++
	default:
		rd.smallReads = 0
	}
	return err
}

// readSome reads at least one byte, in the time the connection has for it.
func (rd *reader) readSome(c connState, b []byte) (int, error) {
	if !rd.signedIn && c.SignedIn() {
		rd.signedIn = true
		rd.signInTimer.Stop()
	}
	if !rd.signedIn {
		if c.Ended() {
			return 0, os.ErrDeadlineExceeded
		}
		return checkProgress(rd.line.conn.Read(b))
	}
	if !rd.frameBegan.IsZero() {
		if now := time.Now(); now.Sub(rd.timeChecked) > rd.liveness.Limit/6 {
			rd.timeChecked = now
			if now.Sub(rd.frameBegan) > frameTime {
				return 0, wire.Invalid("frame", "a frame took longer than %v", frameTime)
			}
		}
	}
	return checkProgress(rd.liveness.Read(b))
}

// checkProgress makes a read without bytes and without an error an error.
func checkProgress(n int, err error) (int, error) {
	if n > 0 {
		return n, nil
	}
	if err == nil {
		return 0, io.ErrNoProgress
	}
	return 0, err
}

// grow makes the buffer hold n bytes.
func (rd *reader) grow(n int) {
	if n <= len(rd.buf) {
		return
	}
	big := largeBuffers.Get().(*[]byte)
	n = copy(*big, rd.buf[rd.start:rd.end])
	rd.release()
	rd.pooled, rd.buf, rd.start, rd.end = big, *big, 0, n
}

func (rd *reader) release() {
	if rd.pooled != nil {
		largeBuffers.Put(rd.pooled)
		rd.pooled, rd.buf = nil, nil
	}
}
