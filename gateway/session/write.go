package session

import (
	"errors"
	"os"
	"sync"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// Sizes of one write.
const (
	writeMail  = 256      // messages
	writeBytes = 64 << 10 // of mail
	keepBuffer = 256 << 10
	idsAtOnce  = 20_000 // message ids of one receipt
)

// draft is what is written next.
type draft struct {
	buf  []byte
	mail []wire.Message
}

var drafts = sync.Pool{New: func() any { return &draft{buf: make([]byte, 0, 16<<10)} }}

func newDraft() *draft { return drafts.Get().(*draft) }

func (d *draft) free() {
	if cap(d.buf) <= keepBuffer {
		drafts.Put(d)
	}
}

// fill takes what waits: own frames and receipts, then mail, then one chunk.
// ended tells that after it comes the end.
func (c *Conn) fill(d *draft) (ended bool) {
	if cap(d.buf) > keepBuffer {
		d.buf = make([]byte, 0, 16<<10)
	}
	var mail *router.Consumer
	d.buf, mail, ended = c.takeOut(d.buf[:0])
	if !ended && mail != nil && len(d.buf) < writeBytes {
		d.buf, d.mail = c.takeMail(d.buf, mail, d.mail)
	}
	return ended
}

// write writes first what is left of d, then what waits until there is nothing.
// Whoever runs it is the only one that touches the line: c.writing is theirs.
func (c *Conn) write(d *draft, left []byte) {
	defer d.free()
	ended := false
	for {
		if len(left) == 0 {
			if ended = c.fill(d); len(d.buf) == 0 {
				if c.rest() {
					return
				}
				continue
			}
			left = d.buf
		}
		if err := c.line.Write(left); err != nil {
			c.lost(err)
			return
		}
		if left = nil; ended && c.rest() {
			return
		}
	}
}

// takeOut moves what waits, but for mail, to buf.
func (c *Conn) takeOut(buf []byte) (taken []byte, mail *router.Consumer, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again = false
	buf = append(buf, c.out...)
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	c.out = c.out[:0]
	if n := min(len(c.receipts), 3*idsAtOnce); n > 0 && !c.ended {
		buf = wire.AppendAbout(buf, wire.TypeReceipt, c.receipts[:n])
		c.receipts = c.receipts[:copy(c.receipts, c.receipts[n:])]
	}
	if !c.ended {
		buf = c.cut.chunk(buf)
	}
	if !c.cut.full() {
		mail = c.mail
	}
	c.freed()
	return buf, mail, c.ended
}

// takeMail appends mail to buf. What it cannot take any more ends the
// connection.
func (c *Conn) takeMail(buf []byte, mail *router.Consumer, msgs []wire.Message) ([]byte, []wire.Message) {
	msgs, err := mail.Take(msgs[:0], writeMail, writeBytes)
	if err != nil {
		c.mu.Lock()
		current := c.mail == mail
		c.mu.Unlock()
		if current {
			c.End(c.over(err))
		}
		return buf, msgs
	}
	c.mu.Lock()
	for i := range msgs {
		buf = c.cut.add(buf, &msgs[i], true)
	}
	c.mu.Unlock()
	clear(msgs)
	return buf, msgs
}

// over says why the mailbox is not this connection's any more.
func (c *Conn) over(err error) *wire.Error {
	live := c.live.Load()
	var refusal *wire.Error
	if errors.As(err, &refusal) && (refusal.Code == wire.CodeConflict || live == nil) {
		return refusal
	}
	return live.Gone()
}

// rest lets the writer end if there is nothing to write; after the last frame
// it closes the line.
func (c *Conn) rest() bool {
	c.mu.Lock()
	if len(c.out) > 0 || !c.ended && (c.again || len(c.receipts) > 0 || len(c.cut.transfers) > 0) {
		c.mu.Unlock()
		return false
	}
	if !c.ended || c.closed {
		c.writing = false
		c.mu.Unlock()
		return true
	}
	c.closed = true
	c.mu.Unlock()
	c.line.Close()
	return c.rest()
}

// lost ends a connection that cannot be written to.
func (c *Conn) lost(err error) {
	c.broken.Store(true) // the reader may read the end of a connection that was reset
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.Ended() {
		c.hub.counts.slow.Add(1)
		name := ""
		if live := c.live.Load(); live != nil {
			name = live.FullName()
		}
		c.hub.cutOff(name, c.from.Remote)
	}
	c.mu.Lock()
	if !c.ended {
		c.ended, c.why = true, wire.Refuse(wire.CodeBusy, "this connection read too slowly")
		c.cancel()
		c.freed()
	}
	c.out = c.out[:0]
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if first {
		c.line.Close()
	}
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
}
