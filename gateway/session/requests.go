package session

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/hangup"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// signInTimeout bounds one sign-in; a client gives up sooner.
const signInTimeout = 15 * time.Second

// signInRequest is a request for sign_in.
type signInRequest struct {
	id     json.RawMessage
	params json.RawMessage
	hello  *wire.Hello // params, if they are decoded already
	bad    error       // why the request is none
}

// parseSignIn parses a request for sign_in; false is another one, or none.
func parseSignIn(content []byte) (rq signInRequest, ok bool) {
	if id, hello, fast := jsonrpc.ParseSignIn(content); fast {
		return signInRequest{id: id, hello: &hello}, true
	}
	var m jsonrpc.Message
	ok = json.Unmarshal(content, &m) == nil && m.Method == "sign_in"
	rq = signInRequest{id: m.ID, params: m.Params}
	if ok {
		rq.bad = strictjson.UniqueKeys(content, &m)
	}
	return rq, ok
}

// handleUnauthenticated handles a message while nobody is signed in: only sign_in is
// carried out.
func (c *Conn) handleUnauthenticated(m *wire.Message) error {
	var rq signInRequest
	ours := m.To == wire.Coordinator || strings.HasSuffix(m.To, "."+wire.Coordinator)
	if ours = ours && len(m.Payload) > 0; ours {
		rq, ours = parseSignIn(m.Payload[0])
	}
	if !ours {
		c.respondUnauthenticated(m, notSignedIn(rq.id), m.ID)
		return nil
	}
	c.hub.markSpoken(c)
	live, content := c.signIn(rq)
	switch {
	case live == nil && content == nil:
		return nil // it is over
	case live == nil:
		c.respondUnauthenticated(m, content, 0)
		return nil
	}
	// The mailbox before the answer: who reads that may sign in on another connection
	// at once, which takes the mailbox over from this one.
	mail, err := live.Mail(c.flush)
	c.respond(m, live, content)
	c.attach(live, mail, err)
	return nil
}

// clientGone ends a connection that the other side has closed: what it asked for is
// not begun. That it has can come to light seconds after it asked, if this process
// stood still, and by then it may have asked elsewhere.
func (c *Conn) clientGone() bool {
	if !c.line.Left() {
		return false
	}
	c.hub.log.Debug("a request is not begun: its client has left", "remote", c.from.Remote)
	c.End(nil)
	return true
}

// respondUnauthenticated writes COORDINATOR's answer to a message while nobody is signed in.
func (c *Conn) respondUnauthenticated(m *wire.Message, content []byte, id uint32) {
	to := m.From
	if to == "" {
		to = "?" // nobody has a name yet, and a message needs a receiver
	}
	c.send(&wire.Message{To: to, From: c.hub.control.Name(), Conversation: m.Conversation, ID: id, Type: wire.TypeJSON, Payload: [][]byte{content}})
}

// respond writes COORDINATOR's answer to a session.
func (c *Conn) respond(m *wire.Message, live *home.Session, content []byte) {
	c.send(&wire.Message{To: live.FullName(), From: live.Coordinator(), Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{content}})
}

// notSignedIn is the content of the answer to a request with this id (nil: not
// known) while nobody is signed in.
func notSignedIn(id json.RawMessage) []byte {
	if !json.Valid(id) {
		id = nil
	}
	return encodeError(id, jsonrpc.NewError(jsonrpc.CodeNotSignedIn, "You did not sign in!",
		wire.Refuse(wire.CodeUnauthorized, "sign in first; this was not sent")))
}

// errorAnswer is the content of the answer to a request that failed.
func errorAnswer(id json.RawMessage, err error) []byte { return encodeError(id, jsonrpc.ErrorOf(err)) }

// encodeError encodes an error answer.
func encodeError(id json.RawMessage, e *jsonrpc.Error) []byte {
	r := jsonrpc.Response{ID: id, Error: e}
	b, err := r.Encode()
	if err != nil {
		panic(err) // strings and numbers only, and an id that was JSON
	}
	return b
}

// signIn carries a sign-in out and returns the content of the answer.
func (c *Conn) signIn(rq signInRequest) (*home.Session, []byte) {
	select {
	case c.hub.signIns <- struct{}{}:
	case <-c.ctx.Done():
		return nil, nil
	}
	defer func() { <-c.hub.signIns }()
	if c.clientGone() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, signInTimeout)
	defer cancel()
	live, welcome, err := c.enterSession(ctx, rq)
	if err != nil {
		return nil, errorAnswer(rq.id, err)
	}
	content, err := jsonrpc.EncodeWelcome(rq.id, &welcome)
	if err != nil {
		return nil, errorAnswer(nil, wire.Unknown(err))
	}
	return live, content
}

func (c *Conn) enterSession(ctx context.Context, rq signInRequest) (*home.Session, wire.Welcome, error) {
	var out wire.Welcome
	in, err := rq.decode()
	if err != nil {
		c.recordSignIn(c.from.Audited(), in, out.SignedIn, jsonrpc.ErrorOf(err).Refusal())
		return nil, out, err
	}
	who, err := c.authenticate(in.Token)
	if err != nil {
		c.recordSignIn(c.from.Audited(), in, out.SignedIn, err)
		return nil, out, err
	}
	live, signed, resumed, err := c.enter(ctx, who, in)
	c.recordSignIn(who.Audited(), in, signed, err)
	if err != nil {
		return nil, out, err
	}
	doors, err := c.hub.control.Doors(who)
	if err != nil {
		return nil, out, err
	}
	c.direct = hangup.SameEndpoint(in.Address, c.from.Remote)
	return live, wire.Welcome{SignedIn: signed, Resumed: resumed, Coordinators: doors}, nil
}

// decode returns what a sign-in asks for. With an error that is empty.
func (rq *signInRequest) decode() (*wire.Hello, error) {
	if rq.hello != nil && rq.bad == nil {
		return rq.hello, nil
	}
	in := new(wire.Hello)
	err := rq.bad
	if err == nil {
		err = jsonrpc.DecodeParams(rq.params, nil, in)
	}
	if err != nil {
		return new(wire.Hello), err
	}
	return in, nil
}

// enter signs a principal in.
func (c *Conn) enter(ctx context.Context, who control.Principal, in *wire.Hello) (*home.Session, wire.SignedIn, bool, error) {
	switch {
	case in.Lease == 0 && in.Session != "": // it keeps that of before
	case in.Lease == 0:
		in.Lease = wire.Duration(wire.DefaultLease)
	case time.Duration(in.Lease) < wire.ShortestNativeLease:
		return nil, wire.SignedIn{}, false, wire.Invalid("lease", "a lease of a native session is at least %v", wire.ShortestNativeLease)
	}
	return c.hub.control.Enter(ctx, who, in.SignIn, in.Key)
}

// recordSignIn tells the audit trail what came of a sign-in.
func (c *Conn) recordSignIn(who audit.Who, in *wire.Hello, signed wire.SignedIn, err error) {
	e := audit.Event{Door: c.door(), Who: who, What: "sign_in", Target: signed.FullName}
	if e.Who.Session = signed.Session; e.Target == "" {
		e.Target = strings.TrimPrefix(in.Namespace+"."+in.Name, ".")
	}
	c.hub.control.Record(control.Audited(e, signed.Index, err))
}

// authenticate returns the principal that signs in: the one that the door let in, or
// the one of this token.
func (c *Conn) authenticate(token string) (control.Principal, error) {
	if c.opts.Principal != nil {
		return *c.opts.Principal, nil
	}
	from := c.from
	from.Token = token
	who, err := c.hub.control.Authenticate(from)
	if err != nil && token == "" {
		err = wire.Refuse(wire.CodeUnauthorized, "a sign-in here needs a token, and none was sent")
	}
	return who, err
}

// attach attaches the session and its mailbox, behind the answer to its sign-in.
func (c *Conn) attach(live *home.Session, mail *router.Consumer, err error) {
	c.live.Store(live)
	c.names, c.renewed = nil, time.Now()
	c.forgetReadTime(true) // a sign-in takes its time
	c.attachMailbox(live, mail, err)
}

func (c *Conn) attachMailbox(live *home.Session, mail *router.Consumer, err error) {
	if err != nil {
		why := (*wire.Error)(nil)
		if !errors.As(err, &why) {
			why = live.Gone()
		}
		c.End(why)
		return
	}
	live.Renew() // a connection of before that ended since may have abandoned it
	c.mu.Lock()
	c.mail = mail
	c.wakeWriter()
	c.mu.Unlock()
}

// enqueueRequest queues a message for COORDINATOR behind earlier ones.
func (c *Conn) enqueueRequest(m *wire.Message, live *home.Session) {
	size := m.Size()
	if size == 0 {
		return // a sign of life
	}
	l := &c.hub.limits
	c.mu.Lock()
	switch {
	case size > l.RequestBytes:
		c.mu.Unlock()
		c.refuse(m, live, wire.Refuse(wire.CodeTooLarge, "a request to COORDINATOR of %d bytes is above the limit of %d: ask for less at once", size, l.RequestBytes))
		return
	case len(c.requests) >= l.Requests:
		c.mu.Unlock()
		c.refuse(m, live, wire.Refuse(wire.CodeBusy, "%d requests of %s wait for COORDINATOR already", l.Requests, live.FullName()))
		return
	}
	asked := *m
	asked.CopyPayload() // it waits
	c.requests = append(c.requests, asked)
	if !c.serving {
		c.serving = c.spawn(c.serveRequests)
	}
	c.mu.Unlock()
}

// serveRequests answers queued requests, one after the other, until there is none.
func (c *Conn) serveRequests() {
	for {
		c.mu.Lock()
		if len(c.requests) == 0 || c.ended {
			c.requests, c.serving = nil, false
			c.mu.Unlock()
			return
		}
		m := c.requests[0]
		c.requests = c.requests[1:]
		c.mu.Unlock()
		live := c.live.Load()
		if live == nil {
			c.respondUnauthenticated(&m, notSignedIn(nil), m.ID)
			continue
		}
		if c.clientGone() {
			continue
		}
		switch content := c.hub.control.Ask(c.ctx, live, &m, connMethods{c}); {
		case content != nil:
			c.respond(&m, live, content)
		case m.ID != 0: // a response to a request of COORDINATOR, for instance
			c.acknowledge(m.ID)
		}
		c.startSubscription(m.Conversation)
	}
}

// acknowledge writes a receipt for a message that COORDINATOR does not answer.
func (c *Conn) acknowledge(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receipts = append(c.receipts, byte(id>>16), byte(id>>8), byte(id))
	c.wakeWriter()
}

// connMethods are those of COORDINATOR that are about the connection.
type connMethods struct{ c *Conn }

// connHandlers has what a connection carries out itself; a test holds it to
// control/methods.
var connHandlers = map[string]func(c *Conn, ctx context.Context, params json.RawMessage) (any, error){
	"sign_in": func(*Conn, context.Context, json.RawMessage) (any, error) {
		return nil, wire.Refuse(wire.CodeConflict, "somebody is signed in on this connection already")
	},
	"sign_out":    func(c *Conn, ctx context.Context, _ json.RawMessage) (any, error) { return nil, c.signOut(ctx) },
	"subscribe":   (*Conn).subscribe,
	"unsubscribe": (*Conn).unsubscribe,
}

// Carry implements methods.DoorMethods.
func (m connMethods) Carry(ctx context.Context, method string, params json.RawMessage) (result any, known bool, err error) {
	handle, known := connHandlers[method]
	if !known {
		return nil, false, nil
	}
	result, err = handle(m.c, ctx, params)
	return result, true, err
}

// Way implements methods.DoorMethods.
func (m connMethods) Way() methods.Way { return methods.Way{Door: m.c.door(), From: m.c.from} }

// door is the connection's door as the audit trail names it.
func (c *Conn) door() string {
	if c.opts.Principal != nil {
		return audit.DoorWS
	}
	return audit.DoorNative
}

// signOut ends the session; the connection may sign in again.
func (c *Conn) signOut(ctx context.Context) error {
	live := c.live.Load()
	if live == nil {
		return nil
	}
	// The mail first: its end must not look like the session's to the writer.
	c.mu.Lock()
	mail := c.mail
	c.mail = nil
	c.mu.Unlock()
	if mail != nil {
		mail.Close()
	}
	if err := live.SignOut(ctx); err != nil {
		mail, lost := live.Mail(c.flush)
		c.attachMailbox(live, mail, lost)
		return err
	}
	c.mu.Lock()
	if c.cancelEvents != nil {
		c.cancelEvents()
	}
	c.cancelEvents, c.startEvents = nil, nil
	c.mu.Unlock()
	c.live.Store(nil)
	return nil
}
