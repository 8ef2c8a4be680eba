package peer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// slot is what a port knows of one address: the line to it, or when it may be
// dialed again.
type slot struct {
	port *Port
	addr string

	mu     sync.Mutex
	live   *line
	dial   *dialing // under way, or nil
	server string   // server id of who answered last
	last   error    // of the last dial
	pause  time.Duration
	failed time.Time // when the last dial did
	notYet time.Time // no dial before it
}

// dialing is one attempt that all callers of an address share.
type dialing struct {
	done chan struct{} // closed once line or err is set
	line *line
	err  error
}

// slots are forgotten beyond this number, idle ones first.
const maxSlots = 256

func (p *Port) slot(addr string) *slot {
	p.slotsMu.Lock()
	defer p.slotsMu.Unlock()
	s := p.slots[addr]
	if s == nil {
		if len(p.slots) >= maxSlots {
			for a, old := range p.slots {
				if old.idle() {
					delete(p.slots, a)
				}
			}
		}
		s = &slot{port: p, addr: addr}
		p.slots[addr] = s
	}
	return s
}

// idle says whether nothing but the memory of a failed dial would be lost.
func (s *slot) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live == nil && s.dial == nil
}

// line is the living line to the address; it dials when there is none. The
// error is unavailable: nothing was sent.
func (s *slot) line(ctx context.Context) (*line, error) {
	own := s.port.self()
	s.mu.Lock()
	if l := s.live; l != nil {
		if l.fresh(own) {
			s.mu.Unlock()
			return l, nil
		}
		s.live = nil
		l.retire()
	}
	d := s.dial
	if d == nil {
		if wait := time.Until(s.notYet); wait > 0 {
			defer s.mu.Unlock()
			return nil, &wire.Error{Code: wire.CodeUnavailable, Message: fmt.Sprintf("not tried again yet: %v", s.last), RetryAfter: wait}
		}
		d = &dialing{done: make(chan struct{})}
		if !s.port.spawn(func() { s.connect(d) }) {
			s.mu.Unlock()
			return nil, errClosed()
		}
		s.dial = d
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		if d.err != nil {
			return nil, wire.NotTried("%v", d.err)
		}
		return d.line, nil
	case <-ctx.Done():
		return nil, wire.NotTried("dial call at %s: %v", s.addr, ctx.Err())
	}
}

// connect makes one attempt, and serves the line until it ends.
func (s *slot) connect(d *dialing) {
	p := s.port
	own := p.self()
	c, hello, err := p.dial(p.ctx, KindCall, s.addr, "")
	s.mu.Lock()
	s.dial = nil
	if err != nil {
		d.err = err
		s.fail(err)
		s.mu.Unlock()
		close(d.done)
		return
	}
	l := newLine(p, s.addr, own, hello)
	d.line, s.live, s.server = l, l, hello.ServerID
	s.mu.Unlock()
	close(d.done)

	err = l.run(c)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == l {
		s.live = nil
	}
	switch {
	case l.retired():
	case time.Since(l.born) < p.limits.MaxBackoff:
		s.fail(fmt.Errorf("call connection to %s: %w", s.addr, err)) // it comes and goes: no storm
	default:
		s.pause = 0
	}
}

// fail sets the pause before the next dial: doubled each time, with jitter.
// The caller holds s.mu.
func (s *slot) fail(err error) {
	most := s.port.limits.MaxBackoff
	s.pause = min(max(2*s.pause, most/20), most)
	s.last, s.failed = err, time.Now()
	s.notYet = s.failed.Add(s.pause/2 + rand.N(s.pause/2+1))
}

// leastPause is what remains of the pause once the other side is heard. Two
// whose connections end as soon as they begin hear each other all the time.
const leastPause = 20 * time.Millisecond

// reached ends the pauses before the next call of a coordinator that is there:
// it has opened a connection, or answered at addr.
func (p *Port) reached(h Hello, addr string) {
	p.slotsMu.Lock()
	defer p.slotsMu.Unlock()
	for _, s := range p.slots {
		s.mu.Lock()
		if soon := s.failed.Add(leastPause); (s.addr == addr || s.server != "" && s.server == h.ServerID) && s.notYet.After(soon) {
			s.notYet = soon
		}
		s.mu.Unlock()
	}
}
