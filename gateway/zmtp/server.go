package zmtp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire/pending"
)

// Server accepts peers at one address. A peer that is silent, hostile or slow
// costs the others nothing.
type Server struct {
	cfg    Config
	l      net.Listener
	handle func(*Conn)

	refused, broken, dead, cutOff atomic.Uint64 // see Ends

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]struct{}
	pending *pending.Set[net.Conn] // of them in the handshake
	wg      sync.WaitGroup
}

// Serve accepts peers until Close. handle has a goroutine for each peer, from
// its handshake on; the connection is closed when it returns. Serve does not
// block and owns l.
func Serve(l net.Listener, cfg Config, handle func(*Conn)) *Server {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, l: l, handle: handle, conns: map[net.Conn]struct{}{}, pending: pending.New[net.Conn](cfg.MaxPending)}
	s.wg.Go(s.accept)
	return s
}

// Addr returns the address it listens at.
func (s *Server) Addr() string { return s.l.Addr().String() }

// Ends counts connections by how they ended, other than by either side's will.
type Ends struct {
	Refused uint64 // before they were a peer: no ZMTP, too slow, or too many
	Broken  uint64 // over what the peer sent, or in the midst of a message
	Dead    uint64 // the peer did not answer PINGs any more
	CutOff  uint64 // the peer did not read
}

// Ends returns the counts since the start.
func (s *Server) Ends() Ends {
	return Ends{s.refused.Load(), s.broken.Load(), s.dead.Load(), s.cutOff.Load()}
}

// countEnd counts how a connection ended.
func (s *Server) countEnd(why error) {
	var fault ProtocolError
	switch {
	case errors.Is(why, ErrDead):
		s.dead.Add(1)
	case errors.Is(why, os.ErrDeadlineExceeded):
		s.cutOff.Add(1)
	case errors.As(why, &fault) || errors.Is(why, io.ErrUnexpectedEOF):
		s.broken.Add(1)
	}
}

// Len returns the number of connections, those in the handshake included.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) accept() {
	pause := 5 * time.Millisecond
	for {
		conn, err := s.l.Accept()
		if err != nil {
			if s.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			// No descriptors, most likely: they come back.
			s.cfg.Logger.Warn("a connection could not be accepted", "at", s.Addr(), "error", err)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		if !s.admit(conn) {
			s.refused.Add(1)
			conn.Close()
		}
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// admit starts the goroutine of a connection, unless there are too many.
func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= s.cfg.MaxConns {
		return false
	}
	s.conns[conn] = struct{}{}
	if evicted, full := s.pending.Add(conn, conn.RemoteAddr().String()); full {
		evicted.Close()
	}
	s.wg.Go(func() { s.serve(conn) })
	return true
}

func (s *Server) serve(conn net.Conn) {
	defer s.remove(conn)
	c, err := handshake(conn, s.cfg)
	s.handshakeDone(conn)
	if err != nil {
		s.refused.Add(1)
		s.cfg.Logger.Debug("no peer", "from", conn.RemoteAddr(), "error", err)
		return
	}
	defer func() {
		c.Close()
		s.countEnd(c.Err())
	}()
	s.handle(c)
}

// handshakeDone removes a connection from the pending ones.
func (s *Server) handshakeDone(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.Remove(conn)
}

func (s *Server) remove(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// StopAccepting closes the listener; the peers stay.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.l.Close()
}

// Close ends the listener and all connections and waits for every handle.
func (s *Server) Close() {
	s.StopAccepting()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
