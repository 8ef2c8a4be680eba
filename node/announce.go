package node

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// announcedAddr is where others reach one of this node's doors.
func (n *Node) announcedAddr(given string, l net.Listener) string {
	return announcedAddr(given, l.Addr().String(), n.port.Advertise())
}

// announcedAddr is the address that others are told of a door that was given as
// one address and is bound to another: a name stays the name it was given as,
// since certificates are made out to names and what a name leads to may change;
// "everywhere" becomes the host that the peer port advertises; an address is
// itself. The port is the bound one.
func announcedAddr(given, bound, advertised string) string {
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return bound
	}
	if name, _, err := net.SplitHostPort(given); err == nil && isName(name) {
		return net.JoinHostPort(name, port)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		if name, _, err := net.SplitHostPort(advertised); err == nil {
			return net.JoinHostPort(name, port)
		}
	}
	return bound
}

// isName tells a host's name from an address and from none.
func isName(host string) bool {
	_, err := netip.ParseAddr(host)
	return host != "" && err != nil
}

// announce keeps this coordinator's row in the registry right: whenever the
// row is not what this node is (first start, other addresses, forgotten by
// mistake) it is proposed again, until ctx ends.
func (n *Node) announce(ctx context.Context) error {
	want := n.self()
	pause := 50 * time.Millisecond
	for {
		changed := n.machine.Feed().Changed()
		if !n.announced(want) && n.member(ctx) {
			err := n.propose(ctx, registry.KindAnnounce, registry.Announce{Coordinator: want})
			if err == nil {
				n.log.Info("announced", "namespace", want.Namespace, "http", want.HTTPAddr, "peer", want.PeerAddr)
				pause = 50 * time.Millisecond
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			if code := wire.CodeOf(err); code == wire.CodeConflict || code == wire.CodeInvalid {
				n.log.Error("this coordinator cannot take its place", "err", err)
				pause = 10 * time.Second
			}
			n.log.Debug("announce", "err", err)
		} else if n.announced(want) {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// announced tells whether the registry has our row as it should be.
func (n *Node) announced(want registry.Coordinator) bool {
	got, ok := n.machine.View().Registry.Coordinator(want.ID)
	got.Since, got.Index = want.Since, want.Index
	return ok && got == want
}

// member tells whether this server is in the cluster at all; until then it
// has nothing to announce.
func (n *Node) member(context.Context) bool { return n.raft.ClusterID() != "" }

func (n *Node) propose(ctx context.Context, kind string, body any) error {
	command, err := fsm.Encode(kind, time.Now(), n.cfg.ID, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, _, err = n.raft.Propose(ctx, command)
	return err
}
