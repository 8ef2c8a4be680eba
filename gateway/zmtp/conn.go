package zmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/wire/flow"
	"github.com/folkmoot/folkmoot/wire/trywrite"
)

// Conn is one peer. One goroutine receives; the other methods are safe for
// concurrent use.
type Conn struct {
	cfg      Config
	conn     net.Conn
	in       reader
	minor    byte
	socket   string
	identity string

	lastReceived atomic.Int64 // when bytes came last (flow.Now); 0 during the handshake

	out  queue
	done chan struct{} // closed when the connection has ended
	once sync.Once
	err  error // set before done is closed

	writeLock sync.Mutex       // held while writing
	prompt    *trywrite.Writer // nil: the connection has none
	flow      *flow.Writer
	batch     []byte // being written, of which rest is left; guarded by writeLock
	rest      []byte

	writing  sync.WaitGroup
	readLock sync.Mutex // held while reading
}

// Dial connects to a listening socket and shakes hands. ctx bounds both.
func Dial(ctx context.Context, addr string, cfg Config) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, err := handshake(conn, cfg.withDefaults())
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("shake hands with %s: %w", addr, err)
	}
	return c, nil
}

// handshake exchanges greeting and READY. The caller closes conn on an error.
func handshake(conn net.Conn, cfg Config) (*Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(cfg.Handshake)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(greeting()); err != nil {
		return nil, err
	}
	c := &Conn{cfg: cfg, conn: conn, done: make(chan struct{}), flow: flow.NewWriter(conn, cfg.Patience)}
	c.out.init(cfg.MaxQueue)
	c.in.r = bufio.NewReaderSize(monitoredConn{c}, 16<<10)
	c.in.unfinished, c.in.giveUp = cfg.Unfinished, func() { c.close(protocolErrorf("too much of messages has begun, and its own first")) }
	minor, err := readGreeting(c.in.r)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(ready(cfg.Socket)); err != nil {
		return nil, err
	}
	socket, identity, err := readReady(&c.in, cfg.Peers)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	c.prompt = trywrite.New(conn)
	c.in.messageDone()
	c.minor, c.socket, c.identity = minor, socket, identity
	c.received() // from here on reads have the deadlines of liveness
	c.pingIfDue(true)
	c.writing.Go(c.write)
	return c, nil
}

func (c *Conn) received() { c.lastReceived.Store(int64(flow.Now())) }

// idle is for how long nothing was received.
func (c *Conn) idle() time.Duration { return flow.Now() - time.Duration(c.lastReceived.Load()) }

// monitoredConn records when bytes came, and ends a connection that is silent for too
// long.
type monitoredConn struct{ c *Conn }

func (m monitoredConn) Read(b []byte) (int, error) {
	c := m.c
	if c.lastReceived.Load() == 0 { // the handshake has its own deadline
		return c.conn.Read(b)
	}
	wait, doubted := c.cfg.Silence, false
	for {
		if c.in.overdue(c.cfg.Patience) {
			return 0, protocolErrorf("%d KiB of a message took longer than %v", readStep>>10, c.cfg.Patience)
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return 0, err
		}
		n, err := c.conn.Read(b)
		if n > 0 {
			c.received()
			return n, nil
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		wait = c.cfg.Silence / 3
		why := c.checkPeer(c.cfg.Silence)
		// The first time-out may be our own: a process that stood still finds
		// its deadlines over and its bytes unread.
		if why != nil && doubted {
			return 0, why
		}
		doubted = why != nil
	}
}

// checkPeer returns why the connection is to be closed: nothing came from it for
// silence, and either a PING that it could have answered was not, or the network
// does not answer; or it has taken nothing for Patience of what waits for it.
// Neither a slow link nor a slow reader is dead.
func (c *Conn) checkPeer(silence time.Duration) error {
	stalled, unheard := c.flow.Stalled()
	quiet := c.idle()
	switch {
	case quiet < silence:
	case unheard && stalled >= silence, c.out.overdue() >= silence:
		return ErrDead
	}
	if stalled >= c.cfg.Patience {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Receive waits for the next message; the caller owns its frames. On an XPUB
// a subscription or its end comes as one frame of byte 1 or 0 and the prefix.
// A message above the limits is a *TooLarge, and the connection goes on; after
// any other error it has ended.
func (c *Conn) Receive() ([][]byte, error) {
	c.readLock.Lock()
	defer c.readLock.Unlock()
	frames, err := c.in.message(c.cfg.MaxMessage, c.cfg.MaxFrames, c.handleCommand)
	if large := (*TooLarge)(nil); errors.As(err, &large) {
		return nil, err
	}
	if err != nil {
		c.close(err)
		return nil, c.err
	}
	return frames, nil
}

// Buffered reports whether a part of a further message is here already.
func (c *Conn) Buffered() bool { return c.in.r.Buffered() > 0 }

// handleCommand executes a command, or makes a message of it.
func (c *Conn) handleCommand(b []byte) ([][]byte, error) {
	name, body, err := splitCommand(b)
	if err != nil {
		return nil, err
	}
	switch name {
	case "PING":
		if len(body) < 2 || len(body) > 18 {
			return nil, protocolErrorf("a PING with %d bytes", len(body))
		}
		c.out.addPong(body[2:])
	case "PONG":
		c.out.pongReceived()
	case "SUBSCRIBE":
		return [][]byte{append([]byte{1}, body...)}, nil
	case "CANCEL":
		return [][]byte{append([]byte{0}, body...)}, nil
	case "ERROR":
		return nil, protocolErrorf("the peer gave up: %.255q", body)
	case "READY":
		return nil, protocolErrorf("READY twice")
	}
	return nil, nil // unknown commands are skipped, as RFC 37 asks
}

// Send queues one message and never waits. The error is ErrFull or ErrClosed;
// then nothing was queued. The frames are copied.
func (c *Conn) Send(frames ...[]byte) error {
	if err := c.Add(frames...); err != nil {
		return err
	}
	wake(c.out.ready)
	return nil
}

// Add is Send for one of several messages: Flush after the last one has them
// leave.
func (c *Conn) Add(frames ...[]byte) error { return c.out.addMessage(frames) }

// Flush writes what is queued as far as the socket takes it at once, if nobody
// else writes; the rest leaves by the connection's own goroutine. It never waits.
func (c *Conn) Flush() {
	if c.prompt == nil || !c.writeLock.TryLock() {
		wake(c.out.ready)
		return
	}
	defer c.writeLock.Unlock()
	if c.nextBatch() && c.wrote(c.prompt.Write(c.rest)) > 0 {
		wake(c.out.ready)
	}
}

// nextBatch makes rest what is to be written; false: there is nothing. writeLock is
// held.
func (c *Conn) nextBatch() bool {
	if len(c.rest) == 0 {
		c.batch = c.out.takeBatch()
		c.rest = c.batch
	}
	return len(c.rest) > 0
}

// wrote counts n bytes of rest as written and returns how many are left.
func (c *Conn) wrote(n int) (left int) {
	c.out.wrote(n)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.out.recycle(c.batch)
		c.batch, c.rest = nil, nil
	}
	return len(c.rest)
}

// SendWait is Send that waits for room until ctx or the connection ends.
func (c *Conn) SendWait(ctx context.Context, frames ...[]byte) error {
	defer wake(c.out.ready)
	return c.AddWait(ctx, frames...)
}

// AddWait is Add that waits for room until ctx or the connection ends.
func (c *Conn) AddWait(ctx context.Context, frames ...[]byte) error {
	for {
		room := c.out.room()
		err := c.Add(frames...)
		if !errors.Is(err, ErrFull) {
			return err
		}
		wake(c.out.ready)
		select {
		case <-room:
		case <-c.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SendEncoded queues what AppendMessage made; as Send otherwise.
func (c *Conn) SendEncoded(message []byte) error {
	if err := c.out.addEncoded(message); err != nil {
		return err
	}
	wake(c.out.ready)
	return nil
}

// write writes the queue in batches and pings, until the connection ends. What
// is queued when Shutdown is called is written.
func (c *Conn) write() {
	tick := time.NewTicker(c.cfg.Ping)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			c.pingIfDue(c.idle() >= c.cfg.Ping/2)
		case <-c.out.ready:
		}
		if err := c.writeAll(); err != nil {
			c.close(err)
			return
		}
		if c.out.finished() {
			// Only the half of it: an unread byte would make the kernel throw
			// away what is on its way to the peer.
			if half, ok := c.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				c.close(ErrClosed)
			}
			return
		}
	}
}

// writeStep is how much is written before it is counted.
const writeStep = 256 << 10

// writeAll writes until nothing is queued, as long as the peer takes something
// within Patience.
func (c *Conn) writeAll() error {
	c.writeLock.Lock()
	defer c.writeLock.Unlock()
	for c.nextBatch() {
		n, err := c.flow.Write(c.rest[:min(len(c.rest), writeStep)])
		c.wrote(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// pingIfDue sends a PING if its answer would prove something. A ZMTP 3.0 peer would not
// know what a PING is.
func (c *Conn) pingIfDue(quiet bool) {
	if c.minor >= 1 {
		c.out.addPing(quiet)
	}
}

// Close ends the connection at once; what is queued is lost.
func (c *Conn) Close() {
	c.close(ErrClosed)
	c.writing.Wait()
}

// Shutdown writes what is queued, waits until the peer has read it and closes the
// connection, after wait at the latest. What arrives meanwhile goes to Receive, or
// is lost if nobody receives.
func (c *Conn) Shutdown(wait time.Duration) {
	c.out.finish()
	limit := time.AfterFunc(wait, func() { c.close(ErrClosed) })
	defer limit.Stop()
	if c.readLock.TryLock() {
		_, _ = io.Copy(io.Discard, monitoredConn{c})
		c.readLock.Unlock()
	} else {
		<-c.done
	}
	c.Close()
}

func (c *Conn) close(why error) {
	c.once.Do(func() {
		c.err = why
		c.out.close()
		c.conn.Close()
		close(c.done)
	})
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended; nil while it lives.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Responsive reports whether the connection is open and the peer has not left
// unanswered for longer than within what it could have answered.
func (c *Conn) Responsive(within time.Duration) bool {
	return c.Err() == nil && c.checkPeer(within) == nil
}

// Peer returns the socket type and the identity the other side announced.
func (c *Conn) Peer() (socket, identity string) { return c.socket, c.identity }

// RemoteAddr returns the other side's address.
func (c *Conn) RemoteAddr() string { return c.conn.RemoteAddr().String() }

// LocalAddr returns this side's address.
func (c *Conn) LocalAddr() string { return c.conn.LocalAddr().String() }
