// Package ws is the door for native sessions over WebSocket (docs/protocol.md, section 8).
package ws

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/hangup"
	"github.com/folkmoot/folkmoot/wire/textframe"
	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// Protocol is the sub-protocol that both sides name.
const Protocol = "folkmoot.v1"

// maxText bounds one text message, in bytes.
const maxText = 1 << 20

// Door takes native sessions in; its requests are GETs whose origin and
// principal were checked. A connection ends with the hub.
type Door struct{ hub *session.Hub }

// New returns a door for sessions of the hub.
func New(hub *session.Hub) *Door { return &Door{hub} }

// Serve takes a session in from a principal that REST let in; it returns when the
// connection has ended.
func (d *Door) Serve(w http.ResponseWriter, r *http.Request, who control.Principal) {
	who = who.Via(control.DoorNative)
	t := &hijacker{ResponseWriter: w, writeTimeout: d.hub.Limits().Write}
	conn, err := websocket.Accept(t, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // Accept has answered
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.CloseNow()
	wg.Go(t.socket.run)
	conn.SetReadLimit(-1) // the library would close before a bye is said
	l := &line{conn: conn, socket: t.socket, netConn: hangup.Conn(r.Context())}
	begun, limit := time.Now(), d.hub.Limits().SignIn

	silent := awake.AfterFunc(limit, func() { _ = conn.Close(websocket.StatusPolicyViolation, "no sign-in") })
	kind, raw, err := l.readMessage(wire.MaxFirst, nil)
	silent.Stop()
	l.text = kind == websocket.MessageText
	refused := (*wire.Error)(nil)
	switch {
	case errors.As(err, &refused):
		l.refuse(refused)
		return
	case err != nil:
		return
	}
	c, refused := d.hub.Begin(l, control.Credentials{Door: control.DoorNative, Remote: r.RemoteAddr}, session.Options{Whole: l.text, Abort: func() { t.socket.fail(net.ErrClosed) }, Principal: &who})
	if refused != nil {
		l.refuse(refused)
		return
	}
	silent = awake.AfterFunc(limit-time.Since(begun), func() {
		if !c.SignedIn() && !l.signedIn.Load() {
			c.End(wire.Refuse(wire.CodeUnauthorized, "no sign-in within %v", limit))
		}
	})
	defer silent.Stop()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	wg.Go(func() { l.ping(ctx, c) })
	err = l.read(c, raw)
	c.Finish(err)
}

// line is a connection as sessions see it.
type line struct {
	conn      *websocket.Conn
	socket    *socket
	text      bool
	byeReason atomic.Pointer[wire.Error]
	signedIn  atomic.Bool // a session has been signed in
	netConn   net.Conn    // what the WebSocket runs over; nil: not known
}

var _ session.Line = (*line)(nil)

// Left implements session.Line.
func (l *line) Left() bool { return hangup.PeerClosed(l.netConn) }

// refuse says why there is no session, and closes.
func (l *line) refuse(why *wire.Error) {
	_ = l.Write(wire.AppendBye(nil, why))
	l.Close()
}

// read gives every frame to c until the connection ends: nil if the other side
// closed it.
func (l *line) read(c *session.Conn, raw []byte) error {
	for {
		m, err := l.parse(raw)
		if err != nil {
			return err
		}
		if c.Ended() {
			return nil
		}
		if err := c.Frame(&m, session.NextPending); err != nil {
			return err
		}
		if c.SignedIn() {
			l.signedIn.Store(true)
		}
		limit := c.MaxFrame()
		if l.text && c.SignedIn() {
			limit = maxText
		}
		kind, next, err := l.readMessage(limit, c.BeginMessage)
		switch status := websocket.CloseStatus(err); {
		case err == nil && (kind == websocket.MessageText) != l.text:
			return wire.Invalid("frame", "a session is all text or all binary")
		case err == nil:
			raw = next
			continue
		case l.socket.timedOut.Load():
			l.socket.fail(os.ErrDeadlineExceeded)
			_ = l.conn.CloseNow()
			return os.ErrDeadlineExceeded
		case status == websocket.StatusNormalClosure, status == websocket.StatusGoingAway, errors.Is(err, io.EOF):
			return nil
		}
		return err
	}
}

// readMessage reads one message of at most limit bytes; begin counts a long one.
func (l *line) readMessage(limit int, begin func() *unfinished.Message) (websocket.MessageType, []byte, error) {
	kind, r, err := l.conn.Reader(context.Background()) // what a peer that died said last is found out by ping
	if err != nil {
		return kind, nil, err
	}
	b, err := readAll(io.LimitReader(r, int64(limit)+1), begin)
	if err == nil && len(b) > limit {
		err = wire.Refuse(wire.CodeTooLarge, "a frame is above the limit here of %d bytes: cut it in several, or send the place where its content is, or take binary frames or the port of native sessions", limit)
	}
	return kind, b, err
}

// readAll is io.ReadAll that counts what it holds of a long message.
func readAll(r io.Reader, begin func() *unfinished.Message) ([]byte, error) {
	var held *unfinished.Message
	defer func() { held.End() }()
	b := make([]byte, 0, 512)
	for {
		if len(b) == cap(b) {
			if cap(b) >= wire.MaxWhole && held == nil && begin != nil {
				held = begin()
			}
			if !held.Grow(cap(b)) {
				return nil, wire.Refuse(wire.CodeBusy, "too much is held here of messages that have begun, and this one began first: send it again")
			}
			b = slices.Grow(b, cap(b))
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// parse reads one message of the WebSocket.
func (l *line) parse(raw []byte) (wire.Message, error) {
	if l.text {
		return textframe.Parse(raw)
	}
	m, n, err := wire.ParseFrame(raw, nil)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return m, wire.Invalid("frame", "a message of the WebSocket is one whole frame: %v", err)
	case err == nil && n != len(raw):
		return m, wire.Invalid("frame", "a message of the WebSocket is one frame")
	}
	return m, err
}

// Write implements session.Line: each frame is one message.
func (l *line) Write(frames []byte) error {
	for len(frames) > 0 {
		m, n, err := wire.ParseFrame(frames, nil)
		if err != nil {
			return err // ours: it cannot be
		}
		out, kind := frames[:n], websocket.MessageBinary
		frames = frames[n:]
		if m.To == "" && m.Type == wire.TypeBye {
			why := new(wire.Error)
			if json.Unmarshal(m.Payload[0], why) == nil {
				l.byeReason.Store(why)
			}
		}
		if l.text {
			kind = websocket.MessageText
			if out, err = textOf(&m); err != nil {
				return err
			}
			if out == nil {
				continue
			}
		}
		if err := l.write(kind, out); err != nil {
			return err
		}
	}
	return l.socket.waitWritten()
}

// WriteNow implements session.Line: a WebSocket's writes may wait.
func (l *line) WriteNow([]byte) int { return 0 }

// write writes one message, a long one in pieces: what the library has to say
// meanwhile goes between two.
func (l *line) write(kind websocket.MessageType, b []byte) error {
	ctx := context.Background() // the socket ends it
	if len(b) <= pieceSize {
		return l.conn.Write(ctx, kind, b)
	}
	w, err := l.conn.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n := min(len(b), pieceSize)
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		if err := l.socket.waitWritten(); err != nil {
			return err
		}
		b = b[n:]
	}
	return w.Close()
}

// textOf is a frame as text; nil is nothing to say.
func textOf(m *wire.Message) ([]byte, error) {
	switch {
	case m.To != "":
		return textframe.Append(nil, m)
	case m.Type == wire.TypeReceipt:
		ids := []uint32{}
		for b := m.Payload[0]; len(b) >= 3; b = b[3:] {
			ids = append(ids, uint32(b[0])<<16|uint32(b[1])<<8|uint32(b[2]))
		}
		return json.Marshal(map[string][]uint32{"receipt": ids})
	case m.Type == wire.TypeBye:
		return json.Marshal(map[string]json.RawMessage{"bye": m.Payload[0]})
	}
	return nil, nil
}

// Close implements session.Line.
func (l *line) Close() {
	code, reason := websocket.StatusNormalClosure, ""
	if why := l.byeReason.Load(); why != nil {
		code, reason = websocket.StatusPolicyViolation, string(why.Code)
		switch why.Code {
		case wire.CodeUnavailable:
			code = websocket.StatusGoingAway
		case wire.CodeTooLarge:
			code = websocket.StatusMessageTooBig
		}
	}
	// Close waits for the other side; the reader must not wait for that.
	_ = l.conn.Close(code, reason)
}

// ping asks for a sign of life until ctx ends. Without one the socket ends. A
// ping that is on its way behind what was written, while bytes move, is one too.
func (l *line) ping(ctx context.Context, c *session.Conn) {
	tick := time.NewTicker(wire.DefaultPing)
	defer tick.Stop()
	answered := make(chan error, 1)
	for asked := false; ; {
		select {
		case <-tick.C:
			if !asked {
				asked = true
				l.socket.queuePing()
				go func() { answered <- l.conn.Ping(ctx) }()
			} else if l.socket.flow.PingInTransit(wire.DeadAfter * wire.DefaultPing) {
				c.Alive()
			}
		case err := <-answered:
			if err != nil {
				return // the connection has ended
			}
			asked = false
			l.socket.flow.PongReceived()
			c.Alive()
		case <-ctx.Done():
			if asked {
				<-answered
			}
			return
		}
	}
}
