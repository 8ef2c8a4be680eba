package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	wireflow "github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/prompt"
)

const (
	openLimit = 5 * time.Second // of silence before the open frame
	maxOpen   = 64              // accepted links that have not sent it
	maxOut    = 4 << 20         // bytes for a dialler that does not read
)

// inLink is a link that another coordinator dialled. Its messages come in and
// their outcomes go out.
type inLink struct {
	r        *Router
	from     string // id of the other coordinator
	conn     net.Conn
	instance [16]byte
	number   uint64
	ended    chan struct{}
	wake     chan struct{} // capacity 1: the writer has work

	pen    sync.Mutex     // held by who writes; taken before mu
	prompt *prompt.Writer // nil: the connection has none
	to     *wireflow.Writer
	spare  []byte // what was written last, guarded by pen

	frames   *frameReader            // owned by the reader
	names    wire.Names              // owned by the reader
	short    slab                    // owned by the reader
	flows    map[pairKey]*flow       // owned by the reader
	last     *flow                   // the same: of the last message
	large    map[uint32]*partial     // owned by the reader
	joining  atomic.Int32            // large messages being put together beside the reader
	passages map[passageKey]*passage // owned by the reader

	sending sync.WaitGroup // messages being sent on; grows under mu, not once over

	mu    sync.Mutex
	out   []byte // frames not yet written
	batch []byte // outcomes not yet framed
	over  bool   // nothing more is delivered or sent on
	fault error  // found beside the reader
	fences
	held      map[string]*heldFrom
	heldMsgs  int
	heldBytes int
}

// fences are the pairs of which a message was refused as unknownTo or moved,
// until the dialler is known to have read that. They are as many as such
// verdicts are under way.
type fences struct {
	count uint64             // such verdicts on this link
	byKey map[pairKey]uint64 // number of the pair's latest one
	order []fence            // oldest first, those that a later one of their pair has replaced too
}

type fence struct {
	key    pairKey
	number uint64
}

// maxFences bounds the refusals that a dialler may not have read: it has half
// as many messages without outcome.
const maxFences = 1 << 17

// accept takes links until the dialler's port is closed.
func (r *Router) accept() {
	slots := make(chan struct{}, maxOpen)
	for {
		conn, from, err := r.dialer.AcceptLink()
		switch {
		case err != nil && (r.closed.Load() || errors.Is(err, net.ErrClosed)):
			return
		case err != nil:
			r.log.Warn("no link accepted", "reason", err)
			select {
			case <-time.After(r.limits.BackoffMin):
			case <-r.ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		if !r.own(func() { r.serveIn(conn, from, func() { <-slots }) }) {
			conn.Close()
			return
		}
	}
}

var errStopping = errors.New("closed by this coordinator")

// serveIn uses one accepted connection until it ends.
func (r *Router) serveIn(conn net.Conn, from string, opened func()) {
	defer conn.Close()
	shallow(conn)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	w := wireflow.NewWriter(conn, deadAfter*r.limits.Ping)
	defer hurry(ctx, conn, w)()
	heard := listen(ctx, conn, openLimit)
	in, err := r.opened(conn, w, from, newFrameReader(heard))
	opened()
	heard.Limit = deadAfter * r.limits.Ping
	if err == nil {
		r.Heard(in.from)
		err = r.seat(in)
	}
	if err != nil {
		r.broke("from", from, err)
		return
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		in.write(ctx)
		conn.Close()
	}()
	err = in.read()
	in.mu.Lock()
	in.over = true
	if in.fault != nil {
		err = in.fault
	}
	in.mu.Unlock()
	in.sending.Wait() // those beside the reader too: the next link's come behind them
	_ = in.flush()
	if r.ctx.Err() != nil {
		err = errStopping
	}
	var p protocolError
	if errors.As(err, &p) {
		in.say(appendFrame(nil, kindBye, []byte(p)))
	}
	cancel()
	<-wrote
	r.broke("from", from, err)
	r.unseat(in)
}

// fail ends a link for a fault that was found beside its reader.
func (in *inLink) fail(err error) {
	in.mu.Lock()
	if in.fault == nil {
		in.fault = err
	}
	in.mu.Unlock()
	in.conn.Close()
}

// opened reads the open frame.
func (r *Router) opened(conn net.Conn, w *wireflow.Writer, from string, frames *frameReader) (*inLink, error) {
	kind, body, err := frames.next()
	if err != nil {
		return nil, silence(err, openLimit)
	}
	if kind != kindOpen || len(body) != 25 {
		return nil, broken("the first frame is of kind %d with %d bytes", kind, len(body))
	}
	if body[0] != openVersion {
		return nil, broken("the link begins in version %d, this build reads %d", body[0], openVersion)
	}
	in := &inLink{
		r: r, from: from, conn: conn, number: binary.BigEndian.Uint64(body[17:]),
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
		prompt: prompt.New(conn), frames: frames, to: w,
		large:  make(map[uint32]*partial),
		fences: fences{byKey: make(map[pairKey]uint64)},
		held:   make(map[string]*heldFrom),
	}
	copy(in.instance[:], body[1:])
	return in, nil
}

// seat makes in the one link from its coordinator: it waits until the one
// before has delivered its last message. An older link never follows a newer
// one.
func (r *Router) seat(in *inLink) error {
	for {
		r.seatsMu.Lock()
		last := r.last[in.from]
		if last.instance == in.instance && last.number >= in.number {
			r.seatsMu.Unlock()
			return fmt.Errorf("link number %d is older than number %d", in.number, last.number)
		}
		before := r.seats[in.from]
		if before == nil {
			r.seats[in.from] = in
			r.last[in.from] = seat{in.instance, in.number}
			r.seatsMu.Unlock()
			return nil
		}
		r.seatsMu.Unlock()
		before.conn.Close()
		<-before.ended
	}
}

func (r *Router) unseat(in *inLink) {
	r.seatsMu.Lock()
	delete(r.seats, in.from)
	r.seatsMu.Unlock()
	close(in.ended)
}

// seat remembers the newest link of a coordinator.
type seat struct {
	instance [16]byte
	number   uint64
}

// read delivers what comes until the connection fails or is dead. Outcomes
// leave when everything that came with one read of the socket is handled.
func (in *inLink) read() error {
	frames := in.frames
	for {
		if !frames.ready() {
			if err := in.flush(); err != nil {
				return err
			}
		}
		kind, body, err := frames.next()
		if err != nil {
			return silence(err, deadAfter*in.r.limits.Ping)
		}
		switch kind {
		case kindData:
			err = in.data(body)
		case kindChunk:
			err = in.chunk(body)
		case kindRelay:
			err = in.relay(body)
		case kindReport:
			err = in.report(body)
		case kindPing:
			if len(body) != 8 {
				return broken("a ping of %d bytes", len(body))
			}
			in.say(appendFrame(nil, kindPong, append(append(make([]byte, 0, 9), body...), linkVersion)))
		case kindBye:
			err = fmt.Errorf("coordinator %s said bye: %q", in.from, body)
		default:
			err = broken("frame of kind %d from the dialling side", kind)
		}
		if err != nil {
			return err
		}
	}
}

// data handles one message that came in one frame.
func (in *inLink) data(body []byte) error {
	d, err := parseData(body)
	if err != nil {
		return err
	}
	return in.message(&d, false, time.Time{}, nil, 0)
}

// say appends one frame for the writer.
func (in *inLink) say(frame []byte) {
	in.mu.Lock()
	in.out = append(in.out, frame...)
	in.mu.Unlock()
	rouse(in.wake)
}

// verdict notes one outcome; mu is held.
func (in *inLink) verdict(id uint32, key pairKey, v verdict) {
	in.batch = append(binary.BigEndian.AppendUint32(in.batch, id), byte(v))
	if v.back() {
		// The latest counts: the one before may have been of a message that came
		// late by another way, and what is refused because of it is held back by
		// the dialler once it has read that.
		in.count++
		in.byKey[key] = in.count
		in.order = append(in.order, fence{key, in.count})
	}
}

// lift takes away the fences that the dialler knows of; mu is held.
func (f *fences) lift(seen uint64) error {
	if seen > f.count {
		return broken("%d refusals seen of %d", seen, f.count)
	}
	if len(f.order) > maxFences {
		return broken("%d refusals were not read", len(f.order))
	}
	for len(f.order) > 0 && f.order[0].number <= seen {
		if f.byKey[f.order[0].key] == f.order[0].number {
			delete(f.byKey, f.order[0].key)
		}
		f.order = f.order[1:]
	}
	return nil
}

// flush writes the outcomes noted so far, if nobody else writes; what the socket
// does not take at once is the writer's.
func (in *inLink) flush() error {
	in.mu.Lock()
	if len(in.batch) == 0 {
		in.mu.Unlock()
		return nil
	}
	err := in.frameBatch()
	in.mu.Unlock()
	if err != nil {
		return err
	}
	if in.prompt == nil || !in.pen.TryLock() {
		rouse(in.wake)
		return nil
	}
	defer in.pen.Unlock()
	in.mu.Lock()
	out := in.out
	in.out = in.spare[:0]
	in.mu.Unlock()
	n := in.prompt.Write(out)
	in.spare = out
	if n == len(out) {
		return nil
	}
	in.mu.Lock()
	in.out = append(append([]byte(nil), out[n:]...), in.out...)
	in.mu.Unlock()
	rouse(in.wake)
	return nil
}

// frameBatch makes frames of the outcomes noted so far; mu is held.
func (in *inLink) frameBatch() error {
	for rest := in.batch; len(rest) > 0; {
		n := min(len(rest), maxBody/outcomeSize*outcomeSize)
		in.out = appendFrame(in.out, kindOutcomes, rest[:n])
		rest = rest[n:]
	}
	in.batch = in.batch[:0]
	if len(in.out) > maxOut {
		return broken("coordinator %s does not read its outcomes: %d bytes wait", in.from, len(in.out))
	}
	return nil
}

// write writes what say and flush left, and the rest once ctx has ended. A
// dialler that takes nothing is dead.
func (in *inLink) write(ctx context.Context) {
	for over := false; !over; {
		select {
		case <-in.wake:
		case <-ctx.Done():
		}
		over = ctx.Err() != nil
		if err := in.writeOnce(over); err != nil {
			return
		}
	}
}

// writeOnce writes what waits, and a bye if it is the last time.
func (in *inLink) writeOnce(over bool) error {
	in.pen.Lock()
	defer in.pen.Unlock()
	in.mu.Lock()
	err := in.frameBatch() // what came back for others' messages since
	out := in.out
	in.out = in.spare[:0]
	in.mu.Unlock()
	in.spare = out // of maxOut and one batch at most
	if err != nil {
		return err
	}
	if over {
		out = appendFrame(out, kindBye, []byte("closed by its coordinator"))
		in.to.Hurry(farewell)
	}
	if len(out) > 0 {
		_, err = in.to.Write(out)
	}
	return err
}
