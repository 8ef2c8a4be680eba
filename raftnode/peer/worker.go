package peer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/flow"
)

// worker serves the calls of one accepted connection.
type worker struct {
	port   *Port
	from   Hello
	socket *socketEntry
	out    *sendQueue

	ctx context.Context // ends with the connection
	wg  sync.WaitGroup  // handlers and the writer

	mu      sync.Mutex
	running map[uint64]context.CancelFunc // by call id
}

// serve answers calls until the connection ends or the port closes; all
// handlers have returned then.
func (p *Port) serve(c conn, from Hello) {
	ctx, cancel := context.WithCancel(p.ctx)
	d := &worker{port: p, from: from, socket: c.socket(), out: newSendQueue(p.limits), ctx: ctx, running: map[uint64]context.CancelFunc{}}
	silence := 4 * p.limits.PingInterval
	d.wg.Go(func() {
		_ = d.out.write(ctx, flow.NewWriter(c, silence), silence, func() {})
		c.Close()
	})
	err := d.receive(bufio.NewReaderSize(&awake.Reader{Conn: c, Limit: silence}, readStep))
	cancel()
	d.out.close()
	c.Close()
	d.wg.Wait()
	if p.ctx.Err() == nil {
		p.log.Info("call connection ended", "from", from.name(), "reason", err)
	}
}

func (d *worker) receive(r *bufio.Reader) error {
	for {
		f, err := readFrame(r, d.port.limits.MaxFrame)
		if err != nil {
			return err
		}
		switch f.kind {
		case framePing:
			d.out.enqueueControl(framePong)
		case frameCancel:
			d.mu.Lock()
			cancel := d.running[f.id]
			d.mu.Unlock()
			if cancel != nil {
				cancel()
			}
		case frameRequest:
			if err := d.startHandler(f); err != nil {
				return err
			}
		default:
			return fmt.Errorf("frame of type %d from a caller", f.kind)
		}
	}
}

// startHandler starts a handler, or answers busy when too many run. When the caller
// does not even read those answers, it is not read from either.
func (d *worker) startHandler(f frame) error {
	ctx, cancel := context.WithCancel(d.ctx)
	if f.left > 0 {
		ctx, cancel = withTimeout(ctx, cancel, f.left)
	}
	d.mu.Lock()
	_, twice := d.running[f.id]
	full := len(d.running) >= d.port.limits.MaxHandlers
	if !twice && !full {
		d.running[f.id] = cancel
	}
	d.mu.Unlock()
	switch {
	case twice:
		cancel()
		return fmt.Errorf("call id %d used twice", f.id)
	case full:
		cancel()
		return d.respond(f.id, nil, wire.Refuse(wire.CodeBusy, "%d calls run on this connection, the most it takes", d.port.limits.MaxHandlers))
	}
	d.wg.Go(func() {
		var body []byte
		err := d.port.admit(KindCall, f.method, d.from)
		if err != nil {
			d.port.countRefused(d.socket, ReasonNotMember, err)
		} else {
			body, err = d.port.handle(ctx, d.from, f.method, f.body)
		}
		// It counts as running until the answer has room: what waits is bounded.
		_ = d.respond(f.id, body, err)
		cancel()
		d.mu.Lock()
		delete(d.running, f.id)
		d.mu.Unlock()
	})
	return nil
}

func withTimeout(ctx context.Context, outer context.CancelFunc, left time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithTimeout(ctx, left)
	return inner, func() { cancel(); outer() }
}

func (d *worker) respond(id uint64, body []byte, no *wire.Error) error {
	f := frame{kind: frameAnswer, id: id, body: body}
	if no == nil && minPayload+len(body) > d.port.limits.MaxFrame {
		no = tooLongAnswer(len(body))
	}
	if no != nil {
		f.kind, f.body = frameFailure, encodeError(no)
	}
	return d.out.enqueueWait(d.ctx, &outFrame{data: f.encode()})
}

// tooLongAnswer is no refusal: the handler did its work.
func tooLongAnswer(n int) *wire.Error {
	return &wire.Error{Code: wire.CodeInternal, Message: fmt.Sprintf("an answer of %d bytes is longer than a frame", n)}
}

// encodeError is the JSON of an error, cut to what surely fits a frame.
func encodeError(e *wire.Error) []byte {
	short := *e
	if len(short.Message) > maxHello {
		short.Message = short.Message[:maxHello]
	}
	if len(short.Field) > maxMethod {
		short.Field = short.Field[:maxMethod]
	}
	b, err := json.Marshal(short)
	if err != nil { // not reached: strings and numbers only
		b = []byte(`{"code":"internal","message":"an error that cannot be written"}`)
	}
	return b
}

// handle runs the handler of method and puts its error into words that travel.
// A panic ends the call, not the coordinator: a caller that repeats itself
// would otherwise end one after the other.
func (p *Port) handle(ctx context.Context, from Hello, method string, body []byte) (answer []byte, no *wire.Error) {
	h, ok := p.handlers.Load(method)
	if !ok {
		return nil, wire.NotTried("%s does not answer calls of %q", p.ownHello().name(), method)
	}
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("a handler panicked", "method", method, "from", from.name(), "panic", r, "stack", string(debug.Stack()))
			answer, no = nil, &wire.Error{Code: wire.CodeInternal, Message: fmt.Sprintf("the handler of %q panicked", method)}
		}
	}()
	answer, err := h.(Handler)(ctx, from, body)
	if err == nil {
		return answer, nil
	}
	switch {
	case errors.As(err, &no):
		return nil, no
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return nil, wire.Unknown(err)
	default:
		return nil, &wire.Error{Code: wire.CodeInternal, Message: err.Error()}
	}
}

// callSelf is a call of the own address: the same promises without a socket.
func (p *Port) callSelf(ctx context.Context, method string, body []byte) ([]byte, error) {
	select {
	case p.selfCalls <- struct{}{}:
	default:
		return nil, wire.Refuse(wire.CodeBusy, "%d calls to itself run, the most it takes", cap(p.selfCalls))
	}
	run, cancel := context.WithCancel(p.ctx)
	if d, ok := ctx.Deadline(); ok {
		run, cancel = withTimeout(run, cancel, time.Until(d))
	}
	type result struct {
		body []byte
		no   *wire.Error
	}
	done := make(chan result, 1)
	body = bytes.Clone(body)
	started := p.spawn(func() {
		b, no := p.handle(run, p.ownHello(), method, body)
		if no == nil && minPayload+len(b) > p.limits.MaxFrame {
			no = tooLongAnswer(len(b))
		}
		done <- result{b, no}
		cancel()
		<-p.selfCalls
	})
	if !started {
		cancel()
		<-p.selfCalls
		return nil, errClosed()
	}
	select {
	case r := <-done:
		if r.no != nil {
			return nil, r.no
		}
		return r.body, nil
	case <-ctx.Done():
		cancel()
		return nil, wire.Unknown(fmt.Errorf("call %s of itself: %w", method, ctx.Err()))
	}
}
