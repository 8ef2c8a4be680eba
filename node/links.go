package node

import (
	"context"
	"net"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// links adapts the peer port to what the router asks of it.
type links struct{ port *peer.Port }

func (l links) DialLink(ctx context.Context, addr, want string) (net.Conn, error) {
	conn, _, err := l.port.DialLink(ctx, addr, want)
	return conn, err
}

func (l links) AcceptLink() (net.Conn, string, error) {
	conn, from, err := l.port.AcceptLink()
	return conn, from.ID, err
}
