package node

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// announcedAddr is where others reach one of this node's doors, which listens
// at the address that flag gave.
func (n *Node) announcedAddr(flag, given string, l net.Listener) string {
	bound := l.Addr().String()
	advertised, named, err := advertisedFor(bound, n.cfg.Advertise, n.port.Advertise(), os.Hostname)
	switch {
	case err != nil:
		n.log.Warn("a door that listens everywhere is announced as on loopback: give --advertise", flag, given, "error", err)
	case named:
		n.log.Info("a door that listens everywhere is announced under this host's name; --advertise gives another", flag, given, "as", advertised)
	}
	return announcedAddr(given, bound, advertised)
}

// advertisedFor is the address whose host a door that listens everywhere is
// announced with: that of the peer port, unless nobody said it and it is on
// loopback, so that it says nothing of how others reach this host: then the
// host's name, and named is true.
func advertisedFor(bound, explicit, peers string, hostname func() (string, error)) (advertised string, named bool, err error) {
	if explicit != "" || !everywhere(bound) || !loopback(peers) {
		return peers, false, nil
	}
	host, err := hostname()
	if err != nil {
		return peers, false, err
	}
	return net.JoinHostPort(host, "0"), true, nil
}

// announcedAddr is the address that others are told of a door that was given as
// one address and is bound to another: a name stays the name it was given as,
// since certificates are made out to names and what a name leads to may change;
// "everywhere" becomes the host that the peer port advertises; an address is
// itself. The port is the bound one.
func announcedAddr(given, bound, advertised string) string {
	_, port, err := net.SplitHostPort(bound)
	if err != nil {
		return bound
	}
	if name, _, err := net.SplitHostPort(given); err == nil && isName(name) {
		return net.JoinHostPort(name, port)
	}
	if everywhere(bound) {
		if name, _, err := net.SplitHostPort(advertised); err == nil {
			return net.JoinHostPort(name, port)
		}
	}
	return bound
}

// everywhere tells whether a bound address is that of all interfaces.
func everywhere(bound string) bool {
	host, _, err := net.SplitHostPort(bound)
	ip, bad := netip.ParseAddr(host)
	return err == nil && bad == nil && ip.IsUnspecified()
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
	var pace pacer
	for {
		changed := n.machine.Feed().Changed()
		if n.announced(want) {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			continue
		}
		rest := announceFirst
		if n.member(ctx) {
			if rest = pace.rest(time.Now()); rest <= 0 {
				pace.tried(time.Now(), n.announceOnce(ctx, want))
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
	}
}

// announceOnce proposes the row, and tells what the least and the longest pause
// before the next proposal are.
func (n *Node) announceOnce(ctx context.Context, want registry.Coordinator) (pause [2]time.Duration) {
	err := n.propose(ctx, registry.KindAnnounce, registry.Announce{Coordinator: want})
	switch code := wire.CodeOf(err); {
	case err == nil:
		n.log.Info("announced", "namespace", want.Namespace, "http", want.HTTPAddr, "peer", want.PeerAddr)
		return [2]time.Duration{announceFirst, announceLast}
	case ctx.Err() == nil && (code == wire.CodeConflict || code == wire.CodeInvalid):
		n.log.Error("this coordinator cannot take its place", "err", err)
		return [2]time.Duration{announceLast, announceLast}
	}
	n.log.Debug("announce", "err", err)
	return [2]time.Duration{announceFirst, announceRetry}
}

// The pauses between proposals of the row, and how long it must have been left
// alone for the next one to be at once again.
const (
	announceFirst = 50 * time.Millisecond
	announceRetry = 2 * time.Second // the longest after a proposal that came to nothing
	announceLast  = 10 * time.Second
	announceCalm  = time.Minute
)

// pacer spaces the proposals of one row: each waits twice as long as the one
// before. Two processes that both take themselves for this coordinator would else
// overwrite each other's row as fast as the log takes it.
type pacer struct {
	last  time.Time
	pause time.Duration
}

// rest is how long to wait at the time now before the next proposal.
func (p *pacer) rest(now time.Time) time.Duration {
	if now.Sub(p.last) >= announceCalm { // as before the first one
		return 0
	}
	return p.pause - now.Sub(p.last)
}

// tried notes a proposal, and between which bounds the pause after it is.
func (p *pacer) tried(now time.Time, bounds [2]time.Duration) {
	if now.Sub(p.last) >= announceCalm {
		p.pause = 0
	}
	p.pause = min(max(2*p.pause, bounds[0]), bounds[1])
	p.last = now
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
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, _, err := propose.Do[any](ctx, n.proposer, kind, n.cfg.ID, body)
	return err
}
