package router

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/router/link"
	"github.com/folkmoot/folkmoot/router/route"
	"github.com/folkmoot/folkmoot/wire"
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

// serve delivers what comes and writes outcomes until the connection ends, and
// returns why it did. cancel ends ctx.
func (in *inLink) serve(ctx context.Context, cancel context.CancelFunc) error {
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		in.inbox.WriteLoop(ctx)
		in.inbox.Close()
	}()
	err := in.readLoop()
	in.inbox.Mu.Lock()
	in.closed = true
	if in.fault != nil {
		err = in.fault
	}
	in.inbox.Mu.Unlock()
	in.forwarding.Wait() // those beside the reader too: the next link's come behind them
	_ = in.inbox.Flush()
	if in.r.ctx.Err() != nil {
		err = errStopping
	}
	var p link.ProtocolError
	if errors.As(err, &p) {
		_ = in.inbox.Enqueue(link.AppendFrame(nil, link.KindBye, []byte(p))) // one that does not read is told nothing
	}
	cancel()
	<-wrote
	return err
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
