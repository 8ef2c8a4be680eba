package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
)

const (
	openLimit = 5 * time.Second // of silence before the open frame
	maxOpen   = 64              // accepted links that have not sent it
)

// inLink is a link that another coordinator dialled. Its messages come in and
// their outcomes go out.
type inLink struct {
	r     *Router
	from  string // id of the other coordinator
	inbox *link.Inbox
	id    link.Identity
	ended chan struct{}

	names         wire.Names                    // owned by the reader
	slab          link.Slab                     // owned by the reader
	resolvedByKey map[streamKey]*resolved       // owned by the reader
	lastResolved  *resolved                     // the same: of the last message
	chunks        link.Chunks                   // owned by the reader
	assembling    atomic.Int32                  // large messages being put together beside the reader
	transits      map[transitKey]*route.Transit // owned by the reader

	forwarding sync.WaitGroup // messages being sent on; grows under the inbox's Mu, not once over

	// The inbox's Mu guards what follows.
	closed bool  // nothing more is delivered or sent on
	fault  error // found beside the reader
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
		in.inbox.WriteLoop(ctx)
		conn.Close()
	}()
	err = in.readLoop()
	in.inbox.Mu.Lock()
	in.closed = true
	if in.fault != nil {
		err = in.fault
	}
	in.inbox.Mu.Unlock()
	in.forwarding.Wait() // those beside the reader too: the next link's come behind them
	_ = in.inbox.Flush()
	if r.ctx.Err() != nil {
		err = errStopping
	}
	var p link.ProtocolError
	if errors.As(err, &p) {
		in.inbox.Enqueue(link.AppendFrame(nil, link.KindBye, []byte(p)))
	}
	cancel()
	<-wrote
	r.logLinkEnd("from", from, err)
	r.unregisterAccepted(in)
}

// fail ends a link for a fault that was found beside its reader.
func (in *inLink) fail(err error) {
	in.inbox.Mu.Lock()
	if in.fault == nil {
		in.fault = err
	}
	in.inbox.Mu.Unlock()
	in.inbox.Close()
}

// readOpen reads the open frame.
func (r *Router) readOpen(c *link.Conn, from string) (*inLink, error) {
	id, err := c.ReadOpen()
	if err != nil {
		return nil, err
	}
	return &inLink{
		r: r, from: from, inbox: link.NewInbox(c, from), id: id,
		ended:  make(chan struct{}),
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
		before.inbox.Close()
		<-before.ended
	}
}

func (r *Router) unregisterAccepted(in *inLink) {
	r.acceptedMu.Lock()
	delete(r.acceptedLinks, in.from)
	r.acceptedMu.Unlock()
	close(in.ended)
}

// readLoop delivers what comes until the connection fails or is dead.
func (in *inLink) readLoop() error {
	for {
		kind, body, err := in.inbox.Next()
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

// appendVerdict notes one outcome; the inbox's Mu is held.
func (in *inLink) appendVerdict(id uint32, key streamKey, v link.Verdict) {
	in.inbox.AppendOutcome(id, v)
	if v.ComesBack() {
		// The latest counts: the one before may have been of a message that came
		// late by another route, and what is refused because of it is held back by
		// the dialler once it has read that.
		in.count++
		in.byKey[key] = in.count
		in.order = append(in.order, fence{key, in.count})
	}
}

// lift takes away the fences that the dialler knows of; the inbox's Mu is held.
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
