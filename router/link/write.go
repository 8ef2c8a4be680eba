package link

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	wireflow "github.com/folkmoot/folkmoot/wire/flow"
)

// maxTryWrite is how much TryWrite writes at most.
const maxTryWrite = 16 << 10

// byeText is what a side that closes a link in order says last.
var byeText = []byte("closed by its coordinator")

// WriteLoop writes what was appended to a connection, pings first, large messages
// one chunk a time. It ends with an error, or with nil after saying bye when ctx
// has ended.
func (o *Outbox[E]) WriteLoop(ctx context.Context, to *wireflow.Writer) error {
	ping := time.NewTicker(o.cfg.Ping)
	defer ping.Stop()
	w := writer[E]{o: o, to: to, pingPending: true} // with the first frames goes a ping
	for {
		select {
		case <-ctx.Done():
			w.sayBye()
			return nil
		case <-ping.C:
			w.queuePing()
		default:
		}
		wrote, err := w.writeOnce()
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if wrote {
			continue
		}
		select {
		case <-o.wake:
		case <-ping.C:
			w.queuePing()
		case <-ctx.Done():
		}
	}
}

// writer is WriteLoop's, with its buffers.
type writer[E any] struct {
	o           *Outbox[E]
	to          *wireflow.Writer
	pingPending bool // what is written next holds a ping
	chunk       []byte
	data        []*Segment
	all         net.Buffers
}

func (w *writer[E]) queuePing() {
	w.o.Mu.Lock()
	w.o.control = AppendPing(w.o.control)
	w.o.Mu.Unlock()
	w.pingPending = true
}

// sayBye writes what TryWrite has begun and a bye.
func (w *writer[E]) sayBye() {
	o := w.o
	o.writeLock.Lock()
	defer o.writeLock.Unlock()
	o.Mu.Lock()
	rest := o.unwritten
	o.unwritten = nil
	o.Mu.Unlock()
	_, _ = w.to.Write(AppendFrame(rest, KindBye, byeText))
}

// writeOnce writes what waits; false means that there was nothing.
func (w *writer[E]) writeOnce() (bool, error) {
	o := w.o
	o.writeLock.Lock()
	defer o.writeLock.Unlock()
	rest, control, data, reports := o.takePending(w.data[:0])
	w.data = data
	if len(reports) > 0 {
		control = o.cfg.AppendReports(control, reports)
	}
	w.chunk = o.appendChunk(w.chunk[:0])
	all := append(w.all[:0], rest, control)
	for _, s := range data {
		all = append(all, s.B)
	}
	all = slices.DeleteFunc(append(all, w.chunk), func(b []byte) bool { return len(b) == 0 })
	w.all = all
	if len(all) == 0 {
		return false, nil
	}
	if err := writeAll(w.to, all); err != nil {
		return true, err
	}
	if w.pingPending {
		w.pingPending = false
		w.to.PingSent()
	}
	clear(w.all)
	o.recycle(data)
	return true, nil
}

// writeAll writes all with one system call if the connection can do that. None
// of all is empty.
func writeAll(to *wireflow.Writer, all net.Buffers) error {
	if len(all) == 1 {
		_, err := to.Write(all[0])
		return err
	}
	return to.WriteBuffers(&all)
}

// takePending takes what is to be written next; from now on it may have left.
func (o *Outbox[E]) takePending(to []*Segment) (rest, control []byte, data []*Segment, reports []string) {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	rest, o.unwritten = o.unwritten, nil
	control, o.control = o.control, nil
	reports, o.reports = o.reports, nil
	data = o.backlog.Take(to)
	if o.backlog.Len() == 0 {
		o.takenSeq = o.seq
	} else {
		o.takenSeq = data[len(data)-1].Last
	}
	return rest, control, data, reports
}

// recycle gives back what was written, unless the payload in it may be needed
// once more.
func (o *Outbox[E]) recycle(data []*Segment) {
	if len(data) == 0 {
		return
	}
	o.Mu.Lock()
	for i, s := range data {
		o.backlog.Written(s)
		data[i] = nil
	}
	o.Mu.Unlock()
}

// TryWrite writes what waits for the link if that is little, nobody else writes and
// the socket takes it at once; all else is the writer's. No lock is held.
func (o *Outbox[E]) TryWrite() {
	if !o.writeLock.TryLock() {
		o.Wake()
		return
	}
	o.Mu.Lock()
	var s *Segment
	if o.direct != nil && !o.waitsBesidesData() {
		s = o.backlog.TakeOnly(maxTryWrite)
	}
	if s == nil {
		o.Mu.Unlock()
		o.writeLock.Unlock()
		o.Wake()
		return
	}
	direct := o.direct
	o.takenSeq = o.seq
	o.Mu.Unlock()
	n := direct.Write(s.B)
	o.Mu.Lock()
	if n < len(s.B) {
		o.unwritten = append(o.unwritten, s.B[n:]...)
	}
	o.backlog.Written(s)
	more := o.waitsBesidesData() || o.backlog.Len() > 0
	o.Mu.Unlock()
	o.writeLock.Unlock()
	if more {
		o.Wake()
	}
}

// waitsBesidesData tells whether more than small messages is to be written; Mu is
// held.
func (o *Outbox[E]) waitsBesidesData() bool {
	return len(o.unwritten)+len(o.control)+len(o.reports)+len(o.active) > 0
}

// Next waits for the next batch of outcomes on the connection; pong is told the
// other side's version with every pong. The batch is valid until the next call.
func (o *Outbox[E]) Next(c *Conn, pong func(version byte)) (batch []byte, err error) {
	for {
		kind, body, err := c.Next()
		if err != nil {
			return nil, err
		}
		switch kind {
		case KindOutcomes:
			return body, nil
		case KindPong:
			c.Writer.PongReceived()
			pong(PongVersion(body))
		case KindBye:
			return nil, fmt.Errorf("coordinator %s said bye: %q", o.cfg.Peer, body)
		default:
			return nil, Malformed("frame of kind %d from the accepting side", kind)
		}
	}
}
