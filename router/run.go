package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/folkmoot/folkmoot/wire/awake"
	wireflow "github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/prompt"
)

// deadAfter is how many pings may pass without a byte before a link is dead.
const deadAfter = 3

// byeTimeout is how long a link that is closed in order may take to say bye.
const byeTimeout = 200 * time.Millisecond

// run dials, serves and redials until ctx ends.
func (l *outLink) run(ctx context.Context) {
	// Full jitter: the library draws from 0 to twice the interval.
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = l.r.limits.BackoffMin / 2
	pause.MaxInterval = l.r.limits.BackoffMax / 2
	pause.RandomizationFactor = 1
	pause.Multiplier = 2
	for number := uint64(1); ; number++ {
		select {
		case <-l.dialNow: // before this dial
		default:
		}
		conn, err := l.dial(ctx)
		dialled := err == nil
		if dialled {
			var good bool
			if good, err = l.serve(ctx, conn, number); good {
				pause.Reset()
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
		l.backOff(ctx, pause, dialled)
	}
}

// backOff waits before the next dial. Once the other side is heard that is no more
// than after a first failure, however long nobody was reached; but not if it
// was reached and the link did not last.
func (l *outLink) backOff(ctx context.Context, pause *backoff.ExponentialBackOff, dialled bool) {
	wait := time.NewTimer(pause.NextBackOff())
	defer wait.Stop()
	heard := l.dialNow
	if dialled {
		heard = nil
	}
	for {
		select {
		case <-wait.C:
			return
		case <-ctx.Done():
			return
		case <-heard:
			heard = nil
			pause.Reset()
			wait.Reset(pause.NextBackOff())
		}
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
		wake(l.dialNow)
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
	limitKernelBuffers(conn)
	ctx, cancel := context.WithCancelCause(parent)
	w := wireflow.NewWriter(conn, deadAfter*l.r.limits.Ping)
	defer interruptOn(ctx, conn, w)()
	l.seen.Store(0)
	l.mu.Lock()
	l.control = appendPing(l.appendOpen(l.control[:0], number))
	l.seq, l.takenSeq = 0, 0
	l.prompt = prompt.New(conn)
	l.up, l.err, l.dialFailed, l.version, l.pendingReports = true, "", false, 0, nil
	l.mu.Unlock()
	l.r.stats.inc(cLinksOpened)
	l.r.log.Info("link up", "to", l.id, "number", number)

	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		cancel(l.writeLoop(ctx, w))
		conn.Close()
	}()
	l.pumpWaiting()
	good, err = l.readLoop(ctx, conn, w)
	cancel(err) // the first reason stays
	if parent.Err() == nil {
		conn.Close() // at once: nobody is left to say bye to
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

// interruptOn makes a connection's reads fail and its writes end soon once ctx ends.
func interruptOn(ctx context.Context, conn net.Conn, w *wireflow.Writer) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Now())
		w.Hurry(byeTimeout)
	})
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

// readUntilSilent reads from conn until nothing has come for d, or interruptOn ends the read.
func readUntilSilent(ctx context.Context, conn net.Conn, d time.Duration) *awake.Reader {
	return &awake.Reader{Conn: conn, Limit: d, Ended: ctx.Err}
}

// describeTimeout words a read that timed out.
func describeTimeout(err error, d time.Duration) error {
	var t net.Error
	if errors.As(err, &t) && t.Timeout() {
		return fmt.Errorf("nothing came for %s", d)
	}
	return err
}

// logLinkEnd logs the end of a link and counts it if the other side's bytes were
// the reason.
func (r *Router) logLinkEnd(direction, id string, err error) {
	var p protocolError
	if errors.As(err, &p) {
		r.stats.inc(cLinkErrors)
		r.log.Warn("link broken by the other side", direction, id, "reason", err)
		return
	}
	r.log.Info("link down", direction, id, "reason", err)
}

func (l *outLink) appendOpen(dst []byte, number uint64) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, kindOpen), openVersion)
	dst = append(dst, l.r.instance[:]...)
	dst = binary.BigEndian.AppendUint64(dst, number)
	endFrame(dst, start)
	return dst
}

func appendPing(dst []byte) []byte {
	return appendFrame(dst, kindPing, binary.BigEndian.AppendUint64(nil, uint64(wireflow.Now())))
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
			_, _ = to.Write(appendFrame(rest, kindBye, []byte("closed by its coordinator")))
			l.writeLock.Unlock()
			return nil
		case <-ping.C:
			l.mu.Lock()
			l.control = appendPing(l.control)
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
			l.control = appendPing(l.control)
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
	data        []*segment
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
		all = append(all, s.b)
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
		w.to.Asked()
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
	if l.prompt == nil || len(l.unwritten)+len(l.control)+len(l.pendingReports)+len(l.activeLarge) > 0 || len(l.backlog) != 1 || len(l.backlog[0].b) > maxTryWrite {
		l.mu.Unlock()
		l.writeLock.Unlock()
		wake(l.wake)
		return
	}
	s, w := l.backlog[0], l.prompt
	l.backlog[0] = nil
	l.backlog = l.backlog[:0]
	l.takenSeq = l.seq
	l.mu.Unlock()
	n := w.Write(s.b)
	l.mu.Lock()
	if n < len(s.b) {
		l.unwritten = append(l.unwritten, s.b[n:]...)
	}
	s.written = true
	l.recycleSegment(s)
	more := len(l.unwritten)+len(l.control)+len(l.pendingReports)+len(l.activeLarge)+len(l.backlog) > 0
	l.mu.Unlock()
	l.writeLock.Unlock()
	if more {
		wake(l.wake)
	}
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
func (l *outLink) recycleSegments(data []*segment) {
	if len(data) == 0 {
		return
	}
	l.mu.Lock()
	for i, s := range data {
		s.written = true
		l.recycleSegment(s)
		data[i] = nil
	}
	l.mu.Unlock()
}

// takePending takes what is to be written next; from now on it may have left.
func (l *outLink) takePending(to []*segment) (rest, control []byte, data []*segment, owed []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest, l.unwritten = l.unwritten, nil
	control, l.control = l.control, nil
	owed, l.pendingReports = l.pendingReports, nil
	data = l.backlog.take(to)
	if len(l.backlog) == 0 {
		l.takenSeq = l.seq
	} else {
		l.takenSeq = data[len(data)-1].last
	}
	return rest, control, data, owed
}

// readLoop takes outcomes until the connection fails or is dead.
func (l *outLink) readLoop(ctx context.Context, conn net.Conn, w *wireflow.Writer) (good bool, err error) {
	dead := deadAfter * l.r.limits.Ping
	heard := readUntilSilent(ctx, conn, dead)
	heard.More = func(silent time.Duration) time.Duration { return w.More(silent, dead) }
	frames := newFrameReader(heard)
	var scratch []*entry
	for {
		kind, body, err := frames.next()
		if err != nil {
			return good, describeTimeout(err, dead)
		}
		switch kind {
		case kindOutcomes:
			err = l.handleOutcomes(body, &scratch)
		case kindPong:
			good = true
			w.Answered()
			if len(body) > 8 {
				l.setPeerVersion(body[8])
			} else {
				l.setPeerVersion(1)
			}
		case kindBye:
			err = fmt.Errorf("coordinator %s said bye: %q", l.id, body)
		default:
			err = protocolErrorf("frame of kind %d from the accepting side", kind)
		}
		if err != nil {
			return good, err
		}
	}
}
