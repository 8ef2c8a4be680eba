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

// takeIn accepts connections until the port is closed. It never waits for one:
// TLS and hellos run beside it.
func (p *Port) takeIn() {
	pause := time.Duration(0)
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			// Out of descriptors or the like: it passes, or the operator acts.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.log.Warn("peer port cannot take connections in", "error", err, "again_in", pause)
			select {
			case <-time.After(pause):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		pause = 0
		tcp := nc.(*net.TCPConn)
		e, ok := p.track(tcp)
		if !ok {
			return
		}
		if evicted := p.wait(e); evicted != nil {
			evicted.shut()
		}
		if !p.spawn(func() { p.meet(e) }) {
			e.shut()
			return
		}
	}
}

// wait puts e among those who have not said who they are. When there are too
// many it returns the one that has to go: the oldest of the host that holds
// most of them. So a flood of silent connections costs a real one nothing: it
// needs only a few milliseconds, and the flood makes room for it.
func (p *Port) wait(e *entry) (evicted *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, e)
	if len(p.waiting) <= p.limits.MaxPending {
		return nil
	}
	count := make(map[string]int, 4)
	most := ""
	for _, w := range p.waiting {
		h := w.host()
		if count[h]++; count[h] > count[most] {
			most = h
		}
	}
	for i, w := range p.waiting {
		if w.host() == most {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			w.gone = true // it is not admitted any more
			p.evicted++
			return w
		}
	}
	return nil
}

// unwait removes e from those that wait. The caller holds p.mu.
func (p *Port) unwait(e *entry) {
	for i, w := range p.waiting {
		if w == e {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return
		}
	}
}

func (e *entry) host() string {
	a, ok := e.tcp.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return a.IP.String()
}

// meet finds out who is there and for what, and hands the connection over. A
// call connection is served here, until it ends.
func (p *Port) meet(e *entry) {
	setUserTimeout(e.tcp)
	c, kind, from, err := p.greet(e)
	if err != nil {
		e.shut()
		p.mu.Lock()
		p.refused++
		p.mu.Unlock()
		if p.ctx.Err() == nil && !errors.Is(err, io.EOF) { // EOF: a probe that only tried the port
			p.complaints.say(p.log, "peer connection refused", "remote", e.tcp.RemoteAddr().String(), "error", err)
		}
		return
	}
	p.reached(from, "")
	switch kind {
	case KindRaft:
		p.raft.streams.put(stream{c, from})
	case KindLink:
		p.links.put(stream{c, from})
	case KindCall:
		p.serve(c, from)
	}
}

// greet does TLS and the acceptor's side of the greeting.
func (p *Port) greet(e *entry) (conn, Kind, Hello, error) {
	fail := func(err error) (conn, Kind, Hello, error) { return nil, 0, Hello{}, err }
	if err := e.tcp.SetDeadline(e.since.Add(p.limits.HelloTimeout)); err != nil {
		return fail(err)
	}
	var c conn = &plainConn{TCPConn: e.tcp, entry: e}
	id := ""
	if p.keys != nil {
		ctx, cancel := context.WithDeadline(p.ctx, e.since.Add(p.limits.HelloTimeout))
		defer cancel()
		t := tls.Server(e.tcp, p.keys.server())
		if err := t.HandshakeContext(ctx); err != nil {
			var plain tls.RecordHeaderError
			if errors.As(err, &plain) && plain.Conn != nil && isKind(plain.RecordHeader[0]) {
				no := wire.Refuse(wire.CodeForbidden, "this port speaks TLS only")
				_ = writeGreeting(e.tcp, refused, no)
				hangUp(e.tcp)
				return fail(errors.New("a coordinator without TLS"))
			}
			return fail(fmt.Errorf("tls: %w", err))
		}
		id = memberOf(t.ConnectionState())
		c = &tlsConn{Conn: t, entry: e}
	}
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return fail(fmt.Errorf("no first byte: %w", err))
	}
	kind := Kind(first[0])
	switch {
	case isKind(first[0]):
	case first[0] == 0x16:
		return fail(errors.New("it speaks TLS, this port does not"))
	default:
		return fail(fmt.Errorf("no coordinator: first byte 0x%02x", first[0]))
	}
	var g greeting
	if err := readGreeting(c, &g); err != nil {
		return fail(err)
	}
	own := p.self()
	if no := p.admit(e, kind, g, own, id); no != nil {
		_ = writeGreeting(c, refused, no)
		hangUp(c)
		return fail(no)
	}
	if err := writeGreeting(c, accepted, own); err != nil {
		return fail(fmt.Errorf("answer hello: %w", err))
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return fail(err)
	}
	return c, kind, g.Hello, nil
}

// admit decides whether a dialer comes in, and counts it if so.
func (p *Port) admit(e *entry, kind Kind, g greeting, own Hello, id string) *wire.Error {
	if no := g.check(own, id); no != nil {
		return no
	}
	if p.cfg.Admit != nil {
		if err := p.cfg.Admit(kind, g.Hello); err != nil {
			var no *wire.Error
			if !errors.As(err, &no) {
				no = wire.Refuse(wire.CodeForbidden, "%v", err)
			}
			return no
		}
	}
	if kind == KindRaft && !p.raft.streams.open() || kind == KindLink && !p.links.open() {
		return wire.NotTried("%s takes no %s streams at the moment", own.name(), kind)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.gone {
		return wire.NotTried("%s is closing", own.name())
	}
	if p.taken >= p.limits.MaxConns {
		return wire.Refuse(wire.CodeBusy, "%s has %d connections, the most it takes", own.name(), p.taken)
	}
	peer := g.name()
	if p.perPeer[peer] >= p.limits.MaxPerPeer {
		return wire.Refuse(wire.CodeBusy, "%s has %d connections of %s, the most it takes", own.name(), p.perPeer[peer], peer)
	}
	p.unwait(e)
	e.taken, e.peer = true, peer
	p.taken++
	p.perPeer[peer]++
	return nil
}

// Stats counts what came to the port.
type Stats struct {
	Taken   int    // connections taken in and open now
	Pending int    // connections open now that have not said who they are
	Refused uint64 // connections that never came to anything, since the start
	Evicted uint64 // those of them closed early to make room
}

// Stats returns the counts of this moment.
func (p *Port) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Taken: p.taken, Pending: len(p.waiting), Refused: p.refused, Evicted: p.evicted}
}

// hangUp ends the sending half and reads what still comes, at most one hello
// and until the greeting's deadline: a socket closed with unread bytes would
// take the refusal back.
func hangUp(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c, maxHello)
}

// complaints lets one line a second through, with the number it held back: a
// flood of bad connections must not become a flood of log lines.
type complaints struct {
	mu   sync.Mutex
	next time.Time
	held int
}

func (c *complaints) say(log *slog.Logger, text string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Before(c.next) {
		c.held++
		return
	}
	log.Warn(text, append(args, "not_logged", c.held)...)
	c.next, c.held = now.Add(time.Second), 0
}
