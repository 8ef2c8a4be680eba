// Package tcp is the door for native sessions over TCP and TLS (docs/protocol.md).
package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/hangup"
	"github.com/folkmoot/folkmoot/wire/pending"
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// Config is what a Door is made of. Hub is needed.
type Config struct {
	Hub    *session.Hub
	TLS    *tls.Config // nil: plain TCP
	Logger *slog.Logger
	// Unread bounds the connections whose first bytes are awaited: 64. A new one takes the
	// place of an old one (wire/pending).
	Unread int
}

// Door takes native sessions in.
type Door struct {
	hub *session.Hub
	tls *tls.Config
	log *slog.Logger
	wg  sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]bool
	pending   *pending.Set[net.Conn] // not yet in the hub
}

// New returns a Door that listens nowhere yet.
func New(cfg Config) *Door {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Unread <= 0 {
		cfg.Unread = 64
	}
	return &Door{
		hub: cfg.Hub, tls: cfg.TLS, log: cfg.Logger, listeners: map[net.Listener]bool{}, pending: pending.New[net.Conn](cfg.Unread),
	}
}

// Serve takes connections from l until Close, then it returns nil; it closes
// l. Another error is that of l.
func (d *Door) Serve(l net.Listener) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		l.Close()
		return nil
	}
	d.listeners[l] = true
	d.mu.Unlock()
	defer l.Close()
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		if err != nil {
			d.mu.Lock()
			closed := d.closed
			d.mu.Unlock()
			switch {
			case closed:
				return nil
			case errors.Is(err, net.ErrClosed):
				return fmt.Errorf("native door %s: %w", l.Addr(), err)
			}
			d.log.Warn("accept", "error", err) // out of descriptors, for one
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		d.admit(conn)
	}
}

// admit starts a connection; if too many are silent, another one gives way.
func (d *Door) admit(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		conn.Close()
		return
	}
	if evicted, full := d.pending.Add(conn, conn.RemoteAddr().String()); full {
		evicted.Close()
	}
	d.wg.Go(func() { d.serve(conn) })
}

// Close ends the listeners and the connections that have not said anything
// yet, and waits for all others, which end with the hub: close that first.
func (d *Door) Close() {
	d.mu.Lock()
	d.closed = true
	for l := range d.listeners {
		l.Close()
	}
	for _, c := range d.pending.All() {
		c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// serve is one connection's life.
func (d *Door) serve(conn net.Conn) {
	defer conn.Close()
	late := awake.AfterFunc(d.hub.Limits().SignIn, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer late.Stop()
	line, ping, err := d.handshake(conn)
	d.mu.Lock()
	d.pending.Remove(conn)
	closed := d.closed
	d.mu.Unlock()
	if err != nil || closed {
		return
	}
	c, refused := d.hub.Begin(line, control.Credentials{Door: control.DoorNative, Remote: conn.RemoteAddr().String()}, session.Options{Abort: func() { conn.Close() }})
	if refused != nil {
		_ = line.Write(wire.AppendBye(nil, refused))
		line.Close()
		line.drain()
		return
	}
	c.Finish(line.read(c, late, ping))
	line.drain()
}

// handshake reads and answers the preamble. It ends when reading from conn does.
func (d *Door) handshake(conn net.Conn) (*line, time.Duration, error) {
	half, _ := conn.(interface{ CloseWrite() error })
	if d.tls != nil {
		secure := tls.Server(conn, d.tls)
		if err := secure.HandshakeContext(context.Background()); err != nil {
			return nil, 0, err
		}
		conn, half = secure, secure
	}
	var preamble [wire.PreambleSize]byte
	if _, err := io.ReadFull(conn, preamble[:]); err != nil {
		return nil, 0, err
	}
	hello, err := wire.ParsePreamble(preamble[:])
	if err != nil {
		if isHTTP(preamble[:]) {
			_, _ = io.WriteString(conn, httpAnswer)
			(&line{conn: conn, closeWriter: half}).Close() // it may still be sending
			_, _ = io.CopyN(io.Discard, conn, 1<<20)
		}
		return nil, 0, err
	}
	ping := hello.Ping
	if ping == 0 {
		ping = wire.DefaultPing
	}
	ping = min(ping, wire.LongestPing)
	answer := wire.Preamble{Version: min(hello.Version, wire.SessionVersion), Ping: ping}
	if _, err := conn.Write(answer.Append(nil)); err != nil {
		return nil, 0, err
	}
	if answer.Version == 0 {
		return nil, 0, wire.Invalid("preamble", "version 0 is not spoken")
	}
	flow.LimitUnsent(conn)
	return &line{conn: conn, closeWriter: half, prompt: trywrite.New(conn), flow: flow.NewWriter(conn, d.hub.Limits().Write)}, ping, nil
}

// httpAnswer answers a request of HTTP, from a client that confused the ports.
const httpAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"this is the port of native sessions (--component-addr); REST is at the coordinator's --http-addr\n"

// isHTTP reports whether a connection that begins so is one of HTTP.
func isHTTP(first []byte) bool {
	for _, method := range []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH "} {
		if bytes.HasPrefix(first, []byte(method)) {
			return true
		}
	}
	return false
}

// line is a connection as sessions see it.
type line struct {
	conn        net.Conn
	closeWriter interface{ CloseWrite() error } // nil: it cannot be half closed
	prompt      *trywrite.Writer                // nil: TLS
	flow        *flow.Writer
}

var _ session.Line = (*line)(nil)

// Left implements session.Line.
func (l *line) Left() bool { return hangup.PeerClosed(l.conn) }

// WriteNow implements session.Line.
func (l *line) WriteNow(frames []byte) int { return l.prompt.Write(frames) }

// Write implements session.Line.
func (l *line) Write(frames []byte) error {
	if frames = frames[l.WriteNow(frames):]; len(frames) == 0 {
		return nil
	}
	_, err := l.flow.Write(frames)
	return err
}

// Close implements session.Line: the other side may still read the bye.
func (l *line) Close() {
	if l.closeWriter != nil {
		_ = l.closeWriter.CloseWrite()
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(closeTimeout))
}

// closeTimeout is how long the other side may take to close after a bye.
const closeTimeout = time.Second

// drain reads on until the other side has closed: what it sent meanwhile must
// not make its end lose the bye.
func (l *line) drain() {
	_ = l.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	_, _ = io.CopyN(io.Discard, l.conn, 64<<20)
}
