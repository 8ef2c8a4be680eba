// Package hangup is about how a TCP connection ends: who has left without being
// heard, and who is known to be gone by it.
package hangup

import (
	"context"
	"net"
	"net/netip"
)

type key struct{}

// With returns a context that knows the connection a request came by.
func With(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, key{}, conn)
}

// Conn returns the connection of With; nil is none.
func Conn(ctx context.Context) net.Conn {
	conn, _ := ctx.Value(key{}).(net.Conn)
	return conn
}

// Left tells whether the other side has closed the connection, or its half of it,
// whatever it sent before that and is not read yet. False is also: that cannot
// be told here.
func Left(conn net.Conn) bool {
	raw := plain(conn)
	return raw != nil && left(raw)
}

// Abort closes a connection by a reset, where it is TCP. The other side can tell
// that from the orderly end by which a system closes the connections of a process
// that is gone: who closes with Abort lives.
func Abort(conn net.Conn) {
	if raw := plain(conn); raw != nil {
		_ = raw.SetLinger(0)
	}
	_ = conn.Close()
}

// Address returns the own end of a TCP connection; "" is none.
func Address(conn net.Conn) string {
	if raw := plain(conn); raw != nil {
		return raw.LocalAddr().String()
	}
	return ""
}

// Same tells whether two addresses are one end of a connection, as its two sides
// see it: not when somebody between them keeps a connection to each.
func Same(a, b string) bool {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	return errX == nil && errY == nil && x.Port() == y.Port() &&
		x.Addr().Unmap().WithZone("") == y.Addr().Unmap().WithZone("")
}

// plain returns what is below TLS, if it is TCP.
func plain(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	raw, _ := conn.(*net.TCPConn)
	return raw
}
