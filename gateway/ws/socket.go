package ws

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/awake"
	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/prompt"
)

// Bounds of what waits to be written.
const (
	piece      = 64 << 10 // of a message: the library's own frames go between two
	maxWaiting = 8 << 20  // more is the answers to pings of one that reads nothing
)

// farewell is how long a connection that ends may take to say its last words.
const farewell = time.Second

// socket is the connection below a WebSocket. A write to it never waits: the
// library ends a connection on which a ping, a pong or a close cannot be written
// within five seconds, and on a slow link they wait for longer behind a message.
// Who writes messages waits with drained.
type socket struct {
	net.Conn
	prompt *prompt.Writer // nil: TLS
	flow   *flow.Writer
	heard  awake.Reader
	silent atomic.Bool // nothing came for too long
	wake   chan struct{}
	closed chan struct{}

	// mu guards what follows; changed is over it.
	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	writing bool  // run is
	asked   bool  // what waits ends with a ping
	ending  bool  // Close was called
	err     error // nothing more is written
}

func newSocket(conn net.Conn, patience time.Duration) *socket {
	const dead = wire.DeadAfter * wire.DefaultPing
	flow.Prompt(conn)
	s := &socket{Conn: conn, prompt: prompt.New(conn), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	s.flow = flow.NewWriter(conn, patience)
	s.heard = awake.Reader{Conn: conn, Limit: dead, More: func(silent time.Duration) time.Duration { return s.flow.More(silent, dead) }}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// taken is an answer whose connection is taken over as a socket.
type taken struct {
	http.ResponseWriter
	patience time.Duration
	socket   *socket
}

// Hijack implements http.Hijacker.
func (t *taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t.socket = newSocket(conn, t.patience)
	return t.socket, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(t.socket)), nil
}

// Read implements net.Conn: it fails when nothing came for too long.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.heard.Read(b)
	if err != nil && os.IsTimeout(err) {
		s.silent.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0, s.err
	case len(s.waiting) > maxWaiting:
		s.end(os.ErrDeadlineExceeded)
		return 0, s.err
	}
	left := b
	if len(s.waiting) == 0 && !s.writing {
		left = b[s.prompt.Write(b):]
	}
	if len(left) == 0 {
		s.wrote()
		return len(b), nil
	}
	s.waiting = append(s.waiting, left...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return len(b), nil
}

// wrote notes that nothing waits; mu is held.
func (s *socket) wrote() {
	if s.asked {
		s.asked = false
		s.flow.Asked()
	}
}

// asking is called before a ping is written.
func (s *socket) asking() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
}

// run writes what waits until the socket is closed.
func (s *socket) run() {
	for {
		select {
		case <-s.wake:
			s.writeAll()
		case <-s.closed:
			return
		}
	}
}

func (s *socket) writeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var spare []byte
	for len(s.waiting) > 0 && s.err == nil {
		b := s.waiting
		s.waiting, s.writing = spare[:0], true
		s.mu.Unlock()
		_, err := s.flow.Write(b)
		s.mu.Lock()
		if s.writing = false; err != nil {
			s.end(err)
		}
		spare = b
	}
	s.wrote()
	s.changed.Broadcast()
}

// end has nothing written any more; mu is held.
func (s *socket) end(err error) {
	if s.err == nil {
		s.err = err
	}
	s.waiting = nil
	s.changed.Broadcast()
}

// fail ends the socket at once.
func (s *socket) fail(err error) {
	s.mu.Lock()
	s.end(err)
	s.mu.Unlock()
	s.Conn.Close()
}

// drained waits until all that was written has left, or returns why it cannot.
func (s *socket) drained() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && (len(s.waiting) > 0 || s.writing) {
		s.changed.Wait()
	}
	return s.err
}

// Close implements net.Conn. What was written last may still leave.
func (s *socket) Close() error {
	s.mu.Lock()
	first := !s.ending
	s.ending = true
	s.mu.Unlock()
	if !first {
		return s.Conn.Close()
	}
	s.flow.Hurry(farewell)
	_ = s.drained() // it says nothing that matters any more
	err := s.Conn.Close()
	s.mu.Lock()
	s.end(net.ErrClosed)
	s.mu.Unlock()
	close(s.closed)
	return err
}
