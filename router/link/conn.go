package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/wire/awake"
	wireflow "github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// deadAfter is how many pings may pass without a byte before a link is dead.
const deadAfter = 3

// byeTimeout is how long a link that is closed in order may take to say bye.
const byeTimeout = 200 * time.Millisecond

// Conn is the connection of a link. One goroutine reads from it; whoever writes
// holds the link's write lock.
type Conn struct {
	Writer *wireflow.Writer // waits as long as the other side takes bytes
	Direct *trywrite.Writer // never waits; nil: the connection has none

	conn   net.Conn
	heard  *awake.Reader
	frames *Reader
	dead   time.Duration
}

// NewConn makes a link's connection of a stream on which one side pings every ping.
// Once ctx ends its reads fail and its writes end soon. stop lets go of ctx.
func NewConn(ctx context.Context, conn net.Conn, ping time.Duration) (c *Conn, stop func() bool) {
	limitKernelBuffers(conn)
	c = &Conn{conn: conn, dead: deadAfter * ping, Direct: trywrite.New(conn)}
	c.Writer = wireflow.NewWriter(conn, c.dead)
	c.heard = &awake.Reader{Conn: conn, Limit: c.dead, Ended: ctx.Err}
	c.frames = NewReader(c.heard)
	return c, context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Now())
		c.FinishSoon()
	})
}

// Close closes the connection at once.
func (c *Conn) Close() { _ = c.conn.Close() }

// FinishSoon bounds what writing may still take.
func (c *Conn) FinishSoon() { c.Writer.FinishWithin(byeTimeout) }

// LimitSilence sets how long nothing may come; 0: as long as a link may live
// without a ping.
func (c *Conn) LimitSilence(d time.Duration) {
	if d == 0 {
		d = c.dead
	}
	c.heard.Limit = d
}

// AllowSlowPings is for the side that pings: the time for which a ping is on its
// way, or cannot be written, is no silence as long as bytes move.
func (c *Conn) AllowSlowPings() {
	c.heard.More = func(silent time.Duration) time.Duration { return c.Writer.SilenceAllowance(silent, c.dead) }
}

// Ready tells whether the next frame can be had without waiting.
func (c *Conn) Ready() bool { return c.frames.Ready() }

// Next waits for the next frame; its body is valid until the next call.
func (c *Conn) Next() (kind byte, body []byte, err error) {
	kind, body, err = c.frames.Next()
	if err != nil {
		var t net.Error
		if errors.As(err, &t) && t.Timeout() {
			err = fmt.Errorf("nothing came for %s", c.heard.Limit)
		}
	}
	return kind, body, err
}

// kernelBuffer is what the kernel may hold of a link at either end: a small
// message waits behind it. It grows to megabytes where it is not bounded.
const kernelBuffer = 256 << 10

// limitKernelBuffers bounds the kernel's buffers of a link, if it has some.
func limitKernelBuffers(conn net.Conn) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok {
		_ = tcp.SetReadBuffer(kernelBuffer) // it works without
		_ = tcp.SetWriteBuffer(kernelBuffer)
	}
}

// Identity says which link a stream is: a process has one instance, and its next
// link to the same coordinator a higher number.
type Identity struct {
	Instance [16]byte
	Number   uint64
}

// AppendOpen appends the first frame of a stream.
func AppendOpen(dst []byte, id Identity) []byte {
	start := len(dst)
	dst = append(BeginFrame(dst, KindOpen), openVersion)
	dst = append(dst, id.Instance[:]...)
	dst = binary.BigEndian.AppendUint64(dst, id.Number)
	EndFrame(dst, start)
	return dst
}

// ReadOpen waits for the first frame of a stream.
func (c *Conn) ReadOpen() (id Identity, err error) {
	kind, body, err := c.Next()
	if err != nil {
		return id, err
	}
	if kind != KindOpen || len(body) != 25 {
		return id, Malformed("the first frame is of kind %d with %d bytes", kind, len(body))
	}
	if body[0] != openVersion {
		return id, Malformed("the link begins in version %d, this build reads %d", body[0], openVersion)
	}
	copy(id.Instance[:], body[1:])
	id.Number = binary.BigEndian.Uint64(body[17:])
	return id, nil
}

// AppendPing appends a ping.
func AppendPing(dst []byte) []byte {
	return AppendFrame(dst, KindPing, binary.BigEndian.AppendUint64(nil, uint64(wireflow.Now())))
}

// AppendPong appends the answer to a ping.
func AppendPong(dst, ping []byte) ([]byte, error) {
	if len(ping) != 8 {
		return dst, Malformed("a ping of %d bytes", len(ping))
	}
	return AppendFrame(dst, KindPong, append(append(make([]byte, 0, 9), ping...), Version)), nil
}

// PongVersion is the version that the other side tells in a pong.
func PongVersion(pong []byte) byte {
	if len(pong) > 8 {
		return pong[8]
	}
	return 1
}
