package client

import (
	"context"
	"sync"

	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of what waits to be written.
const (
	maxQueued      = 1 << 20 // bytes of short frames
	largeTransfers = 2
)

// outgoing is what was sent and has no outcome yet, and what waits to be written. It outlives connections: what has not
// left goes with the next one.
type outgoing struct {
	mu       *sync.Mutex   // the component's
	room     chan struct{} // closed when something was taken
	requeued []*pending    // not looked at by the coordinator, which has to go again, before all others, in its order
	out      []byte        // short frames
	queued   []*pending    // those whose frames are in out
	large    []*large      // in turn
	nextID   uint32
	cut      uint32
	sends    map[uint32]*pending
	calls    map[[16]byte]*pending
}

// large is one long frame.
type large struct {
	p     *pending // may be nil
	to    string
	frame []byte
	at    int
	id    uint32
}

// pending waits for one outcome.
type pending struct {
	m       wire.Message
	written bool // bytes of it may have left
	answer  chan outcome
	done    func(error) // instead of answer
}

type outcome struct {
	m   wire.Message
	err error
}

func (o *outgoing) init(mu *sync.Mutex) {
	o.mu, o.room = mu, make(chan struct{})
	o.sends, o.calls = map[uint32]*pending{}, map[[16]byte]*pending{}
}

// complete delivers the outcome; the pending is in no map any more, so that happens once.
func (p *pending) complete(m wire.Message, err error) {
	if p.done != nil {
		p.done(err)
		return
	}
	p.answer <- outcome{m, err}
}

// queue puts a message in line. It waits while there is too much before it, and behind a long one to the same receiver.
// p, if not nil, is registered under its id or conversation. now means that the caller waits for the outcome: then it
// writes the message itself, if it can.
func (n *Session) queue(ctx context.Context, m *wire.Message, p *pending, call, now bool) error {
	if err := m.Check(); err != nil {
		return err
	}
	size := m.FrameSize()
	o := &n.outgoing
	n.mu.Lock()
	for {
		if n.ctx.Err() != nil {
			n.mu.Unlock()
			return wire.NotTried("the session is over")
		}
		if o.fits(m.To, size) {
			break
		}
		room := o.room
		n.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return wire.NotTried("the message to %s has not left: %v", m.To, context.Cause(ctx))
		}
		n.mu.Lock()
	}
	if p != nil {
		if call {
			o.calls[m.Conversation] = p
		} else {
			m.ID = o.freeID()
			o.sends[m.ID] = p
		}
		p.m = *m
		n.signalRoom()
	}
	o.enqueue(m, p, size)
	l := n.link
	if !now {
		n.wakeWriter()
	}
	n.mu.Unlock()
	if now && l != nil {
		l.push()
	}
	return nil
}

// enqueue appends a checked message to what waits; mu is held.
func (o *outgoing) enqueue(m *wire.Message, p *pending, size int) {
	if size <= wire.MaxWhole {
		o.out = appendChecked(o.out, m)
		if p != nil {
			o.queued = append(o.queued, p)
		}
		return
	}
	o.cut++
	o.large = append(o.large, &large{p: p, to: m.To, frame: appendChecked(make([]byte, 0, size), m), id: o.cut & wire.MaxID})
}

func appendChecked(dst []byte, m *wire.Message) []byte {
	out, err := wire.AppendFrame(dst, m)
	if err != nil {
		panic(err) // queue has checked it
	}
	return out
}

// wakeWriter has the link's writer look; mu is held.
func (n *Session) wakeWriter() {
	if n.link != nil {
		n.link.wakeWriter()
	}
}

func (o *outgoing) fits(to string, size int) bool {
	for _, l := range o.large {
		if l.to == to {
			return false
		}
	}
	if size > wire.MaxWhole {
		return len(o.large) < largeTransfers
	}
	return len(o.out) < maxQueued
}

// awaited reports whether anybody waits for an outcome or an answer; mu is held.
func (o *outgoing) awaited() bool { return len(o.sends)+len(o.calls) > 0 }

func (o *outgoing) freeID() uint32 {
	for {
		o.nextID = o.nextID%wire.MaxID + 1
		if _, used := o.sends[o.nextID]; !used {
			return o.nextID
		}
	}
}

// appendNext moves what waits to buf, one chunk of long frames with it; mu is held.
func (o *outgoing) appendNext(buf []byte) []byte {
	for _, p := range o.requeued {
		p.written = true
		buf = o.appendAgain(buf, &p.m)
	}
	o.requeued = nil
	if len(o.out) > 0 {
		buf = append(buf, o.out...)
		o.out = o.out[:0]
		for _, p := range o.queued {
			p.written = true
		}
		clear(o.queued)
		o.queued = o.queued[:0]
		o.signalRoom()
	}
	if len(o.large) == 0 {
		return buf
	}
	l := o.large[0]
	buf, l.at = wire.AppendChunk(buf, l.id, l.frame, l.at)
	o.large = append(o.large[:0], o.large[1:]...)
	if l.at < len(l.frame) {
		o.large = append(o.large, l)
		return buf
	}
	if l.p != nil {
		l.p.written = true
	}
	o.signalRoom()
	return buf
}

// appendAgain appends a message that goes again; a long one is cut, but not interleaved.
func (o *outgoing) appendAgain(buf []byte, m *wire.Message) []byte {
	if m.FrameSize() <= wire.MaxWhole {
		return appendChecked(buf, m)
	}
	o.cut++
	id, frame := o.cut&wire.MaxID, appendChecked(nil, m)
	for at := 0; at < len(frame); {
		buf, at = wire.AppendChunk(buf, id, frame, at)
	}
	return buf
}

func (o *outgoing) signalRoom() {
	close(o.room)
	o.room = make(chan struct{})
}

// connectionLost ends what may have left with a connection that was lost: its outcome is unknown. Long frames of which
// not all left certainly did not arrive; they go with the next connection from their beginning.
func (o *outgoing) connectionLost(why error) {
	o.failWhere(func(p *pending) error {
		if p.written {
			return wire.Unknown(why)
		}
		return nil
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.large {
		l.at = 0
	}
}

// failAll ends everything: what has not left was not tried.
func (o *outgoing) failAll() {
	o.mu.Lock()
	o.requeued, o.out, o.queued, o.large = nil, nil, nil, nil
	o.signalRoom()
	o.mu.Unlock()
	o.failWhere(func(p *pending) error {
		if p.written {
			return wire.Unknown(ErrLost)
		}
		return wire.NotTried("the session is lost; the message has not left")
	})
}

// failWhere ends those for which judge has an error.
func (o *outgoing) failWhere(judge func(*pending) error) {
	type ended struct {
		p   *pending
		err error
	}
	var over []ended
	o.mu.Lock()
	for id, p := range o.sends {
		if err := judge(p); err != nil {
			delete(o.sends, id)
			over = append(over, ended{p, err})
		}
	}
	for c, p := range o.calls {
		if err := judge(p); err != nil {
			delete(o.calls, c)
			over = append(over, ended{p, err})
		}
	}
	o.mu.Unlock()
	for _, e := range over {
		e.p.complete(wire.Message{}, e.err)
	}
}

// delivered ends the sends that a receipt names.
func (o *outgoing) delivered(ids []byte) {
	var some [64]*pending
	for len(ids) >= 3 {
		n := 0
		o.mu.Lock()
		for ; len(ids) >= 3 && n < len(some); ids = ids[3:] {
			id := uint32(ids[0])<<16 | uint32(ids[1])<<8 | uint32(ids[2])
			if p := o.sends[id]; p != nil {
				delete(o.sends, id)
				some[n] = p
				n++
			}
		}
		o.mu.Unlock()
		for _, p := range some[:n] {
			p.complete(wire.Message{}, nil)
		}
	}
}

// removeSend removes the send of this id, and of this conversation unless that is nil, from those that wait, and
// returns it.
func (o *outgoing) removeSend(id uint32, conversation *[16]byte) *pending {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.sends[id]
	if p == nil || conversation != nil && p.m.Conversation != *conversation {
		return nil
	}
	delete(o.sends, id)
	return p
}

// removeCall removes the call of this conversation from those that wait, and returns it.
func (o *outgoing) removeCall(conversation [16]byte) *pending {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.calls[conversation]
	delete(o.calls, conversation)
	return p
}

// remove stops waiting for the outcome.
func (o *outgoing) remove(p *pending) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls[p.m.Conversation] == p {
		delete(o.calls, p.m.Conversation)
	}
	if o.sends[p.m.ID] == p {
		delete(o.sends, p.m.ID)
	}
}

// requeue has a message go again that the coordinator certainly did not send, for want of a sign-in; mu is held.
func (o *outgoing) requeue(p *pending, call bool) {
	p.written = false
	if call {
		o.calls[p.m.Conversation] = p
	} else {
		o.sends[p.m.ID] = p
	}
	o.requeued = append(o.requeued, p)
}
