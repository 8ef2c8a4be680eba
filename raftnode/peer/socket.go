package peer

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// socketEntry is one open socket.
type socketEntry struct {
	port     *Port
	tcp      *net.TCPConn
	opened   time.Time
	once     sync.Once
	accepted bool   // counted in port.taken and port.perPeer[peer]; guarded by port.mu
	peer     string // server id of the other side; guarded by port.mu
	kind     Kind   // 0 before the greeting; set once, under port.mu
	from     Hello  // of the other side; set with kind
	// certificate is the name in that of an accepted connection; the handshake's own
	certificate string
	closed      bool   // shut; guarded by port.mu
	onClose     func() // called once after the socket was closed, may be nil; guarded by port.mu
}

// trackSocket takes note of an open socket; false (and the socket closed) when the
// port is closed already.
func (p *Port) trackSocket(tcp *net.TCPConn) (*socketEntry, bool) {
	e := &socketEntry{port: p, tcp: tcp, opened: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		tcp.Close()
		return nil, false
	}
	p.conns[e] = struct{}{}
	return e, true
}

// close closes the socket and forgets it; safe to repeat.
func (e *socketEntry) close() {
	e.once.Do(func() {
		e.tcp.Close()
		p := e.port
		p.mu.Lock()
		delete(p.conns, e)
		p.pending.Remove(e)
		if e.accepted {
			p.accepted--
			if p.perPeer[e.peer]--; p.perPeer[e.peer] == 0 {
				delete(p.perPeer, e.peer)
			}
		}
		e.closed = true
		f := e.onClose
		p.mu.Unlock()
		if f != nil {
			f()
		}
	})
}

// afterClose has f called once the socket is closed, at once if it is already.
// No lock that f takes may be held.
func (e *socketEntry) afterClose(f func()) {
	e.port.mu.Lock()
	gone := e.closed
	if !gone {
		e.onClose = f
	}
	e.port.mu.Unlock()
	if gone {
		f()
	}
}

// conn is a connection that forgets itself when closed.
type conn interface {
	net.Conn
	socket() *socketEntry
}

// plainConn and tlsConn are the connections handed out: closing one also
// forgets it. They embed the concrete types so that net.Buffers still writes a
// plain one with a single system call.
type plainConn struct {
	*net.TCPConn
	entry *socketEntry
}

func (c *plainConn) Close() error         { c.entry.close(); return nil }
func (c *plainConn) socket() *socketEntry { return c.entry }

type tlsConn struct {
	*tls.Conn
	entry *socketEntry
}

func (c *tlsConn) Close() error         { c.entry.close(); return nil }
func (c *tlsConn) socket() *socketEntry { return c.entry }
