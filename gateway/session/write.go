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
	writeMail     = 256      // messages
	writeBytes    = 64 << 10 // of mail
	keepBuffer    = 256 << 10
	maxReceiptIDs = 20_000 // message ids of one receipt
)

// batch is what is written next.
type batch struct {
	buf  []byte
	mail []wire.Message
}

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, 16<<10)} }}

func newBatch() *batch { return batches.Get().(*batch) }

func (b *batch) release() {
	if cap(b.buf) <= keepBuffer {
		batches.Put(b)
	}
}

// fill collects what waits: own frames and receipts, then mail, then one chunk.
// ended reports that the connection ends behind it.
func (c *Conn) fill(b *batch) (ended bool) {
	if cap(b.buf) > keepBuffer {
		b.buf = make([]byte, 0, 16<<10)
	}
	var mail *router.Consumer
	b.buf, mail, ended = c.takePending(b.buf[:0])
	if !ended && mail != nil && len(b.buf) < writeBytes {
		b.buf, b.mail = c.takeMail(b.buf, mail, b.mail)
	}
	return ended
}

// write writes first what is left of b, then what waits until there is nothing.
// Whoever runs it is the only one that touches the line: c.writing is theirs.
func (c *Conn) write(b *batch, left []byte) {
	defer b.release()
	ended := false
	for {
		if len(left) == 0 {
			if ended = c.fill(b); len(b.buf) == 0 {
				if c.finishWriting() {
					return
				}
				continue
			}
			left = b.buf
		}
		if err := c.line.Write(left); err != nil {
			c.writeFailed(err)
			return
		}
		if left = nil; ended && c.finishWriting() {
			return
		}
	}
}

// takePending moves what waits, but for mail, to buf.
func (c *Conn) takePending(buf []byte) (taken []byte, mail *router.Consumer, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recheck = false
	buf = append(buf, c.out...)
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	c.out = c.out[:0]
	if n := min(len(c.receipts), 3*maxReceiptIDs); n > 0 && !c.ended {
		buf = wire.AppendControlFrame(buf, wire.TypeReceipt, c.receipts[:n])
		c.receipts = c.receipts[:copy(c.receipts, c.receipts[n:])]
	}
	if !c.ended {
		buf = c.chunker.appendChunk(buf)
	}
	if !c.chunker.full() {
		mail = c.mail
	}
	c.signalRoom()
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
			c.End(c.mailboxLost(err))
		}
		return buf, msgs
	}
	c.mu.Lock()
	for i := range msgs {
		buf = c.chunker.add(buf, &msgs[i], true)
	}
	c.mu.Unlock()
	clear(msgs)
	return buf, msgs
}

// mailboxLost returns why the mailbox is not this connection's any more.
func (c *Conn) mailboxLost(err error) *wire.Error {
	live := c.live.Load()
	var refusal *wire.Error
	if errors.As(err, &refusal) && (refusal.Code == wire.CodeConflict || live == nil) {
		return refusal
	}
	return live.Gone()
}

// finishWriting lets the writer end if there is nothing to write; behind the last
// frame it closes the line.
func (c *Conn) finishWriting() bool {
	c.mu.Lock()
	if len(c.out) > 0 || !c.ended && (c.recheck || len(c.receipts) > 0 || len(c.chunker.transfers) > 0) {
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
	return c.finishWriting()
}

// writeFailed ends a connection that cannot be written to.
func (c *Conn) writeFailed(err error) {
	c.broken.Store(true) // the reader may read the end of a connection that was reset
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.Ended() {
		c.hub.counts.slow.Add(1)
		name := ""
		if live := c.live.Load(); live != nil {
			name = live.FullName()
		}
		c.hub.recordCutOff(name, c.from.Remote)
	}
	c.mu.Lock()
	if !c.ended {
		c.ended, c.why = true, wire.Refuse(wire.CodeBusy, "this connection read too slowly")
		c.cancel()
		c.signalRoom()
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
