package client

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Dial signs in as the function Dial does, over the WebSocket of the REST port (docs/protocol.md, section 8): at the
// client's own addresses, with its token, TLS and connections. Addrs, Token, TLS and Dialer of cfg must be empty. The
// session does not learn the addresses of other coordinators.
func (c *Client) Dial(ctx context.Context, cfg Component) (*Session, error) {
	if len(cfg.Addrs) > 0 || cfg.Token != "" || cfg.TokenFile != "" || cfg.TLS != nil || cfg.Dialer != nil {
		return nil, wire.Invalid("addrs", "addresses, token, TLS and dialer of a session over REST are those of the client: leave them out")
	}
	cfg.Addrs, cfg.Dialer, cfg.webSocket, cfg.silent = c.Addrs(), c.dialWebSocket, true, c.cfg.Silent
	return Dial(ctx, cfg)
}

// dialWebSocket opens a WebSocket for a session at one coordinator. Errors are *CallError.
func (c *Client) dialWebSocket(ctx context.Context, base string) (net.Conn, error) {
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	r := request{method: http.MethodGet, path: "/session", header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Key": {key}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"folkmoot.v1"},
	}}
	var raw net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { raw = info.Conn }})
	res, ce := c.connect(ctx, base, r, nil)
	if ce == nil {
		var body io.ReadWriteCloser
		if body, ce = upgraded(r, base, res, key); ce == nil {
			c.last.Store(nil)
			return &webSocket{body: body, in: bufio.NewReaderSize(body, 32<<10), raw: raw}, nil
		}
		res.Body.Close()
	}
	if ctx.Err() == nil { // that the caller's time is over says nothing
		c.last.Store(ce)
	}
	return nil, ce
}

// upgraded checks the answer to a WebSocket handshake and returns what to read from and write to.
func upgraded(r request, base string, res *http.Response, key string) (io.ReadWriteCloser, *CallError) {
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 4.2.2
	body, ok := res.Body.(io.ReadWriteCloser)
	switch {
	case res.StatusCode != http.StatusSwitchingProtocols, !strings.EqualFold(res.Header.Get("Upgrade"), "websocket"), !ok,
		res.Header.Get("Sec-Websocket-Accept") != base64.StdEncoding.EncodeToString(accept[:]):
		return nil, r.failed(base, wire.NotTried("answered %s, which opens no WebSocket", res.Status), nil)
	}
	return body, nil
}

// Operation codes of WebSocket frames (RFC 6455, section 5.2).
const (
	opContinuation = 0
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// webSocket is the client's side of a WebSocket (RFC 6455) as the connection of a session: a stream of frames of ours,
// each of which is one binary message. Unlike a library's it goes on after a deadline has passed in the midst of a read
// or a write, which is how silence and slow links are told apart (wire/awake, wire/flow). Read is for one goroutine at
// a time, Write for one other.
type webSocket struct {
	body io.ReadWriteCloser
	in   *bufio.Reader // over body
	raw  net.Conn      // below body, for deadlines; nil: the client's RoundTripper does not tell
	left uint64        // bytes of the data frame that is being read

	mu      sync.Mutex // guards what follows
	pong    []byte     // goes with the next write; nil: no ping is unanswered
	out     []byte     // reused
	unsent  []byte     // the part of out that is not written yet
	encoded int        // bytes of ours that out stands for
}

var _ net.Conn = (*webSocket)(nil)

// Read implements net.Conn.
func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		if err := w.nextFrame(); err != nil {
			return 0, err
		}
	}
	n, err := w.in.Read(p[:min(uint64(len(p)), w.left)])
	w.left -= uint64(n)
	return n, err
}

// nextFrame reads the header of the next frame, and the whole of a control frame. What has come of a header stays in
// the buffer when a deadline passes.
func (w *webSocket) nextFrame() error {
	head, err := w.in.Peek(2)
	if err != nil {
		return err
	}
	op, size, length := head[0]&0x0f, 2, uint64(head[1])
	if head[0]&0x70 != 0 || length > 127 {
		return errors.New("a WebSocket frame with reserved bits or a mask, which no server sends")
	}
	switch length {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if head, err = w.in.Peek(size); err != nil {
		return err
	}
	switch size {
	case 4:
		length = uint64(binary.BigEndian.Uint16(head[2:]))
	case 10:
		length = binary.BigEndian.Uint64(head[2:])
	}
	if op != opContinuation && op != opBinary {
		return w.control(op, size, int(min(length, 126)))
	}
	w.left = length
	_, err = w.in.Discard(size)
	return err
}

// control handles a control frame behind a header of size bytes.
func (w *webSocket) control(op byte, size, length int) error {
	if op < opClose || op > opPong || length > 125 {
		return fmt.Errorf("a WebSocket frame of kind %d, which is not binary, or too long for a control frame", op)
	}
	frame, err := w.in.Peek(size + length)
	if err != nil {
		return err
	}
	switch op {
	case opClose:
		return io.EOF
	case opPing:
		w.mu.Lock()
		w.pong = append([]byte{}, frame[size:]...)
		w.mu.Unlock()
	}
	_, err = w.in.Discard(size + length)
	return err
}

// Write implements net.Conn: b is whole frames of ours. After an error of a deadline the caller goes on with what was
// not written.
func (w *webSocket) Write(b []byte) (done int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for done < len(b) {
		if len(w.unsent) == 0 {
			if err := w.encode(b[done:]); err != nil {
				return done, err
			}
		}
		n, err := w.body.Write(w.unsent)
		if w.unsent = w.unsent[n:]; err != nil {
			return done, err
		}
		done += w.encoded
	}
	return done, nil
}

// writeAtOnce is about how many bytes are encoded at once.
const writeAtOnce = 64 << 10

// encode makes a message of each frame at the start of b; mu is held.
func (w *webSocket) encode(b []byte) error {
	out := w.out[:0]
	if w.pong != nil {
		out, w.pong = appendMasked(out, opPong, w.pong), nil
	}
	w.encoded = 0
	for len(b) > 0 && w.encoded < writeAtOnce {
		_, n, err := wire.ParseFrame(b, nil)
		if err != nil {
			return fmt.Errorf("what is written is no whole frame: %w", err)
		}
		out, b = appendMasked(out, opBinary, b[:n]), b[n:]
		w.encoded += n
	}
	w.out, w.unsent = out, out
	return nil
}

// appendMasked appends one unfragmented frame of a client.
func appendMasked(dst []byte, op byte, payload []byte) []byte {
	const final, masked = 0x80, 0x80
	dst = append(dst, final|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], mathrand.Uint32())
	dst = append(dst, mask[:]...)
	from := len(dst)
	dst = append(dst, payload...)
	for i := range payload {
		dst[from+i] ^= mask[i&3]
	}
	return dst
}

// Close implements net.Conn. No close frame is sent: the end of the connection says the same.
func (w *webSocket) Close() error { return w.body.Close() }

// NetConn is the TCP connection below, as of tls.Conn; nil if it is not known.
func (w *webSocket) NetConn() net.Conn {
	if secure, ok := w.raw.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return w.raw
}

// LocalAddr implements net.Conn.
func (w *webSocket) LocalAddr() net.Addr {
	if w.raw == nil {
		return webSocketAddr{}
	}
	return w.raw.LocalAddr()
}

// RemoteAddr implements net.Conn.
func (w *webSocket) RemoteAddr() net.Addr {
	if w.raw == nil {
		return webSocketAddr{}
	}
	return w.raw.RemoteAddr()
}

// webSocketAddr is the address of a connection that is not known.
type webSocketAddr struct{}

func (webSocketAddr) Network() string { return "websocket" }
func (webSocketAddr) String() string  { return "websocket" }

// SetDeadline implements net.Conn. Without a connection below there are no deadlines: the lease alone ends what is
// silent.
func (w *webSocket) SetDeadline(t time.Time) error {
	if w.raw == nil {
		return nil
	}
	return w.raw.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (w *webSocket) SetReadDeadline(t time.Time) error {
	if w.raw == nil {
		return nil
	}
	return w.raw.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (w *webSocket) SetWriteDeadline(t time.Time) error {
	if w.raw == nil {
		return nil
	}
	return w.raw.SetWriteDeadline(t)
}
