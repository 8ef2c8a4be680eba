package node

import (
	"net"
	"net/netip"
	"os"
)

// announcedAddr returns where others reach one of this node's doors, which listens
// at the address that flag configured.
func (n *Node) announcedAddr(flag, configured string, l net.Listener) string {
	bound := l.Addr().String()
	advertised, isHostName, err := advertisedFor(bound, n.cfg.Advertise, n.port.Advertise(), os.Hostname)
	switch {
	case err != nil:
		n.log.Warn("a door that listens everywhere is announced as on loopback: give --advertise", flag, configured, "error", err)
	case isHostName:
		n.log.Info("a door that listens everywhere is announced under this host's name; --advertise gives another", flag, configured, "as", advertised)
	}
	return externalAddr(configured, bound, advertised)
}

// advertisedFor returns the address whose host a door that listens everywhere is
// announced with: that of the peer port, unless --advertise is not set (explicit
// is empty) and the peer port is on loopback, which does not help others to reach
// this host: then the host's name, and isHostName is true.
func advertisedFor(bound, explicit, peerAddr string, hostname func() (string, error)) (advertised string, isHostName bool, err error) {
	if explicit != "" || !isUnspecified(bound) || !isLoopback(peerAddr) {
		return peerAddr, false, nil
	}
	host, err := hostname()
	if err != nil {
		return peerAddr, false, err
	}
	return net.JoinHostPort(host, "0"), true, nil
}

// externalAddr returns the address under which others find a door that was
// configured as one address and is bound to another. A name stays a name, since
// certificates are issued for names and a name may later resolve to another
// address; the unspecified address becomes the host that the peer port advertises;
// any other address stays as it is. The port is the bound one.
func externalAddr(configured, bound, advertised string) string {
	_, port, err := net.SplitHostPort(bound)
	if err != nil {
		return bound
	}
	if name, _, err := net.SplitHostPort(configured); err == nil && isHostname(name) {
		return net.JoinHostPort(name, port)
	}
	if isUnspecified(bound) {
		if name, _, err := net.SplitHostPort(advertised); err == nil {
			return net.JoinHostPort(name, port)
		}
	}
	return bound
}

// isUnspecified tells whether a bound address is that of all interfaces.
func isUnspecified(bound string) bool {
	host, _, err := net.SplitHostPort(bound)
	ip, parseErr := netip.ParseAddr(host)
	return err == nil && parseErr == nil && ip.IsUnspecified()
}

// isHostname tells whether a host is a name: neither empty nor an address.
func isHostname(host string) bool {
	_, err := netip.ParseAddr(host)
	return host != "" && err != nil
}

// isLoopback tells whether an address with a port is on loopback.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
