package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// serve uses the link until it is lost and says why. Nothing of it runs afterwards.
func (l *link) serve() error {
	ctx, cancel := context.WithCancelCause(l.n.ctx)
	n := l.n
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		cancel(l.write(ctx))
		l.close()
		n.mu.Lock()
		l.closed = true
		n.signalRoom()
		n.mu.Unlock()
	}()
	n.watches.resume(n, l)
	err := l.read()
	cancel(err)
	l.close()
	<-wrote
	err = context.Cause(ctx)
	n.mu.Lock()
	n.link = nil
	if l.signing != nil {
		l.signing.late.Stop()
	}
	n.mu.Unlock()
	n.outgoing.connectionLost(fmt.Errorf("the connection to %s was lost: %w", n.Welcome().Home, err))
	return err
}

// errLease ends a link whose session may be another's by now.
var errLease = errors.New("the lease ran out without a ping answered")

// write writes what waits, and pings, until the link is lost.
func (l *link) write(ctx context.Context) error {
	tick := time.NewTicker(l.ping)
	defer tick.Stop()
	lease := time.NewTimer(0) // it is seen to at once
	defer lease.Stop()
	for ping := true; ; {
		some, err := l.writeOnce(ping)
		ping = false
		if err != nil {
			return err
		}
		if some {
			select {
			case <-tick.C: // also while there is always something to write
				ping = true
			default:
			}
			continue
		}
		select {
		case <-l.wakeup:
		case <-tick.C:
			ping = true
		case <-lease.C:
			l.n.mu.Lock()
			left := time.Until(l.n.until)
			l.n.mu.Unlock()
			if left <= 0 {
				return errLease
			}
			lease.Reset(left) // it has been renewed since, or is new
		case <-ctx.Done():
			return nil
		}
	}
}

// writeOnce writes what waits, and a ping if it is time for one; false means that there was nothing.
func (l *link) writeOnce(ping bool) (bool, error) {
	l.writeLock.Lock()
	defer l.writeLock.Unlock()
	n := l.n
	buf := append(l.buf[:0], l.unwritten...)
	l.unwritten = l.unwritten[:0]
	if ping { // before what may take long to be written
		buf = wire.AppendControlFrame(buf, wire.TypePing, pingData(time.Now()))
		defer l.flow.PingSent()
	}
	n.mu.Lock()
	switch {
	case l.signing == nil:
		buf = n.outgoing.appendNext(buf)
	case l.signing.frame != nil:
		buf, l.signing.frame, l.signing.sent = append(buf, l.signing.frame...), nil, time.Now()
	}
	n.mu.Unlock()
	if l.buf = buf; cap(buf) > 4*maxQueued {
		l.buf = nil
	}
	if len(buf) == 0 {
		return false, nil
	}
	if buf = buf[l.prompt.Write(buf):]; len(buf) == 0 {
		return true, nil
	}
	_, err := l.flow.Write(buf)
	return true, err
}

// promptBytes is how much is written at most by somebody who waits for the outcome.
const promptBytes = 16 << 10

// push writes what waits, if that is little, nobody else writes and the socket takes it at once; all else is the
// writer's.
func (l *link) push() {
	n := l.n
	if l.prompt == nil || !l.writeLock.TryLock() {
		l.wakeWriter()
		return
	}
	defer l.writeLock.Unlock()
	n.mu.Lock()
	o := &n.outgoing
	if n.link != l || l.closed || l.signing != nil || !time.Now().Before(n.until) ||
		len(l.unwritten)+len(o.requeued)+len(o.large) > 0 || len(o.out) > promptBytes {
		n.mu.Unlock()
		l.wakeWriter()
		return
	}
	l.buf = o.appendNext(l.buf[:0])
	n.mu.Unlock()
	if k := l.prompt.Write(l.buf); k < len(l.buf) {
		l.unwritten = append(l.unwritten, l.buf[k:]...)
		l.wakeWriter()
	}
}

// wakeWriter has the writer look.
func (l *link) wakeWriter() {
	select {
	case l.wakeup <- struct{}{}:
	default:
	}
}

// started is what pings count from: a monotonic clock.
var started = time.Now()

func pingData(now time.Time) []byte {
	b, _ := json.Marshal(int64(now.Sub(started))) // a number
	return b
}

// read handles frames until the link is lost.
func (l *link) read() error {
	var chunks wire.Reassembler
	for {
		m, err := l.frames.Next()
		if err != nil {
			return err
		}
		if m.To != "" {
			l.handleMessage(&m)
			continue
		}
		switch m.Type {
		case wire.TypePing:
			l.n.mu.Lock()
			var data []byte
			if len(m.Payload) > 0 {
				data = m.Payload[0]
			}
			l.n.outgoing.out = wire.AppendControlFrame(l.n.outgoing.out, wire.TypePong, data)
			l.n.wakeWriter()
			l.n.mu.Unlock()
		case wire.TypePong:
			l.flow.PongReceived()
			var at int64
			if len(m.Payload) > 0 && json.Unmarshal(m.Payload[0], &at) == nil {
				if l.signing != nil { // it is the life of the connection alone
					continue
				}
				l.n.mu.Lock()
				l.n.extendLease(started.Add(time.Duration(at)))
				l.n.mu.Unlock()
			}
		case wire.TypeReceipt:
			if len(m.Payload) > 0 {
				l.n.outgoing.delivered(m.Payload[0])
			}
		case wire.TypeBye:
			l.bye = byeOf(&m)
			return l.bye
		case wire.TypeChunk:
			whole, ok, err := chunks.Add(&m)
			if err != nil {
				return err
			}
			if ok {
				l.handleMessage(&whole)
			}
		}
	}
}

// handleMessage handles one message from a component or from COORDINATOR.
func (l *link) handleMessage(m *wire.Message) {
	n := l.n
	if l.signedIn(m) {
		return
	}
	// Failures repeat the id of the message; answers of components do not ask for one.
	if m.ID != 0 && fromCoordinator(m.From) {
		if p := n.outgoing.removeSend(m.ID, &m.Conversation); p != nil {
			l.failed(p, m, false)
			return
		}
	}
	if p := n.outgoing.removeCall(m.Conversation); p != nil {
		if notSignedIn(m) {
			l.failed(p, m, true)
			return
		}
		if fromCoordinator(m.From) {
			n.watches.onSubscribed(m)
		}
		p.complete(*m, nil)
		return
	}
	if m.Type == wire.TypeJSON && len(m.Payload) > 0 && bytes.Contains(m.Payload[0], []byte(`"method"`)) {
		var in jsonrpc.Message
		if json.Unmarshal(m.Payload[0], &in) == nil && in.Method != "" {
			if fromCoordinator(m.From) && n.watches.dispatch(m.Conversation, in.Method, in.Params) {
				return
			}
			if n.request(m, &in) {
				return
			}
		}
	}
	if !n.cfg.Inbox {
		n.log.Debug("a message that nobody waits for", "from", m.From)
		return
	}
	l.deliver(m)
}

func fromCoordinator(full string) bool {
	const suffix = "." + wire.Coordinator
	return len(full) > len(suffix) && full[len(full)-len(suffix):] == suffix
}

func notSignedIn(m *wire.Message) bool {
	if !fromCoordinator(m.From) || len(m.Payload) == 0 || !bytes.Contains(m.Payload[0], []byte("-32090")) {
		return false
	}
	var in jsonrpc.Reply
	return json.Unmarshal(m.Payload[0], &in) == nil && in.Error != nil && in.Error.Code == jsonrpc.CodeNotSignedIn
}

// failed ends a message that the coordinator did not deliver; one that it did not even look at, since it knows nobody
// on this connection, is repeated after signing in again.
func (l *link) failed(p *pending, m *wire.Message, call bool) {
	if notSignedIn(m) {
		l.n.mu.Lock()
		closing := l.n.closing
		if !closing {
			l.n.outgoing.requeue(p, call)
			l.signInAgain()
		}
		l.n.mu.Unlock()
		if closing {
			p.complete(wire.Message{}, wire.NotTried("the session is over"))
		}
		return
	}
	var in jsonrpc.Reply
	if len(m.Payload) == 0 || json.Unmarshal(m.Payload[0], &in) != nil || in.Error == nil {
		p.complete(wire.Message{}, wire.Unknown(errors.New("an unreadable report of the coordinator")))
		return
	}
	p.complete(wire.Message{}, in.Error.Refusal())
}
