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
)

// Sizes of what a connection reads through. An idle one has a small buffer; one
// that fills it gets a large one until it is idle again.
const (
	smallBuffer = 2 << 10
	largeBuffer = 64 << 10
	frameTime   = 30 * time.Second // a frame's first byte to its last, for each 64 KiB
)

var large = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

// terms are what the reader asks of a session's connection.
type terms interface {
	MaxFrame() int
	SignedIn() bool
	Ended() bool
}

var _ terms = (*session.Conn)(nil)

// reader cuts a connection's bytes into frames.
type reader struct {
	line  *line
	buf   []byte
	big   *[]byte // buf, if it is from the pool
	r, w  int     // of buf, what was read and not handed out
	names wire.Names
	began time.Time // of the frame that is not complete; zero: none is
	idle  int       // small reads in a row

	late  *awake.Timer // ends reading if nobody signs in
	heard awake.Reader // of the connection, once somebody is signed in
	asked time.Time    // when it was last looked at how long a frame takes
	in    bool         // somebody has been signed in
}

// read gives every frame to c until the connection ends: nil if the other side
// closed it between two frames.
func (l *line) read(c *session.Conn, late *awake.Timer, ping time.Duration) error {
	rd := newReader(l, late, wire.DeadAfter*ping)
	rd.heard.Ended = func() error {
		if c.Ended() {
			return os.ErrDeadlineExceeded
		}
		return nil
	}
	defer rd.release()
	for {
		m, err := rd.next(c)
		if err != nil {
			if errors.Is(err, io.EOF) && rd.r == rd.w {
				return nil
			}
			return err
		}
		if c.Ended() {
			return nil
		}
		if err := c.Frame(&m, rd.ready(c)); err != nil {
			return err
		}
	}
}

func newReader(l *line, late *awake.Timer, dead time.Duration) *reader {
	return &reader{line: l, buf: make([]byte, smallBuffer), late: late, heard: awake.Reader{Conn: l.conn, Limit: dead}}
}

// next waits for one frame.
func (rd *reader) next(c terms) (wire.Message, error) {
	for {
		have := rd.buf[rd.r:rd.w]
		if len(have) >= 4 {
			n := int64(binary.BigEndian.Uint32(have)) + 4
			if limit := int64(c.MaxFrame()); n > limit {
				return wire.Message{}, wire.Refuse(wire.CodeTooLarge, "a frame of %d bytes; the limit here is %d: a longer one goes in chunks, and only after the sign-in", n, limit)
			}
			if n <= int64(len(have)) {
				rd.began = time.Time{}
				return rd.parse(int(n))
			}
			if n > largeBuffer {
				return rd.long(c, int(n))
			}
			rd.grow(int(n))
		}
		if err := rd.fill(c); err != nil {
			return wire.Message{}, err
		}
	}
}

// ready tells whether the next frame is here, or is a wrong one.
func (rd *reader) ready(c terms) bool {
	have := rd.buf[rd.r:rd.w]
	if len(have) < 4 {
		return false
	}
	n := int64(binary.BigEndian.Uint32(have)) + 4
	return n <= int64(len(have)) || n > int64(c.MaxFrame())
}

// parse hands out the frame of n bytes at the start of the buffer: it is valid
// until the next read.
func (rd *reader) parse(n int) (wire.Message, error) {
	b := rd.buf[rd.r : rd.r+n : rd.r+n]
	rd.r += n
	m, _, err := wire.ParseFrame(b, &rd.names)
	return m, err
}

// long reads a frame that does not fit the buffer. It never holds more than
// twice what has come.
func (rd *reader) long(c terms, n int) (wire.Message, error) {
	b := make([]byte, min(n, 2*largeBuffer))
	have := copy(b, rd.buf[rd.r:rd.w])
	rd.r, rd.w = 0, 0
	for have < n {
		if have == len(b) {
			grown := make([]byte, min(n, 2*len(b)))
			copy(grown, b)
			b = grown
		}
		rd.began = time.Now() // each piece has its own time
		piece := b[have:min(len(b), have+largeBuffer)]
		for got := 0; got < len(piece); {
			k, err := rd.some(c, piece[got:])
			if err != nil {
				return wire.Message{}, err
			}
			got += k
		}
		have += len(piece)
	}
	rd.began = time.Time{}
	m, _, err := wire.ParseFrame(b, &rd.names)
	return m, err
}

// fill reads what there is into the buffer.
func (rd *reader) fill(c terms) error {
	switch {
	case rd.r == rd.w:
		rd.r, rd.w = 0, 0
		rd.began = time.Time{}
		if rd.big != nil && rd.idle > 8 {
			rd.release()
			rd.buf = make([]byte, smallBuffer)
		}
	case rd.w == len(rd.buf):
		rd.w = copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.r = 0
	}
	if rd.began.IsZero() && rd.w > rd.r {
		rd.began = time.Now()
	}
	n, err := rd.some(c, rd.buf[rd.w:])
	rd.w += n
	switch {
	case rd.w == len(rd.buf):
		rd.grow(largeBuffer)
		rd.idle = 0
	case n < smallBuffer:
		rd.idle++
	default:
		rd.idle = 0
	}
	return err
}

// some reads at least one byte, in the time the connection has for it.
func (rd *reader) some(c terms, b []byte) (int, error) {
	if !rd.in && c.SignedIn() {
		rd.in = true
		rd.late.Stop()
	}
	if !rd.in {
		if c.Ended() {
			return 0, os.ErrDeadlineExceeded
		}
		return some(rd.line.conn.Read(b))
	}
	if !rd.began.IsZero() {
		if now := time.Now(); now.Sub(rd.asked) > rd.heard.Limit/6 {
			rd.asked = now
			if now.Sub(rd.began) > frameTime {
				return 0, wire.Invalid("frame", "a frame took longer than %v", frameTime)
			}
		}
	}
	return some(rd.heard.Read(b))
}

// some sees to it that a read without an error brought something.
func some(n int, err error) (int, error) {
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
	big := large.Get().(*[]byte)
	n = copy(*big, rd.buf[rd.r:rd.w])
	rd.release()
	rd.big, rd.buf, rd.r, rd.w = big, *big, 0, n
}

func (rd *reader) release() {
	if rd.big != nil {
		large.Put(rd.big)
		rd.big, rd.buf = nil, nil
	}
}
