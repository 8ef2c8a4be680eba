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
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// Bounds of what waits to be written.
const (
	pieceSize  = 64 << 10 // of a message: the library's own frames go between two
	maxWaiting = 8 << 20  // more is the answers to pings of one that reads nothing
)

// closeTimeout is how long a connection that is closed may take to write what is queued.
const closeTimeout = time.Second

// socket is the connection below a WebSocket. A write to it never waits: the
// library ends a connection on which a ping, a pong or a close cannot be written
// within five seconds, and on a slow link they wait for longer behind a message.
// The writer of messages waits with waitWritten.
type socket struct {
	net.Conn
	prompt   *trywrite.Writer // nil: TLS
	flow     *flow.Writer
	liveness awake.Reader
	timedOut atomic.Bool // nothing came for too long
	wake     chan struct{}
	closed   chan struct{}

	// mu guards what follows; changed is over it.
	mu         sync.Mutex
	written    *sync.Cond
	waiting    []byte
	writing    bool  // run is
	pingQueued bool  // what waits ends with a ping
	closing    bool  // Close was called
	err        error // nothing more is written
}

func newSocket(conn net.Conn, patience time.Duration) *socket {
	const dead = wire.DeadAfter * wire.DefaultPing
	flow.LimitUnsent(conn)
	s := &socket{Conn: conn, prompt: trywrite.New(conn), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	s.flow = flow.NewWriter(conn, patience)
	s.liveness = awake.Reader{Conn: conn, Limit: dead, More: func(silent time.Duration) time.Duration { return s.flow.SilenceAllowance(silent, dead) }}
	s.written = sync.NewCond(&s.mu)
	return s
}

// hijacker is a response writer whose connection is hijacked as a socket.
type hijacker struct {
	http.ResponseWriter
	writeTimeout time.Duration
	socket       *socket
}

// Hijack implements http.Hijacker.
func (t *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t.socket = newSocket(conn, t.writeTimeout)
	return t.socket, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(t.socket)), nil
}

// Read implements net.Conn: it fails when nothing came for too long.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.liveness.Read(b)
	if err != nil && os.IsTimeout(err) {
		s.timedOut.Store(true)
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
		s.stop(os.ErrDeadlineExceeded)
		return 0, s.err
	}
	left := b
	if len(s.waiting) == 0 && !s.writing {
		left = b[s.prompt.Write(b):]
	}
	if len(left) == 0 {
		s.allWritten()
		return len(b), nil
	}
	s.waiting = append(s.waiting, left...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return len(b), nil
}

// allWritten notes that nothing waits; mu is held.
func (s *socket) allWritten() {
	if s.pingQueued {
		s.pingQueued = false
		s.flow.PingSent()
	}
}

// queuePing is called before a ping is written.
func (s *socket) queuePing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pingQueued = true
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
			s.stop(err)
		}
		spare = b
	}
	s.allWritten()
	s.written.Broadcast()
}

// stop drops what waits and fails later writes; mu is held.
func (s *socket) stop(err error) {
	if s.err == nil {
		s.err = err
	}
	s.waiting = nil
	s.written.Broadcast()
}

// fail ends the socket at once.
func (s *socket) fail(err error) {
	s.mu.Lock()
	s.stop(err)
	s.mu.Unlock()
	s.Conn.Close()
}

// waitWritten waits until all that was queued is written, or returns why it cannot be.
func (s *socket) waitWritten() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && (len(s.waiting) > 0 || s.writing) {
		s.written.Wait()
	}
	return s.err
}

// Close implements net.Conn. What was written last may still leave.
func (s *socket) Close() error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.mu.Unlock()
	if !first {
		return s.Conn.Close()
	}
	s.flow.FinishWithin(closeTimeout)
	_ = s.waitWritten() // the error does not matter any more
	err := s.Conn.Close()
	s.mu.Lock()
	s.stop(net.ErrClosed)
	s.mu.Unlock()
	close(s.closed)
	return err
}
