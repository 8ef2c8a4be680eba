package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// crowd bounds the connections of one port. When it is full, a new one takes
// the place of the one that has been silent for longest; when none is silent,
// the new one is closed at once. So no number of idle connections keeps
// anybody out.
type crowd struct {
	net.Listener
	limit int

	mu     sync.Mutex
	all    map[net.Conn]*list.Element // nil element: busy
	silent *list.List                 // of net.Conn, longest silent first
	turned uint64                     // closed for want of room, ever
}

func newCrowd(l net.Listener, limit int) *crowd {
	return &crowd{Listener: l, limit: limit, all: map[net.Conn]*list.Element{}, silent: list.New()}
}

// Accept waits for a connection there is room for.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.admit(conn) {
			return conn, nil
		}
		_ = conn.Close() // full of busy ones
	}
}

func (c *crowd) admit(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) >= c.limit {
		c.turned++
		oldest := c.silent.Front()
		if oldest == nil {
			return false
		}
		c.drop(oldest.Value.(net.Conn))
	}
	c.all[conn] = c.silent.PushBack(conn)
	return true
}

// drop closes a silent connection; mu is held.
func (c *crowd) drop(conn net.Conn) {
	if e := c.all[conn]; e != nil {
		c.silent.Remove(e)
	}
	delete(c.all, conn)
	_ = conn.Close() // what it says no longer matters
}

// track is http.Server.ConnState: it keeps who is silent.
func (c *crowd) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, known := c.all[conn]
	if !known {
		return
	}
	switch state {
	case http.StateActive:
		if e != nil {
			c.silent.Remove(e)
			c.all[conn] = nil
		}
	case http.StateIdle:
		if e == nil {
			c.all[conn] = c.silent.PushBack(conn)
		}
	case http.StateClosed, http.StateHijacked:
		if e != nil {
			c.silent.Remove(e)
		}
		delete(c.all, conn)
	}
}

// counts returns the connections now and those ever turned away or displaced.
func (c *crowd) counts() (now int, turned uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all), c.turned
}

// closeSilent closes the connections on which nothing is asked.
func (c *crowd) closeSilent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.silent.Front(); e != nil; e = c.silent.Front() {
		c.drop(e.Value.(net.Conn))
	}
}
