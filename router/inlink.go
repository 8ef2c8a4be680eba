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

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/lockorder"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

const (
	openLimit = 5 * time.Second // of silence before the open frame
	maxOpen   = 64              // accepted links that have not sent it
	maxOut    = 4 << 20         // bytes for a dialler that does not read
)

// inLink is a link that another coordinator dialled. Its messages come in and
// their outcomes go out.
type inLink struct {
	r     *Router
	from  string // id of the other coordinator
	conn  *link.Conn
	id    link.Identity
	ended chan struct{}
	wake  chan struct{} // capacity 1: the writer has work

	writeLock lockorder.Mutex[lockorder.WriteLock] // held by who writes; taken before mu
	spare     []byte                               // what was written last, guarded by writeLock

	names         wire.Names                    // owned by the reader
	slab          link.Slab                     // owned by the reader
	resolvedByKey map[streamKey]*resolved       // owned by the reader
	lastResolved  *resolved                     // the same: of the last message
	chunks        link.Chunks                   // owned by the reader
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
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	c, stop := link.NewConn(ctx, conn, r.limits.Ping)
	defer stop()
	c.LimitSilence(openLimit)
	in, err := r.readOpen(c, from)
	opened()
	c.LimitSilence(0)
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
	var p link.ProtocolError
	if errors.As(err, &p) {
		in.enqueueFrame(link.AppendFrame(nil, link.KindBye, []byte(p)))
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
func (r *Router) readOpen(c *link.Conn, from string) (*inLink, error) {
	id, err := c.ReadOpen()
	if err != nil {
		return nil, err
	}
	return &inLink{
		r: r, from: from, conn: c, id: id,
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
		fences: fences{byKey: make(map[streamKey]uint64)},
		held:   make(map[string]*heldFrom),
	}, nil
}

// registerAccepted makes in the one link from its coordinator: it waits until the one
// before has delivered its last message. An older link never follows a newer
// one.
func (r *Router) registerAccepted(in *inLink) error {
	for {
		r.acceptedMu.Lock()
		last := r.newestLinks[in.from]
		if last.Instance == in.id.Instance && last.Number >= in.id.Number {
			r.acceptedMu.Unlock()
			return fmt.Errorf("link number %d is older than number %d", in.id.Number, last.Number)
		}
		before := r.acceptedLinks[in.from]
		if before == nil {
			r.acceptedLinks[in.from] = in
			r.newestLinks[in.from] = in.id
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

// readLoop delivers what comes until the connection fails or is dead. Outcomes
// leave when everything that came with one read of the socket is handled.
func (in *inLink) readLoop() error {
	for {
		if !in.conn.Ready() {
			if err := in.flush(); err != nil {
				return err
			}
		}
		kind, body, err := in.conn.Next()
		if err != nil {
			return err
		}
		switch kind {
		case link.KindData:
			err = in.handleData(body)
		case link.KindChunk:
			err = in.handleChunk(body)
		case link.KindRelay:
			err = in.handleRelay(body)
		case link.KindReport:
			err = in.handleReport(body)
		case link.KindPing:
			var pong []byte
			if pong, err = link.AppendPong(nil, body); err == nil {
				in.enqueueFrame(pong)
			}
		case link.KindBye:
			err = fmt.Errorf("coordinator %s said bye: %q", in.from, body)
		default:
			err = link.Malformed("frame of kind %d from the dialling side", kind)
		}
		if err != nil {
			return err
		}
	}
}

// handleData handles one message that came in one frame.
func (in *inLink) handleData(body []byte) error {
	d, err := link.ParseData(body)
	if err != nil {
		return err
	}
	return in.handleMessage(&arrival{data: d})
}

// enqueueFrame appends one frame for the writer.
func (in *inLink) enqueueFrame(frame []byte) {
	in.mu.Lock()
	in.out = append(in.out, frame...)
	in.mu.Unlock()
	wake(in.wake)
}

// appendVerdict notes one outcome; mu is held.
func (in *inLink) appendVerdict(id uint32, key streamKey, v link.Verdict) {
	in.batch = append(binary.BigEndian.AppendUint32(in.batch, id), byte(v))
	if v.ComesBack() {
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
		return link.Malformed("%d refusals seen of %d", seen, f.count)
	}
	if len(f.order) > maxFences {
		return link.Malformed("%d refusals were not read", len(f.order))
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
	if in.conn.Direct == nil || !in.writeLock.TryLock() {
		wake(in.wake)
		return nil
	}
	defer in.writeLock.Unlock()
	in.mu.Lock()
	out := in.out
	in.out = in.spare[:0]
	in.mu.Unlock()
	n := in.conn.Direct.Write(out)
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
		n := min(len(rest), link.MaxBody/link.OutcomeSize*link.OutcomeSize)
		in.out = link.AppendFrame(in.out, link.KindOutcomes, rest[:n])
		rest = rest[n:]
	}
	in.batch = in.batch[:0]
	if len(in.out) > maxOut {
		return link.Malformed("coordinator %s does not read its outcomes: %d bytes wait", in.from, len(in.out))
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
		out = link.AppendFrame(out, link.KindBye, []byte("closed by its coordinator"))
		in.conn.FinishSoon()
	}
	if len(out) > 0 {
		_, err = in.conn.Writer.Write(out)
	}
	return err
}
