package session

import (
	"errors"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// maxNames bounds the completed names a connection remembers.
const maxNames = 1024

// MaxFrame is how long the next frame of the connection may be, length field
// included.
func (c *Conn) MaxFrame() int {
	if c.SignedIn() {
		return 4 + wire.MaxFrame
	}
	return wire.MaxFirst
}

// NextFrame says whether the frame behind the present one has been read already.
type NextFrame bool

const (
	NextPending  NextFrame = false // the reader has to wait for it
	NextBuffered NextFrame = true
)

// writeMode lets what a frame brings about wait for a next one that is buffered.
func (n NextFrame) writeMode() router.WriteMode { return router.WriteMode(n != NextBuffered) }

// Frame handles one frame. The bytes of one that is at most wire.MaxWhole long
// are the caller's again when Frame returns; those of a longer one, and the
// slice Payload, belong to the connection from now on.
// It waits while too many messages have no outcome. What the frame has written may
// wait for the next one if that is buffered. An error is a refusal that ends the
// connection: give it to Finish.
func (c *Conn) Frame(m *wire.Message, next NextFrame) error {
	if c.readTime.IsZero() {
		c.readTime = time.Now()
	}
	now := c.readTime
	if next == NextPending {
		c.readTime = time.Time{} // the next one is read later
	}
	live := c.live.Load()
	if live != nil && now.Sub(c.renewed) > renewEvery {
		c.renewed = now
		if !live.Renew() {
			c.End(live.Gone())
			return nil
		}
	}
	switch {
	case m.To == "":
		return c.handleControl(m, live, next)
	case live == nil:
		return c.handleUnauthenticated(m)
	}
	c.handleMessage(m, live, now, next)
	return nil
}

// forgetReadTime makes the reader read the clock again.
func (c *Conn) forgetReadTime(waited bool) {
	if waited {
		c.readTime = time.Time{}
	}
}

// handleControl handles a control frame, which is about the connection.
func (c *Conn) handleControl(m *wire.Message, live *home.Session, next NextFrame) error {
	switch m.Type {
	case wire.TypePing:
		var data []byte
		if len(m.Payload) > 0 {
			if data = m.Payload[0]; len(data) > 64 || len(m.Payload) > 1 {
				return wire.Invalid("ping", "a ping has at most one payload frame of 64 bytes")
			}
		}
		kind := wire.TypePong
		if live != nil && !live.Promise() {
			if kind, data = wire.TypePing, nil; c.pingUnanswered(live) {
				return nil
			}
		} else {
			c.unansweredSince = time.Time{}
		}
		if in, waited := c.acquire(0, 0); in {
			c.forgetReadTime(waited)
			c.mu.Lock()
			c.out = wire.AppendControlFrame(c.out, kind, data)
			c.mu.Unlock()
			c.flush(next.writeMode())
		}
	case wire.TypeChunk:
		if live == nil {
			return wire.Invalid("chunk", "a chunk before the sign-in")
		}
		whole, ok, err := c.chunks.Add(m)
		if err != nil {
			return err
		}
		if ok {
			c.handleMessage(&whole, live, time.Now(), next)
		}
	case wire.TypeBye:
		c.End(nil)
	}
	return nil
}

// pingUnanswered records that a ping cannot be answered, since the answer would promise a
// lease; a ping of ours goes instead, so that the connection does not seem dead.
// After a third of the lease the connection is ended, true, while the client has the time
// to go to another coordinator.
func (c *Conn) pingUnanswered(live *home.Session) bool {
	now := time.Now()
	if c.unansweredSince.IsZero() {
		c.unansweredSince = now
	}
	if now.Sub(c.unansweredSince) < live.Lease()/3 {
		return false
	}
	c.End(wire.NotTried("this coordinator is out of touch with the cluster and cannot hold the lease of %s: sign in at another one", live.FullName()))
	return true
}

// handleMessage sends one message on, or hands it to COORDINATOR.
func (c *Conn) handleMessage(m *wire.Message, live *home.Session, now time.Time, next NextFrame) {
	if m.From != "" && m.From != live.FullName() {
		c.hub.counts.forged.Add(1)
		c.refuse(m, live, wire.Refuse(wire.CodeForbidden, "%s must not send as %.600q", live.FullName(), m.From))
		return
	}
	to, here, err := c.resolve(m.To, live)
	if err != nil {
		c.refuse(m, live, err)
		return
	}
	if here {
		c.enqueueRequest(m, live)
		return
	}
	size := m.FrameSize()
	switch in, waited := c.acquire(1, size); {
	case !in:
		return
	case waited:
		now = time.Now()
		c.forgetReadTime(true)
	}
	p := newPendingMessage()
	p.c, p.live, p.to, p.conversation, p.id, p.size = c, live, to, m.Conversation, m.ID, size
	m.To = to
	live.Post(*m, now, next.writeMode(), p.fn)
}

// resolve completes a receiver's name; the connection caches the last ones.
func (c *Conn) resolve(to string, live *home.Session) (full string, here bool, err error) {
	if full, ok := c.names[to]; ok {
		return full, false, nil
	}
	full, here, err = live.Address(to)
	if err == nil && !here {
		if c.names == nil || len(c.names) >= maxNames {
			c.names = map[string]string{}
		}
		c.names[to] = full
	}
	return full, here, err
}

// pendingMessage is a message without outcome. It and its callback are pooled.
type pendingMessage struct {
	c            *Conn
	live         *home.Session
	fn           func(router.Outcome, error)
	to           string
	conversation [16]byte
	id           uint32
	size         int
}

var pendingPool sync.Pool

func newPendingMessage() *pendingMessage {
	if p, ok := pendingPool.Get().(*pendingMessage); ok {
		return p
	}
	p := new(pendingMessage)
	p.fn = p.done
	return p
}

// done records the outcome. It runs on links: it must not block.
func (p *pendingMessage) done(_ router.Outcome, err error) {
	c := p.c
	err = p.live.Outcome(err)
	c.mu.Lock()
	c.inflight--
	c.inflightBytes -= p.size
	if !c.ended {
		switch {
		case err != nil:
			c.appendFailure(p.live, p.to, p.conversation, p.id, err)
			c.wakeWriter()
		case p.id != 0:
			c.receipts = append(c.receipts, byte(p.id>>16), byte(p.id>>8), byte(p.id))
			c.wakeWriter()
		}
	}
	c.signalRoom()
	c.mu.Unlock()
	p.c, p.live, p.to = nil, nil, ""
	pendingPool.Put(p)
}

// appendFailure appends the report on a message that was not delivered; mu is held.
func (c *Conn) appendFailure(live *home.Session, to string, conversation [16]byte, id uint32, err error) {
	m := wire.Message{
		To: live.FullName(), From: live.Coordinator(), Conversation: conversation, ID: id, Type: wire.TypeJSON,
		Payload: [][]byte{deliveryFailure(to, err)},
	}
	c.out = c.chunker.add(c.out, &m, false)
}

// refuse answers a message that was not sent on.
func (c *Conn) refuse(m *wire.Message, live *home.Session, err error) {
	if in, waited := c.acquire(0, 0); in {
		c.forgetReadTime(waited)
		c.mu.Lock()
		c.appendFailure(live, m.To, m.Conversation, m.ID, err)
		c.mu.Unlock()
		c.flush(router.WriteNow)
	}
}

// deliveryFailure is the content of the report on a message that was not delivered:
// a JSON-RPC 2.0 error with exactly the members that LECO clients accept.
func deliveryFailure(to string, err error) []byte {
	type data struct {
		Code    wire.Code `json:"code"`
		Message string    `json:"message"`
		To      string    `json:"to"`
		Needs   string    `json:"needs,omitempty"`
		Token   string    `json:"token,omitempty"`
	}
	code, known := jsonrpc.CodeServer, wire.CodeOf(err)
	if known == wire.CodeNotFound {
		code = jsonrpc.CodeReceiverUnknown
	}
	d := data{Code: known, Message: err.Error(), To: to}
	if refusal := (*wire.Error)(nil); errors.As(err, &refusal) {
		d.Needs, d.Token = refusal.Needs, refusal.Token
	}
	return encodeError(nil, jsonrpc.NewError(code, err.Error(), d))
}
