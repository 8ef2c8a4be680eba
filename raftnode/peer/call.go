package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/flow"
)

// errConnEnded is a frame refused because its connection has ended.
var errConnEnded = errors.New("the connection has ended")

// errRetired ends a connection that is not used any more.
var errRetired = errors.New("retired")

func errClosed() error { return wire.NotTried("the peer port is closed") }

// Call asks the coordinator at addr and waits for its answer; body stays the
// caller's. All calls of one address share a connection, which is opened when
// needed; its own address is answered in the process. The error is always a
// *wire.Error: what the handler said; busy when too much waits or runs;
// unavailable when the request certainly never left; unknown when it left and
// the connection or ctx ended before the answer. Without a deadline in ctx a
// call waits as long as the connection lives.
func (p *Port) Call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	if method == "" || len(method) > maxMethod {
		return nil, wire.Invalid("method", "a method's name has 1 to %d bytes, %q has %d", maxMethod, method, len(method))
	}
	if n := minPayload + 8 + 1 + len(method) + len(body); n > p.limits.MaxFrame {
		return nil, wire.Refuse(wire.CodeTooLarge, "call %s of %s: a frame of %d bytes is longer than %d", method, addr, n, p.limits.MaxFrame)
	}
	if err := ctx.Err(); err != nil {
		return nil, wire.NotTried("call %s of %s: %v", method, addr, err)
	}
	if addr == p.advertise || addr == p.Addr() {
		return p.callSelf(ctx, method, body)
	}
	for again := false; ; again = true {
		l, err := p.dialerFor(addr).callConn(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := l.call(ctx, method, body)
		if err == errConnEnded && !again {
			continue // it ended between the two steps: certain, so a new one is tried
		}
		if err == errConnEnded {
			return nil, wire.NotTried("call %s of %s: %v", method, addr, err)
		}
		return answer, err
	}
}

// callConn is one connection to one address, with the calls that wait on it.
type callConn struct {
	port      *Port
	addr      string
	ownHello  Hello // as it was said
	peerHello Hello
	opened    time.Time
	out       *sendQueue
	ctx       context.Context
	stop      context.CancelCauseFunc // with the reason; the first one counts

	mu       sync.Mutex
	waiting  map[uint64]*call
	next     uint64
	lastUsed time.Time // last call
	retiring bool      // no new calls; ends with the last one
	ended    bool
}

// call waits for one answer.
type call struct {
	frame *outFrame
	done  chan answer // capacity 1
}

type answer struct {
	body []byte
	err  error
}

func newCallConn(p *Port, addr string, own, to Hello) *callConn {
	now := time.Now()
	l := &callConn{port: p, addr: addr, ownHello: own, peerHello: to, opened: now, lastUsed: now, out: newSendQueue(p.limits), waiting: map[uint64]*call{}}
	l.ctx, l.stop = context.WithCancelCause(p.ctx)
	return l
}

// usable reports whether new calls may use the connection: it is open, is not too old, and
// was opened with the Hello the port says now.
func (l *callConn) usable(own Hello) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended && !l.retiring && time.Since(l.opened) < l.port.limits.MaxAge && l.opened.After(l.port.renewed()) && l.ownHello == own
}

// retire refuses new calls and closes the connection once the last one is answered.
func (l *callConn) retire() {
	l.mu.Lock()
	l.retiring = true
	empty := len(l.waiting) == 0
	l.mu.Unlock()
	if empty {
		l.stop(errRetired)
	}
}

func (l *callConn) retired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retiring
}

// call sends a request and waits. errConnEnded means that it was not sent and that
// a new connection may be tried.
func (l *callConn) call(ctx context.Context, method string, body []byte) ([]byte, error) {
	f := frame{kind: frameRequest, method: method, body: body}
	if d, ok := ctx.Deadline(); ok {
		f.left = max(time.Until(d), time.Microsecond)
	}
	c := &call{frame: &outFrame{}, done: make(chan answer, 1)}
	l.mu.Lock()
	if l.ended || l.retiring {
		l.mu.Unlock()
		return nil, errConnEnded
	}
	l.next++
	f.id = l.next
	l.waiting[f.id] = c
	l.lastUsed = time.Now()
	l.mu.Unlock()

	c.frame.data = f.encode()
	if err := l.out.enqueue(c.frame); err != nil {
		l.removeCall(f.id)
		return nil, err
	}
	select {
	case a := <-c.done:
		return a.body, a.err
	case <-ctx.Done():
	}
	l.removeCall(f.id)
	select {
	case a := <-c.done: // it came at the same moment
		return a.body, a.err
	default:
	}
	if l.out.withdraw(c.frame) {
		return nil, wire.NotTried("call %s of %s: %v before it left", method, l.addr, ctx.Err())
	}
	_ = l.out.enqueue(&outFrame{data: frame{kind: frameCancel, id: f.id}.encode()}) // a kindness; the deadline does it too
	return nil, wire.Unknown(fmt.Errorf("call %s of %s: %w", method, l.addr, ctx.Err()))
}

// removeCall removes a call, and closes a retired connection with the last one.
func (l *callConn) removeCall(id uint64) *call {
	l.mu.Lock()
	c := l.waiting[id]
	delete(l.waiting, id)
	over := l.retiring && len(l.waiting) == 0
	l.mu.Unlock()
	if over {
		l.stop(errRetired)
	}
	return c
}

// run reads answers until the connection ends; every call that still waits
// gets its outcome then. It returns why it ended.
func (l *callConn) run(c conn) error {
	interval := l.port.limits.PingInterval
	silence := 4 * interval
	w := flow.NewWriter(c, silence)
	var wg sync.WaitGroup
	wg.Go(func() {
		l.stop(l.out.write(l.ctx, w, interval, l.tick))
		c.Close()
	})
	heard := &awake.Reader{Conn: c, Limit: silence, More: func(silent time.Duration) time.Duration { return w.SilenceAllowance(silent, silence) }}
	l.stop(l.receive(bufio.NewReaderSize(heard, readStep), w))
	c.Close()
	wg.Wait()
	err := context.Cause(l.ctx)

	l.out.close()
	l.mu.Lock()
	l.ended = true
	left := l.waiting
	l.waiting = map[uint64]*call{}
	l.mu.Unlock()
	for _, c := range left {
		if l.out.wasSent(c.frame) {
			c.done <- answer{err: wire.Unknown(fmt.Errorf("connection to %s: %w", l.addr, err))}
		} else {
			c.done <- answer{err: wire.NotTried("connection to %s ended before the call left: %v", l.addr, err)}
		}
	}
	return err
}

// tick sends a ping, and retires a connection that was idle for MaxIdle.
func (l *callConn) tick() {
	l.out.enqueueControl(framePing)
	l.mu.Lock()
	unused := len(l.waiting) == 0 && time.Since(l.lastUsed) > l.port.limits.MaxIdle
	l.mu.Unlock()
	if unused {
		l.retire()
	}
}

func (l *callConn) receive(r *bufio.Reader, w *flow.Writer) error {
	for {
		f, err := readFrame(r, l.port.limits.MaxFrame)
		if err != nil {
			return err
		}
		switch f.kind {
		case framePong:
			w.PongReceived()
		case frameAnswer, frameFailure:
			c := l.removeCall(f.id)
			if c == nil {
				continue // the caller gave up
			}
			a := answer{body: f.body}
			if f.kind == frameFailure {
				no := &wire.Error{}
				if err := json.Unmarshal(f.body, no); err != nil || no.Code == "" {
					no = wire.Unknown(fmt.Errorf("%s answered with a failure that cannot be read", l.peerHello.name()))
				}
				a = answer{err: no}
			}
			c.done <- a
		default:
			return fmt.Errorf("frame of type %d in an answer", f.kind)
		}
	}
}
