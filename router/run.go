package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	wireflow "github.com/folkmoot/folkmoot/wire/flow"
)

// run dials, serves and redials until ctx ends.
func (l *outLink) run(ctx context.Context) {
	for number := uint64(1); ; number++ {
		l.redial.Begin()
		conn, err := l.dial(ctx)
		dialled := err == nil
		if dialled {
			var good bool
			if good, err = l.serve(ctx, conn, number); good {
				l.redial.Reset()
			}
		}
		if ctx.Err() != nil {
			l.mu.Lock()
			l.closed = true
			l.mu.Unlock()
			l.pumpWaiting() // those who wait find another route, or that there is none
			return
		}
		l.mu.Lock()
		l.err, l.dialFailed = err.Error(), !dialled
		l.mu.Unlock()
		l.redial.Wait(ctx, dialled)
	}
}

// PeerAlive tells that there is a sign of life of a coordinator that may not have
// been reached: a link to it that waits to be dialled again is dialled now. It
// does not block.
func (r *Router) PeerAlive(id string) {
	r.linksMu.RLock()
	l := r.links[id]
	r.linksMu.RUnlock()
	if l != nil {
		l.redial.Alive()
	}
}

func (l *outLink) dial(ctx context.Context) (net.Conn, error) {
	addr, ok := l.r.dir.Address(l.id)
	if !ok {
		return nil, fmt.Errorf("no address of coordinator %s is known", l.id)
	}
	ctx, cancel := context.WithTimeout(ctx, l.r.limits.DialTimeout)
	defer cancel()
	conn, err := l.r.dialer.DialLink(ctx, addr, l.id)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

// serve uses one connection until it ends. good tells whether the other side
// ever answered a ping.
func (l *outLink) serve(parent context.Context, conn net.Conn, number uint64) (good bool, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	c, stop := link.NewConn(ctx, conn, l.r.limits.Ping)
	defer stop()
	l.seen.Store(0)
	l.mu.Lock()
	l.control = link.AppendPing(link.AppendOpen(l.control[:0], link.Identity{Instance: l.r.instance, Number: number}))
	l.seq, l.takenSeq = 0, 0
	l.direct = c.Direct
	l.up, l.err, l.dialFailed, l.version, l.pendingReports = true, "", false, 0, nil
	l.mu.Unlock()
	l.r.stats.inc(cLinksOpened)
	l.r.log.Info("link up", "to", l.id, "number", number)

	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		cancel(l.writeLoop(ctx, c.Writer))
		c.Close()
	}()
	l.pumpWaiting()
	good, err = l.readLoop(c)
	cancel(err) // the first reason stays
	if parent.Err() == nil {
		c.Close() // at once: nobody is left to say bye to
	}
	<-wrote
	if err = context.Cause(ctx); parent.Err() != nil {
		err = errStopping
	}
	l.disconnected(err)
	l.r.stats.inc(cLinksLost)
	l.r.logLinkEnd("to", l.id, err)
	return good, err
}

// logLinkEnd logs the end of a link and counts it if the other side's bytes were
// the reason.
func (r *Router) logLinkEnd(direction, id string, err error) {
	var p link.ProtocolError
	if errors.As(err, &p) {
		r.stats.inc(cLinkErrors)
		r.log.Warn("link broken by the other side", direction, id, "reason", err)
		return
	}
	r.log.Info("link down", direction, id, "reason", err)
}

// writeLoop takes what was appended and writes it, pings first, large messages one
// chunk a time. It ends with an error, or with nil after saying bye.
func (l *outLink) writeLoop(ctx context.Context, to *wireflow.Writer) error {
	ping := time.NewTicker(l.r.limits.Ping)
	defer ping.Stop()
	w := linkWriter{to: to, pingPending: true} // with the first frames goes a ping
	for {
		select {
		case <-ctx.Done():
			l.writeLock.Lock()
			l.mu.Lock()
			rest := l.unwritten
			l.unwritten = nil
			l.mu.Unlock()
			_, _ = to.Write(link.AppendFrame(rest, link.KindBye, []byte("closed by its coordinator")))
			l.writeLock.Unlock()
			return nil
		case <-ping.C:
			l.mu.Lock()
			l.control = link.AppendPing(l.control)
			l.mu.Unlock()
			w.pingPending = true
		default:
		}
		some, err := w.writeOnce(l)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if some {
			continue
		}
		select {
		case <-l.wake:
		case <-ping.C:
			l.mu.Lock()
			l.control = link.AppendPing(l.control)
			l.mu.Unlock()
			w.pingPending = true
		case <-ctx.Done():
		}
	}
}

// linkWriter holds the writer's buffers.
type linkWriter struct {
	to          *wireflow.Writer
	pingPending bool // what is written next holds a ping
	chunk       []byte
	data        []*link.Segment
	all         net.Buffers
}

// writeOnce writes what waits; false means that there was nothing.
func (w *linkWriter) writeOnce(l *outLink) (bool, error) {
	l.writeLock.Lock()
	defer l.writeLock.Unlock()
	rest, control, data, owed := l.takePending(w.data[:0])
	w.data = data
	if len(owed) > 0 {
		control = l.r.appendReports(control, owed)
	}
	w.chunk = l.appendChunk(w.chunk[:0])
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
	l.recycleSegments(data)
	return true, nil
}

// maxTryWrite is how much is written at most by a goroutine that has read.
const maxTryWrite = 16 << 10

// tryWrite writes what waits for the link if that is little, nobody else writes and
// the socket takes it at once; all else is the writer's. No lock is held.
func (l *outLink) tryWrite() {
	if !l.writeLock.TryLock() {
		wake(l.wake)
		return
	}
	l.mu.Lock()
	var s *link.Segment
	if l.direct != nil && !l.waitsBesidesData() {
		s = l.backlog.TakeOnly(maxTryWrite)
	}
	if s == nil {
		l.mu.Unlock()
		l.writeLock.Unlock()
		wake(l.wake)
		return
	}
	direct := l.direct
	l.takenSeq = l.seq
	l.mu.Unlock()
	n := direct.Write(s.B)
	l.mu.Lock()
	if n < len(s.B) {
		l.unwritten = append(l.unwritten, s.B[n:]...)
	}
	l.backlog.Written(s)
	more := l.waitsBesidesData() || l.backlog.Len() > 0
	l.mu.Unlock()
	l.writeLock.Unlock()
	if more {
		wake(l.wake)
	}
}

// waitsBesidesData tells whether more than small messages is to be written; mu is
// held.
func (l *outLink) waitsBesidesData() bool {
	return len(l.unwritten)+len(l.control)+len(l.pendingReports)+len(l.activeLarge) > 0
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

// recycleSegments gives back what was written, unless the payload in it may be needed
// once more.
func (l *outLink) recycleSegments(data []*link.Segment) {
	if len(data) == 0 {
		return
	}
	l.mu.Lock()
	for i, s := range data {
		l.backlog.Written(s)
		data[i] = nil
	}
	l.mu.Unlock()
}

// takePending takes what is to be written next; from now on it may have left.
func (l *outLink) takePending(to []*link.Segment) (rest, control []byte, data []*link.Segment, owed []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest, l.unwritten = l.unwritten, nil
	control, l.control = l.control, nil
	owed, l.pendingReports = l.pendingReports, nil
	data = l.backlog.Take(to)
	if l.backlog.Len() == 0 {
		l.takenSeq = l.seq
	} else {
		l.takenSeq = data[len(data)-1].Last
	}
	return rest, control, data, owed
}

// readLoop takes outcomes until the connection fails or is dead.
func (l *outLink) readLoop(c *link.Conn) (good bool, err error) {
	c.AllowSlowPings()
	var scratch []*entry
	for {
		kind, body, err := c.Next()
		if err != nil {
			return good, err
		}
		switch kind {
		case link.KindOutcomes:
			err = l.handleOutcomes(body, &scratch)
		case link.KindPong:
			good = true
			c.Writer.PongReceived()
			l.setPeerVersion(link.PongVersion(body))
		case link.KindBye:
			err = fmt.Errorf("coordinator %s said bye: %q", l.id, body)
		default:
			err = link.Malformed("frame of kind %d from the accepting side", kind)
		}
		if err != nil {
			return good, err
		}
	}
}
