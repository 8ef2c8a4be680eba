// Package hangup is about how a TCP connection ends: whether the peer has closed its
// side unnoticed, and which endings show that its process is gone.
package hangup

import (
	"context"
	"net"
	"net/netip"
)

type connKey struct{}

// WithConn returns a context that knows the connection a request came by.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// Conn returns the connection of WithConn; nil is none.
func Conn(ctx context.Context) net.Conn {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	return conn
}

// PeerClosed tells whether the other side has closed the connection, or its half of it,
// whatever it sent before that and is not read yet. False is also: that cannot
// be told here.
func PeerClosed(conn net.Conn) bool {
	raw := tcpConn(conn)
	return raw != nil && peerClosed(raw)
}

// Abort closes a connection by a reset, where it is TCP. The other side can tell
// that from the orderly end by which a system closes the connections of a process
// that is gone: who closes with Abort lives.
func Abort(conn net.Conn) {
	if raw := tcpConn(conn); raw != nil {
		_ = raw.SetLinger(0)
	}
	_ = conn.Close()
}

// LocalAddr returns the own end of a TCP connection; "" is none.
func LocalAddr(conn net.Conn) string {
	if raw := tcpConn(conn); raw != nil {
		return raw.LocalAddr().String()
	}
	return ""
}

// SameEndpoint tells whether two addresses are one end of a connection, as its two sides
// see it: not when somebody between them keeps a connection to each.
func SameEndpoint(a, b string) bool {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	return errX == nil && errY == nil && x.Port() == y.Port() &&
		x.Addr().Unmap().WithZone("") == y.Addr().Unmap().WithZone("")
}

// tcpConn returns what is below TLS, if it is TCP.
func tcpConn(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	raw, _ := conn.(*net.TCPConn)
	return raw
}
