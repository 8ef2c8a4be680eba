// Package sessiontest is the coordinator's end of a session over a WebSocket, for tests of programs that sign in.
package sessiontest

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// Handler is what a coordinator does with one connection. Its functions are called
// one at a time, but for SignedIn.
type Handler struct {
	// Name is the full name of the component that signs in.
	Name string
	// Call carries out a method of COORDINATOR.
	Call func(method string, params json.RawMessage) (result any, refused *wire.Error)
	// Message receives a message for anybody else; nil drops it.
	Message func(c *Conn, m *wire.Message)
	// SignedIn is called, in a goroutine of its own, after the answer to the first
	// sign-in that was granted; ctx ends with the connection. Nil is nothing to do.
	SignedIn func(ctx context.Context, c *Conn)
}

// Conn is one connection. Its methods are safe for concurrent use; what cannot be
// written since the connection has ended is dropped.
type Conn struct {
	t    testing.TB
	name string
	conn *websocket.Conn
	ctx  context.Context
}

// Serve answers GET /v1/session: it blocks until the connection or ctx ends, and
// SignedIn has returned. Frames that cannot be read are errors of the test.
func Serve(ctx context.Context, t testing.TB, w http.ResponseWriter, r *http.Request, h Handler) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"folkmoot.v1"}})
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	c := &Conn{t: t, name: h.Name, conn: conn, ctx: ctx}
	for signedIn := false; ; {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			return
		}
		m, _, err := wire.ParseFrame(raw, nil)
		switch {
		case err != nil:
			t.Error(err)
			return
		case m.To == "" && m.Type == wire.TypePing:
			c.write(wire.AppendControlFrame(nil, wire.TypePong, m.Payload[0]))
		case m.To == "":
		case m.To != wire.Coordinator:
			if h.Message != nil {
				h.Message(c, &m)
			}
		default:
			method, granted := c.answer(&m, h.Call)
			if method == "sign_in" && granted && !signedIn && h.SignedIn != nil {
				background.Go(func() { h.SignedIn(ctx, c) })
			}
			signedIn = signedIn || method == "sign_in" && granted
		}
	}
}

// answer carries out a request to COORDINATOR and writes the answer.
func (c *Conn) answer(m *wire.Message, call func(string, json.RawMessage) (any, *wire.Error)) (method string, granted bool) {
	rq, err := jsonrpc.Parse(m.Payload[0])
	if err != nil {
		c.t.Errorf("a request to COORDINATOR: %v", err)
		return "", false
	}
	answer := jsonrpc.Response{ID: rq.ID}
	result, refused := call(rq.Method, rq.Params)
	if refused != nil {
		answer.Error = jsonrpc.ErrorOf(refused)
	} else {
		answer.Result = result
	}
	content, err := answer.Encode()
	if err != nil {
		c.t.Error(err)
	}
	c.Send(wire.Message{From: "n1." + wire.Coordinator, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{content}})
	return rq.Method, refused == nil
}

// Send writes a message to the component.
func (c *Conn) Send(m wire.Message) {
	m.To = c.name
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.write(b)
}

// Acknowledge writes the receipt for a message with this id.
func (c *Conn) Acknowledge(id uint32) {
	c.write(wire.AppendControlFrame(nil, wire.TypeReceipt, []byte{byte(id >> 16), byte(id >> 8), byte(id)}))
}

// End says why the session ends, and closes the connection.
func (c *Conn) End(why *wire.Error) {
	c.write(wire.AppendBye(nil, why))
	_ = c.conn.CloseNow()
}

func (c *Conn) write(b []byte) { _ = c.conn.Write(c.ctx, websocket.MessageBinary, b) }
