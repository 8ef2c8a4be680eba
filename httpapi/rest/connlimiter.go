package rest

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// connLimiter bounds the connections of one port. When it is full, a new one
// takes the place of the one that has been idle for longest; when none is idle,
// the new one is closed at once. So no number of idle connections keeps
// anybody out. A connection whose request is refused, or whose body nobody
// reads, counts as idle: see yield.
type connLimiter struct {
	net.Listener
	limit int
	brief bool // see ServerConfig.Brief

	mu        sync.Mutex
	conns     map[net.Conn]*list.Element // nil element: active
	idle      *list.List                 // of net.Conn, longest idle first
	displaced uint64                     // closed because the port was full, ever
}

func newConnLimiter(l net.Listener, limit int, brief bool) *connLimiter {
	return &connLimiter{Listener: l, limit: limit, brief: brief, conns: map[net.Conn]*list.Element{}, idle: list.New()}
}

// Accept waits for a connection there is room for.
func (c *connLimiter) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.admit(conn) {
			return conn, nil
		}
		_ = conn.Close() // all others are active
	}
}

func (c *connLimiter) admit(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.conns) >= c.limit {
		c.displaced++
		oldest := c.idle.Front()
		if oldest == nil {
			return false
		}
		c.closeIdleConn(oldest.Value.(net.Conn))
	}
	c.conns[conn] = c.idle.PushBack(conn)
	return true
}

// closeIdleConn closes one idle connection; mu is held.
func (c *connLimiter) closeIdleConn(conn net.Conn) {
	if e := c.conns[conn]; e != nil {
		c.idle.Remove(e)
	}
	delete(c.conns, conn)
	_ = conn.Close() // nothing is lost with it
}

// track is http.Server.ConnState: it notes which connections are idle.
func (c *connLimiter) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, known := c.conns[conn]
	if !known {
		return
	}
	switch state {
	case http.StateActive:
		if e != nil && c.brief {
			c.idle.MoveToBack(e)
		} else if e != nil {
			c.idle.Remove(e)
			c.conns[conn] = nil
		}
	case http.StateIdle:
		if e == nil {
			c.conns[conn] = c.idle.PushBack(conn)
		}
	case http.StateClosed, http.StateHijacked:
		if e != nil {
			c.idle.Remove(e)
		}
		delete(c.conns, conn)
	}
}

// yield lets a connection be displaced like an idle one although its request is
// not over: that goes on for as long as its caller likes and does nothing for
// anybody else. Its next request is judged anew.
func (c *connLimiter) yield(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, known := c.conns[conn]; known && e == nil {
		c.conns[conn] = c.idle.PushBack(conn)
	}
}

// counts returns the number of connections now, and of those ever closed
// because the port was full.
func (c *connLimiter) counts() (open int, displaced uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns), c.displaced
}

// closeIdle closes the connections on which no request is under way.
func (c *connLimiter) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.idle.Front(); e != nil; e = c.idle.Front() {
		c.closeIdleConn(e.Value.(net.Conn))
	}
}
