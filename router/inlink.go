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

	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/router/route"
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

	writeLock lockorder.Mutex[lockorder.WriteLock] // held by who writes; taken before mu
	prompt    *prompt.Writer                       // nil: the connection has none
	writer    *wireflow.Writer
	spare     []byte // what was written last, guarded by writeLock

	frames        *frameReader                  // owned by the reader
	names         wire.Names                    // owned by the reader
	slab          slab                          // owned by the reader
	resolvedByKey map[streamKey]*resolved       // owned by the reader
	lastResolved  *resolved                     // the same: of the last message
	partials      map[uint32]*partialMessage    // owned by the reader
	assembling    atomic.Int32                  // large messages being put together beside the reader
	transits      map[transitKey]*route.Transit // owned by the reader

	forwarding sync.WaitGroup // messages being sent on; grows under mu, not once over

	mu     lockorder.Mutex[lockorder.Link]
	out    []byte // frames not yet written
	batch  []byte // outcomes not yet framed
	closed bool   // nothing more is delivered or sent on
	fault  error  // found beside the reader
	fences
	held      map[string]*heldFrom
	heldMsgs  int
	heldBytes int
}

// fences are the streams of which a message was refused as unknownTo or moved,
// until the dialler is known to have read that. They are as many as such
// verdicts are under way.
type fences struct {
	count uint64               // such verdicts on this link
	byKey map[streamKey]uint64 // number of the stream's latest one
	order []fence              // oldest first, those that a later one of their stream has replaced too
}

type fence struct {
	key    streamKey
	number uint64
}

// maxFences bounds the refusals that a dialler may not have read: it has half
// as many messages without outcome.
const maxFences = 1 << 17

// acceptLinks takes links until the dialler's port is closed.
func (r *Router) acceptLinks() {
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
		if !r.goTracked(func() { r.serveAccepted(conn, from, func() { <-slots }) }) {
			conn.Close()
			return
		}
	}
}

var errStopping = errors.New("closed by this coordinator")

// serveAccepted uses one accepted connection until it ends.
func (r *Router) serveAccepted(conn net.Conn, from string, opened func()) {
	defer conn.Close()
	limitKernelBuffers(conn)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	w := wireflow.NewWriter(conn, deadAfter*r.limits.Ping)
	defer interruptOn(ctx, conn, w)()
	heard := readUntilSilent(ctx, conn, openLimit)
	in, err := r.readOpen(conn, w, from, newFrameReader(heard))
	opened()
	heard.Limit = deadAfter * r.limits.Ping
	if err == nil {
		r.PeerAlive(in.from)
		err = r.registerAccepted(in)
	}
	if err != nil {
		r.logLinkEnd("from", from, err)
		return
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		in.writeLoop(ctx)
		conn.Close()
	}()
	err = in.readLoop()
	in.mu.Lock()
	in.closed = true
	if in.fault != nil {
		err = in.fault
	}
	in.mu.Unlock()
	in.forwarding.Wait() // those beside the reader too: the next link's come behind them
	_ = in.flush()
	if r.ctx.Err() != nil {
		err = errStopping
	}
	var p protocolError
	if errors.As(err, &p) {
		in.enqueueFrame(appendFrame(nil, kindBye, []byte(p)))
	}
	cancel()
	<-wrote
	r.logLinkEnd("from", from, err)
	r.unregisterAccepted(in)
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

// readOpen reads the open frame.
func (r *Router) readOpen(conn net.Conn, w *wireflow.Writer, from string, frames *frameReader) (*inLink, error) {
	kind, body, err := frames.next()
	if err != nil {
		return nil, describeTimeout(err, openLimit)
	}
	if kind != kindOpen || len(body) != 25 {
		return nil, protocolErrorf("the first frame is of kind %d with %d bytes", kind, len(body))
	}
	if body[0] != openVersion {
		return nil, protocolErrorf("the link begins in version %d, this build reads %d", body[0], openVersion)
	}
	in := &inLink{
		r: r, from: from, conn: conn, number: binary.BigEndian.Uint64(body[17:]),
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
		prompt: prompt.New(conn), frames: frames, writer: w,
		partials: make(map[uint32]*partialMessage),
		fences:   fences{byKey: make(map[streamKey]uint64)},
		held:     make(map[string]*heldFrom),
	}
	copy(in.instance[:], body[1:])
	return in, nil
}

// registerAccepted makes in the one link from its coordinator: it waits until the one
// before has delivered its last message. An older link never follows a newer
// one.
func (r *Router) registerAccepted(in *inLink) error {
	for {
		r.acceptedMu.Lock()
		last := r.newestLinks[in.from]
		if last.instance == in.instance && last.number >= in.number {
			r.acceptedMu.Unlock()
			return fmt.Errorf("link number %d is older than number %d", in.number, last.number)
		}
		before := r.acceptedLinks[in.from]
		if before == nil {
			r.acceptedLinks[in.from] = in
			r.newestLinks[in.from] = linkID{in.instance, in.number}
			r.acceptedMu.Unlock()
			return nil
		}
		r.acceptedMu.Unlock()
		before.conn.Close()
		<-before.ended
	}
}

func (r *Router) unregisterAccepted(in *inLink) {
	r.acceptedMu.Lock()
	delete(r.acceptedLinks, in.from)
	r.acceptedMu.Unlock()
	close(in.ended)
}

// linkID remembers the newest link of a coordinator.
type linkID struct {
	instance [16]byte
	number   uint64
}

// readLoop delivers what comes until the connection fails or is dead. Outcomes
// leave when everything that came with one read of the socket is handled.
func (in *inLink) readLoop() error {
	frames := in.frames
	for {
		if !frames.ready() {
			if err := in.flush(); err != nil {
				return err
			}
		}
		kind, body, err := frames.next()
		if err != nil {
			return describeTimeout(err, deadAfter*in.r.limits.Ping)
		}
		switch kind {
		case kindData:
			err = in.handleData(body)
		case kindChunk:
			err = in.handleChunk(body)
		case kindRelay:
			err = in.handleRelay(body)
		case kindReport:
			err = in.handleReport(body)
		case kindPing:
			if len(body) != 8 {
				return protocolErrorf("a ping of %d bytes", len(body))
			}
			in.enqueueFrame(appendFrame(nil, kindPong, append(append(make([]byte, 0, 9), body...), linkVersion)))
		case kindBye:
			err = fmt.Errorf("coordinator %s said bye: %q", in.from, body)
		default:
			err = protocolErrorf("frame of kind %d from the dialling side", kind)
		}
		if err != nil {
			return err
		}
	}
}

// handleData handles one message that came in one frame.
func (in *inLink) handleData(body []byte) error {
	d, err := parseData(body)
	if err != nil {
		return err
	}
	return in.handleMessage(&d, false, time.Time{}, nil, 0)
}

// enqueueFrame appends one frame for the writer.
func (in *inLink) enqueueFrame(frame []byte) {
	in.mu.Lock()
	in.out = append(in.out, frame...)
	in.mu.Unlock()
	wake(in.wake)
}

// appendVerdict notes one outcome; mu is held.
func (in *inLink) appendVerdict(id uint32, key streamKey, v verdict) {
	in.batch = append(binary.BigEndian.AppendUint32(in.batch, id), byte(v))
	if v.comesBack() {
		// The latest counts: the one before may have been of a message that came
		// late by another route, and what is refused because of it is held back by
		// the dialler once it has read that.
		in.count++
		in.byKey[key] = in.count
		in.order = append(in.order, fence{key, in.count})
	}
}

// lift takes away the fences that the dialler knows of; mu is held.
func (f *fences) lift(seen uint64) error {
	if seen > f.count {
		return protocolErrorf("%d refusals seen of %d", seen, f.count)
	}
	if len(f.order) > maxFences {
		return protocolErrorf("%d refusals were not read", len(f.order))
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
	if in.prompt == nil || !in.writeLock.TryLock() {
		wake(in.wake)
		return nil
	}
	defer in.writeLock.Unlock()
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
	wake(in.wake)
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
		return protocolErrorf("coordinator %s does not read its outcomes: %d bytes wait", in.from, len(in.out))
	}
	return nil
}

// writeLoop writes what enqueueFrame and flush left, and the rest once ctx has ended. A
// dialler that takes nothing is dead.
func (in *inLink) writeLoop(ctx context.Context) {
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
	in.writeLock.Lock()
	defer in.writeLock.Unlock()
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
		in.writer.Hurry(byeTimeout)
	}
	if len(out) > 0 {
		_, err = in.writer.Write(out)
	}
	return err
}
