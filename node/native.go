package node

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/gateway/tcp"
	"github.com/folkmoot/folkmoot/gateway/ws"
	"github.com/folkmoot/folkmoot/wire"
)

// nativeDoors is what a coordinator has for native sessions.
type nativeDoors struct {
	listener net.Listener
	hub      *session.Hub
	door     *tcp.Door
	ws       *ws.Door
}

// listenNative binds the door's port, so that it can be announced.
func (n *Node) listenNative() (err error) {
	if n.native.listener, err = listen("--component-addr", n.cfg.ComponentAddr); err != nil {
		return err
	}
	n.addrs.Component = n.announcedAddr("--component-addr", n.cfg.ComponentAddr, n.native.listener)
	return nil
}

// openNative makes the doors; REST has the WebSocket one, and its certificate is
// that of this one too.
func (n *Node) openNative(tlsConfig *tls.Config) {
	n.native.hub = session.New(session.Config{Control: n.control, Logger: n.log.With("door", "native"), Unfinished: n.unfinished})
	n.native.door = tcp.New(tcp.Config{Hub: n.native.hub, TLS: tlsConfig, Logger: n.log.With("door", "native")})
	n.native.ws = ws.New(n.native.hub)
}

// slowConsumers counts the connections that were cut off for reading too slowly, at
// any door.
func (n *Node) slowConsumers() *wire.SlowConsumers {
	s := &wire.SlowConsumers{Doors: map[string]uint64{"native": n.native.hub.Counts()["slow"]}}
	if n.leco.door != nil {
		s.Doors["leco"] = n.leco.door.Counts()["cut_off_connections"]
	}
	if last, ok := n.native.hub.LastCutOff(); ok {
		s.Last, s.Remote, s.LastAt = last.Name, last.Remote, &last.At
	}
	return s
}

func (n *Node) serveNative() error { return n.native.door.Serve(n.native.listener) }

// closeNative says goodbye to every connection: their sessions go elsewhere. It may
// be called again.
func (n *Node) closeNative(ctx context.Context) (err error) {
	if n.native.hub != nil {
		err = n.native.hub.Close(ctx)
		n.native.door.Close()
	}
	if n.native.listener != nil {
		n.native.listener.Close()
	}
	return err
}
