package peer

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// entry is one socket from the moment it is open until it is closed.
type entry struct {
	port   *Port
	tcp    *net.TCPConn
	since  time.Time
	once   sync.Once
	taken  bool   // counted in port.taken and port.perPeer[peer]; guarded by port.mu
	peer   string // server id of the other side; guarded by port.mu
	gone   bool   // shut; guarded by port.mu
	onShut func() // called once after the socket was closed, may be nil; guarded by port.mu
}

// track takes note of an open socket; false (and the socket closed) when the
// port is closed already.
func (p *Port) track(tcp *net.TCPConn) (*entry, bool) {
	e := &entry{port: p, tcp: tcp, since: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		tcp.Close()
		return nil, false
	}
	p.conns[e] = struct{}{}
	return e, true
}

// shut closes the socket and forgets it; safe to repeat.
func (e *entry) shut() {
	e.once.Do(func() {
		e.tcp.Close()
		p := e.port
		p.mu.Lock()
		delete(p.conns, e)
		p.unwait(e)
		if e.taken {
			p.taken--
			if p.perPeer[e.peer]--; p.perPeer[e.peer] == 0 {
				delete(p.perPeer, e.peer)
			}
		}
		e.gone = true
		f := e.onShut
		p.mu.Unlock()
		if f != nil {
			f()
		}
	})
}

// afterShut has f called once the socket is closed, at once if it is already.
// No lock that f takes may be held.
func (e *entry) afterShut(f func()) {
	e.port.mu.Lock()
	gone := e.gone
	if !gone {
		e.onShut = f
	}
	e.port.mu.Unlock()
	if gone {
		f()
	}
}

// conn is a connection that forgets itself when closed.
type conn interface {
	net.Conn
	socket() *entry
}

// plainConn and tlsConn are the connections handed out: closing one also
// forgets it. They embed the concrete types so that net.Buffers still writes a
// plain one with a single system call.
type plainConn struct {
	*net.TCPConn
	entry *entry
}

func (c *plainConn) Close() error   { c.entry.shut(); return nil }
func (c *plainConn) socket() *entry { return c.entry }

type tlsConn struct {
	*tls.Conn
	entry *entry
}

func (c *tlsConn) Close() error   { c.entry.shut(); return nil }
func (c *tlsConn) socket() *entry { return c.entry }
