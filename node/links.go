package node

import (
	"context"
	"net"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// linkDialer adapts the peer port to what the router asks of it.
type linkDialer struct{ port *peer.Port }

func (l linkDialer) DialLink(ctx context.Context, addr, want string) (net.Conn, error) {
	conn, _, err := l.port.DialLink(ctx, addr, want)
	return conn, err
}

func (l linkDialer) AcceptLink() (net.Conn, string, error) {
	conn, from, err := l.port.AcceptLink()
	return conn, from.ID, err
}
