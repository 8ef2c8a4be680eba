package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// maxAcceptQueue is how many streams of a kind wait to be accepted; a
// further one is refused.
const maxAcceptQueue = 64

// stream is an accepted connection whose handshake is done.
type stream struct {
	conn
	from Hello
}

// streamQueue is the queue of one kind of streams between the handshake and Accept.
type streamQueue struct {
	port  *Port
	queue chan stream
	done  chan struct{}
	once  sync.Once
}

func newStreamQueue(p *Port) *streamQueue {
	return &streamQueue{port: p, queue: make(chan stream, maxAcceptQueue), done: make(chan struct{})}
}

// hasRoom reports whether another stream would find room.
func (s *streamQueue) hasRoom() bool {
	select {
	case <-s.done:
		return false
	default:
		return len(s.queue) < cap(s.queue)
	}
}

// enqueue queues a stream, or closes it when there is no room.
func (s *streamQueue) enqueue(c stream) {
	select {
	case s.queue <- c:
		select {
		case <-s.done: // closed meanwhile: it will not be accepted
			s.drain()
		default:
		}
	default:
		c.Close()
	}
}

func (s *streamQueue) accept() (stream, error) {
	select {
	case <-s.done:
		return stream{}, net.ErrClosed
	default:
	}
	select {
	case c := <-s.queue:
		return c, nil
	case <-s.done:
		return stream{}, net.ErrClosed
	}
}

func (s *streamQueue) close() {
	s.once.Do(func() { close(s.done) })
	s.drain()
}

func (s *streamQueue) drain() {
	for {
		select {
		case c := <-s.queue:
			c.Close()
		default:
			return
		}
	}
}

// AcceptLink waits for a link dialed by another coordinator. After Close the
// error is net.ErrClosed. The caller owns the connection; no byte of it was
// read beyond the greeting.
func (p *Port) AcceptLink() (net.Conn, Hello, error) {
	s, err := p.links.accept()
	if err != nil {
		return nil, Hello{}, err
	}
	return s.conn, s.from, nil
}

// DialLink opens a link to the coordinator at addr and says who answered. A
// want that is neither its server id nor its id is refused; "" takes anybody of
// the own cluster. The error is a *wire.Error when one side refused.
func (p *Port) DialLink(ctx context.Context, addr string, want string) (net.Conn, Hello, error) {
	c, hello, err := p.dial(ctx, KindLink, addr, want)
	if err != nil {
		return nil, Hello{}, err
	}
	return c, hello, nil
}

// RaftLayer carries raft's own streams over the port. It is a net.Listener and
// dials; raft's address type is adapted by the package that imports raft.
type RaftLayer struct {
	streams *streamQueue
	addr    address

	mu          sync.Mutex
	closed      bool
	openStreams map[net.Conn]dialInfo // handed to raft, either direction, still open
	onClosed    func(serverID string) // nil: not called
	onOpened    func(serverID string) // the same
}

// dialInfo is to whom a stream was opened from here, and when; zero for one that
// was accepted.
type dialInfo struct {
	serverID string // server id
	at       time.Time
}

var _ net.Listener = (*RaftLayer)(nil)

// RaftLayer is the port's one raft layer.
func (p *Port) RaftLayer() *RaftLayer { return p.raft }

// Accept waits for a stream of another coordinator, authenticated and greeted.
// After Close the error is net.ErrClosed.
func (l *RaftLayer) Accept() (net.Conn, error) {
	s, err := l.streams.accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	f := l.onOpened
	l.mu.Unlock()
	if f != nil {
		f(s.from.ServerID)
	}
	return l.register(s.conn, s.from.ServerID, dialInfo{})
}

// OnStreamOpened has f called, from now on, with the server id of the dialer whenever a
// stream is accepted. f must not block; nil ends it.
func (l *RaftLayer) OnStreamOpened(f func(serverID string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onOpened = f
}

// CloseStreams closes the streams that were opened from here to a server before a
// moment: what waits on them fails, instead of waiting for its timeout.
func (l *RaftLayer) CloseStreams(serverID string, before time.Time) {
	var old []net.Conn
	l.mu.Lock()
	for c, d := range l.openStreams {
		if d.serverID == serverID && d.at.Before(before) {
			old = append(old, c)
		}
	}
	l.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// OnStreamClosed has f called, from now on, with the server id of the dialer whenever a
// stream that was accepted is closed: by the other side, by its end, or by
// Close. f must not block; nil ends it.
func (l *RaftLayer) OnStreamClosed(f func(serverID string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onClosed = f
}

// ConnectionRefused reports whether the host of addr refuses connections there before ctx
// ends. False proves nothing: the port may be open, or the host not reached.
func (l *RaftLayer) ConnectionRefused(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: l.streams.port.limits.DialTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Addr is the advertised address, not the bound one.
func (l *RaftLayer) Addr() net.Addr { return l.addr }

// Dial opens a stream to the server that answers at addr within timeout.
func (l *RaftLayer) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	return l.DialServer(addr, "", timeout)
}

// DialServer opens a stream to the server with that id (or server id), within
// timeout. A server that lost its disk has a new server id, so it does not
// answer in the place of the old one.
func (l *RaftLayer) DialServer(addr, want string, timeout time.Duration) (net.Conn, error) {
	ctx := context.Background()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	c, hello, err := l.streams.port.dial(ctx, KindRaft, addr, want)
	if err != nil {
		return nil, err
	}
	return l.register(c, "", dialInfo{hello.ServerID, time.Now()})
}

// Close ends every raft stream of both directions, and refuses new ones. The
// port itself stays open.
func (l *RaftLayer) Close() error {
	l.streams.close()
	l.mu.Lock()
	l.closed = true
	open := l.openStreams
	l.openStreams = nil
	l.mu.Unlock()
	for c := range open {
		c.Close()
	}
	return nil
}

// register notes a stream handed to raft, so that Close can end it: raft leaves
// its handlers of inbound streams running. from is the dialer of an accepted
// stream, "" for one dialed from here.
func (l *RaftLayer) register(c conn, from string, out dialInfo) (net.Conn, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		c.Close()
		return nil, net.ErrClosed
	}
	l.openStreams[c] = out
	l.mu.Unlock()
	c.socket().afterClose(func() {
		l.mu.Lock()
		delete(l.openStreams, c)
		f := l.onClosed
		l.mu.Unlock()
		if f != nil && from != "" {
			f(from)
		}
	})
	return c, nil
}

// address is an advertised address as a net.Addr.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }
