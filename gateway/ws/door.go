// Package ws is the door for native sessions over WebSocket (docs/protocol.md, section 8).
package ws

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
)

// Protocol is the sub-protocol that both sides name.
const Protocol = "folkmoot.v1"

// maxText bounds one text message, in bytes.
const maxText = 1 << 20

// Door takes native sessions in; it is an http.Handler for GET requests whose
// origin and token were checked. A connection ends with the hub.
type Door struct{ hub *session.Hub }

// New returns a door for sessions of the hub.
func New(hub *session.Hub) *Door { return &Door{hub} }

var _ http.Handler = (*Door)(nil)

// ServeHTTP implements http.Handler; it returns when the connection has ended.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1) // the library would close before a bye is said
	l := &line{conn: conn, patience: d.hub.Limits().Write}
	begun, limit := time.Now(), d.hub.Limits().SignIn

	silent := time.AfterFunc(limit, func() { _ = conn.Close(websocket.StatusPolicyViolation, "no sign-in") })
	kind, raw, err := l.next(wire.MaxFirst)
	silent.Stop()
	l.text = kind == websocket.MessageText
	refused := (*wire.Error)(nil)
	switch {
	case errors.As(err, &refused):
		l.turnAway(refused)
		return
	case err != nil:
		return
	}
	c, refused := d.hub.Begin(l, control.Caller{Addr: r.RemoteAddr, Kind: "native"}, session.Options{Whole: l.text, Admitted: true})
	if refused != nil {
		l.turnAway(refused)
		return
	}
	silent = time.AfterFunc(limit-time.Since(begun), func() {
		if !c.SignedIn() && !l.entered.Load() {
			c.End(wire.Refuse(wire.CodeUnauthorized, "no sign-in within %v", limit))
		}
	})
	defer silent.Stop()
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	wg.Go(func() { l.ping(ctx, c) })
	err = l.read(c, raw)
	c.Finish(err)
	stop()
	wg.Wait()
}

// line is a connection as sessions see it.
type line struct {
	conn     *websocket.Conn
	text     bool
	patience time.Duration
	why      atomic.Pointer[wire.Error]
	entered  atomic.Bool // somebody has been signed in
	dead     atomic.Bool // it gave no sign of life
}

var _ session.Line = (*line)(nil)

// turnAway says why there is no session, and closes.
func (l *line) turnAway(why *wire.Error) {
	_ = l.Write(wire.AppendBye(nil, why))
	l.Close()
}

// read gives every frame to c until the connection ends: nil if the other side
// closed it.
func (l *line) read(c *session.Conn, raw []byte) error {
	for {
		m, err := l.frame(raw)
		if err != nil {
			return err
		}
		if c.Ended() {
			return nil
		}
		if err := c.Frame(&m, false); err != nil {
			return err
		}
		if c.SignedIn() {
			l.entered.Store(true)
		}
		limit := c.MaxFrame()
		if l.text && c.SignedIn() {
			limit = maxText
		}
		kind, next, err := l.next(limit)
		switch status := websocket.CloseStatus(err); {
		case err == nil && (kind == websocket.MessageText) != l.text:
			return wire.Invalid("frame", "a session is all text or all binary")
		case err == nil:
			raw = next
			continue
		case l.dead.Load():
			return os.ErrDeadlineExceeded
		case status == websocket.StatusNormalClosure, status == websocket.StatusGoingAway, errors.Is(err, io.EOF):
			return nil
		}
		return err
	}
}

// next reads one message of at most limit bytes.
func (l *line) next(limit int) (websocket.MessageType, []byte, error) {
	kind, r, err := l.conn.Reader(context.Background()) // what a peer that died said last is found out by ping
	if err != nil {
		return kind, nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = wire.Refuse(wire.CodeTooLarge, "a frame above the limit here of %d bytes", limit)
	}
	return kind, b, err
}

// frame reads one message of the WebSocket.
func (l *line) frame(raw []byte) (wire.Message, error) {
	if l.text {
		return wire.ParseText(raw)
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
				l.why.Store(why)
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
	return nil
}

// WriteNow implements session.Line: a WebSocket's writes may wait.
func (l *line) WriteNow([]byte) int { return 0 }

func (l *line) write(kind websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	err := l.conn.Write(ctx, kind, b)
	if ctx.Err() != nil {
		return os.ErrDeadlineExceeded
	}
	return err
}

// textOf is a frame as text; nil is nothing to say.
func textOf(m *wire.Message) ([]byte, error) {
	switch {
	case m.To != "":
		return wire.AppendText(nil, m)
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
	if why := l.why.Load(); why != nil {
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

// ping asks for a sign of life until ctx ends; without one for DeadAfter times
// the connection is over.
func (l *line) ping(ctx context.Context, c *session.Conn) {
	tick := time.NewTicker(wire.DefaultPing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		asking, cancel := context.WithTimeout(ctx, (wire.DeadAfter-1)*wire.DefaultPing)
		err := l.conn.Ping(asking)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.dead.Store(true)
				_ = l.conn.CloseNow()
			}
			return
		}
		c.Alive()
	}
}
