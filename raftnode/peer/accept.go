package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// acceptLoop accepts connections until the port is closed. It never waits for one:
// TLS and hellos run beside it.
func (p *Port) acceptLoop() {
	pause := time.Duration(0)
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			// Out of descriptors or the like: it passes, or the operator acts.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.log.Warn("peer port cannot accept connections", "error", err, "again_in", pause)
			select {
			case <-time.After(pause):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		pause = 0
		tcp := nc.(*net.TCPConn)
		e, ok := p.trackSocket(tcp)
		if !ok {
			return
		}
		if evicted := p.addPending(e); evicted != nil {
			evicted.close()
		}
		if !p.spawn(func() { p.handleConn(e) }) {
			e.close()
			return
		}
	}
}

// addPending puts e among the connections whose handshake is under way. When there are too
// many it returns the one that has to go.
func (p *Port) addPending(e *socketEntry) (evicted *socketEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	evicted, full := p.pending.Add(e, e.tcp.RemoteAddr().String())
	if full {
		evicted.closed = true // it is not admitted any more
		p.evicted++
	}
	return evicted
}

// handleConn does the handshake and hands the connection over by its kind. A
// call connection is served here, until it ends.
func (p *Port) handleConn(e *socketEntry) {
	setUserTimeout(e.tcp)
	c, kind, from, err := p.handshake(e)
	if err != nil {
		e.close()
		p.recordRefused(e, err)
		return
	}
	p.resetBackoff(from, "")
	switch kind {
	case KindRaft:
		p.raft.streams.enqueue(stream{c, from})
	case KindLink:
		p.links.enqueue(stream{c, from})
	case KindCall:
		p.serve(c, from)
	}
}

// recordRefused counts a connection that came to nothing, and says so.
func (p *Port) recordRefused(e *socketEntry, err error) {
	if errors.Is(err, io.EOF) { // a probe that only tried the port
		return
	}
	r := p.countRefused(e, reasonOf(err), err)
	if p.ctx.Err() == nil {
		p.refusalLog.warn(p.log, "peer connection refused", "remote", r.Remote, "certificate", r.Certificate, "reason", r.Reason, "error", err)
	}
}

// countRefused counts a refusal and tells Config.OnRefused.
func (p *Port) countRefused(e *socketEntry, why Reason, err error) Refused {
	r := Refused{Remote: e.tcp.RemoteAddr().String(), Certificate: e.certificate, Reason: why, Err: err}
	p.refusals.count(why)
	if p.cfg.OnRefused != nil && p.ctx.Err() == nil {
		p.cfg.OnRefused(r)
	}
	return r
}

// handshake does TLS and the acceptor's side of the greeting.
func (p *Port) handshake(e *socketEntry) (conn, Kind, Hello, error) {
	fail := func(err error) (conn, Kind, Hello, error) { return nil, 0, Hello{}, err }
	if err := e.tcp.SetDeadline(e.opened.Add(p.limits.HelloTimeout)); err != nil {
		return fail(err)
	}
	var c conn = &plainConn{TCPConn: e.tcp, entry: e}
	id := ""
	if p.cfg.TLS != nil {
		ctx, cancel := context.WithDeadline(p.ctx, e.opened.Add(p.limits.HelloTimeout))
		defer cancel()
		config := serverTLS(p.cfg.TLS())
		verify := config.VerifyConnection
		config.VerifyConnection = func(s tls.ConnectionState) error {
			e.certificate = nameIn(s)
			return verify(s)
		}
		t := tls.Server(e.tcp, config)
		if err := t.HandshakeContext(ctx); err != nil {
			var plain tls.RecordHeaderError
			if errors.As(err, &plain) && plain.Conn != nil && isKind(plain.RecordHeader[0]) {
				no := wire.Refuse(wire.CodeForbidden, "this port speaks TLS only")
				_ = writeGreeting(e.tcp, refused, no)
				closeAfterDrain(e.tcp)
				return fail(refuse(ReasonPlain, "a coordinator without TLS"))
			}
			return fail(fmt.Errorf("tls: %w", err))
		}
		id = memberOf(t.ConnectionState())
		c = &tlsConn{Conn: t, entry: e}
	}
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return fail(protocolError(fmt.Errorf("no first byte: %w", err)))
	}
	kind := Kind(first[0])
	switch {
	case isKind(first[0]):
	case first[0] == 0x16:
		return fail(refuse(ReasonProtocol, "it speaks TLS, this port does not"))
	default:
		return fail(refuse(ReasonProtocol, "no coordinator: first byte 0x%02x", first[0]))
	}
	var g greeting
	if err := readGreeting(c, &g); err != nil {
		return fail(protocolError(err))
	}
	own := p.ownHello()
	if why, no := p.admitConn(e, kind, g, own, id); no != nil {
		_ = writeGreeting(c, refused, no)
		closeAfterDrain(c)
		return fail(withReason(why, no))
	}
	if err := writeGreeting(c, accepted, own); err != nil {
		return fail(protocolError(fmt.Errorf("answer hello: %w", err)))
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return fail(protocolError(err))
	}
	return c, kind, g.Hello, nil
}

// protocolError has an error after the handshake counted as one of the protocol, unless it is only late.
func protocolError(err error) error {
	if reasonOf(err) == ReasonTimeout {
		return err
	}
	return &RefusedError{ReasonProtocol, err}
}

// admitConn decides whether to accept a connection, and counts it if so.
func (p *Port) admitConn(e *socketEntry, kind Kind, g greeting, own Hello, id string) (Reason, *wire.Error) {
	if why, no := g.validate(own, id); no != nil {
		return why, no
	}
	if no := p.admit(kind, "", g.Hello); no != nil {
		return ReasonNotMember, no
	}
	if kind == KindRaft && !p.raft.streams.hasRoom() || kind == KindLink && !p.links.hasRoom() {
		return ReasonBusy, wire.NotTried("%s takes no %s streams at the moment", own.name(), kind)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.closed {
		return ReasonBusy, wire.NotTried("%s is closing", own.name())
	}
	if p.accepted >= p.limits.MaxConns {
		return ReasonBusy, wire.Refuse(wire.CodeBusy, "%s has %d connections, the most it takes", own.name(), p.accepted)
	}
	peer := g.name()
	if p.perPeer[peer] >= p.limits.MaxPerPeer {
		return ReasonBusy, wire.Refuse(wire.CodeBusy, "%s has %d connections of %s, the most it takes", own.name(), p.perPeer[peer], peer)
	}
	p.pending.Remove(e)
	e.accepted, e.peer, e.kind, e.from = true, peer, kind, g.Hello
	p.accepted++
	p.perPeer[peer]++
	return "", nil
}

// admit asks Config.Admit; its error is that of a refusal.
func (p *Port) admit(kind Kind, method string, from Hello) *wire.Error {
	if p.cfg.Admit == nil {
		return nil
	}
	err := p.cfg.Admit(kind, method, from)
	if err == nil {
		return nil
	}
	var no *wire.Error
	if !errors.As(err, &no) {
		no = wire.Refuse(wire.CodeForbidden, "%v", err)
	}
	return no
}

// CloseRefused closes the raft streams and links, accepted or dialed, of those that
// Config.Admit refuses by now.
func (p *Port) CloseRefused() {
	p.mu.Lock()
	streams := make([]*socketEntry, 0, len(p.conns))
	for e := range p.conns {
		if e.kind == KindRaft || e.kind == KindLink {
			streams = append(streams, e)
		}
	}
	p.mu.Unlock()
	for _, e := range streams {
		if no := p.admit(e.kind, "", e.from); no != nil {
			p.log.Warn("a connection of one that is not admitted any more is closed", "kind", e.kind, "from", e.from.name(), "reason", no)
			e.close()
		}
	}
}

// Stats counts what came to the port.
type Stats struct {
	Accepted int    // connections accepted and open now
	Pending  int    // connections open now whose handshake is under way
	Refused  uint64 // connections refused since the start; one that only tried the port does not count
	Evicted  uint64 // those of them closed early to make room
}

// Stats returns the counts of this moment.
func (p *Port) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	refused := uint64(0)
	for _, n := range p.Refused() {
		refused += n
	}
	return Stats{Accepted: p.accepted, Pending: p.pending.Len(), Refused: refused, Evicted: p.evicted}
}

// closeAfterDrain ends the sending half and reads what still comes, at most one hello
// and until the greeting's deadline: a socket closed with unread bytes would
// take the refusal back.
func closeAfterDrain(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c, maxHello)
}

// rateLimitedLog lets one line a second through, with the number it held back: a
// flood of bad connections must not become a flood of log lines.
type rateLimitedLog struct {
	mu         sync.Mutex
	next       time.Time
	suppressed int
}

func (c *rateLimitedLog) warn(log *slog.Logger, text string, args ...any) {
	c.mu.Lock()
	now := time.Now()
	if now.Before(c.next) {
		c.suppressed++
		c.mu.Unlock()
		return
	}
	suppressed := c.suppressed
	c.next, c.suppressed = now.Add(time.Second), 0
	c.mu.Unlock() // a log that takes nothing holds up this caller alone
	log.Warn(text, append(args, "not_logged", suppressed)...)
}
