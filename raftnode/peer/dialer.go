package peer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// dialer is what a port knows of one address: the connection to it, or when it may be
// dialed again.
type dialer struct {
	port *Port
	addr string

	mu        sync.Mutex
	conn      *callConn
	dialing   *dialAttempt // under way, or nil
	serverID  string       // server id of who answered last
	lastError error        // of the last dial
	backoff   time.Duration
	failedAt  time.Time // when the last dial did
	notBefore time.Time // no dial before it
}

// dialAttempt is one attempt that all callers of an address share.
type dialAttempt struct {
	done chan struct{} // closed once conn or err is set
	conn *callConn
	err  error
}

// dialers are dropped beyond this number, idle ones first.
const maxDialers = 256

func (p *Port) dialerFor(addr string) *dialer {
	p.dialersMu.Lock()
	defer p.dialersMu.Unlock()
	s := p.dialers[addr]
	if s == nil {
		if len(p.dialers) >= maxDialers {
			for a, old := range p.dialers {
				if old.idle() {
					delete(p.dialers, a)
				}
			}
		}
		s = &dialer{port: p, addr: addr}
		p.dialers[addr] = s
	}
	return s
}

// idle reports whether nothing but the memory of a failed dial would be lost.
func (s *dialer) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil && s.dialing == nil
}

// callConn is the open connection to the address; it dials when there is none. The
// error is unavailable: nothing was sent.
func (s *dialer) callConn(ctx context.Context) (*callConn, error) {
	own := s.port.ownHello()
	s.mu.Lock()
	if l := s.conn; l != nil {
		if l.usable(own) {
			s.mu.Unlock()
			return l, nil
		}
		s.conn = nil
		l.retire()
	}
	d := s.dialing
	if d == nil {
		if wait := time.Until(s.notBefore); wait > 0 {
			defer s.mu.Unlock()
			return nil, &wire.Error{Code: wire.CodeUnavailable, Message: fmt.Sprintf("not tried again yet: %v", s.lastError), RetryAfter: wait}
		}
		d = &dialAttempt{done: make(chan struct{})}
		if !s.port.spawn(func() { s.connect(d) }) {
			s.mu.Unlock()
			return nil, errClosed()
		}
		s.dialing = d
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		if d.err != nil {
			return nil, wire.NotTried("%v", d.err)
		}
		return d.conn, nil
	case <-ctx.Done():
		return nil, wire.NotTried("dial call at %s: %v", s.addr, ctx.Err())
	}
}

// connect makes one attempt, and serves the connection until it ends.
func (s *dialer) connect(d *dialAttempt) {
	p := s.port
	own := p.ownHello()
	c, hello, err := p.dial(p.ctx, KindCall, s.addr, "")
	s.mu.Lock()
	s.dialing = nil
	if err != nil {
		d.err = err
		s.recordFailure(err)
		s.mu.Unlock()
		close(d.done)
		return
	}
	l := newCallConn(p, s.addr, own, hello)
	d.conn, s.conn, s.serverID = l, l, hello.ServerID
	s.mu.Unlock()
	close(d.done)

	err = l.run(c)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == l {
		s.conn = nil
	}
	switch {
	case l.retired():
	case time.Since(l.opened) < p.limits.MaxBackoff:
		s.recordFailure(fmt.Errorf("call connection to %s: %w", s.addr, err)) // it comes and goes: no storm
	default:
		s.backoff = 0
	}
}

// recordFailure sets the pause before the next dial: doubled each time, with jitter.
// The caller holds s.mu.
func (s *dialer) recordFailure(err error) {
	most := s.port.limits.MaxBackoff
	s.backoff = min(max(2*s.backoff, most/20), most)
	s.lastError, s.failedAt = err, time.Now()
	s.notBefore = s.failedAt.Add(s.backoff/2 + rand.N(s.backoff/2+1))
}

// minBackoff is what remains of the pause after a sign of life of the other side. Two
// whose connections end as soon as they begin have signs of life all the time.
const minBackoff = 20 * time.Millisecond

// resetBackoff ends the pauses before the next call of a coordinator that is there:
// it has opened a connection, or answered at addr.
func (p *Port) resetBackoff(h Hello, addr string) {
	p.dialersMu.Lock()
	defer p.dialersMu.Unlock()
	for _, s := range p.dialers {
		s.mu.Lock()
		if soon := s.failedAt.Add(minBackoff); (s.addr == addr || s.serverID != "" && s.serverID == h.ServerID) && s.notBefore.After(soon) {
			s.notBefore = soon
		}
		s.mu.Unlock()
	}
}
