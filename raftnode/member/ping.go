package member

import (
	"context"
	"net"
	"time"
)

// pingLoop says hello to every member, every second and whenever something has changed.
// While members are missing it also tries the addresses given at the start, and
// those that were announced: they may have moved, and somebody there may know
// whereto.
func (m *Manager) pingLoop() {
	tick := time.NewTicker(m.cfg.Ping)
	defer tick.Stop()
	for {
		for addr, to := range m.pingTargets() {
			if m.peers.beginProbe(addr) {
				if !m.host.Spawn(func() {
					defer m.peers.endProbe(addr)
					ctx, cancel := context.WithTimeout(m.ctx, max(m.cfg.Ping, time.Second))
					defer cancel()
					_, _ = m.sendHello(ctx, addr, to)
				}) {
					return
				}
			}
		}
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			return
		case <-m.pingNow:
			select { // several changes usually arrive together
			case <-time.After(20 * time.Millisecond):
			case <-m.ctx.Done():
				return
			}
		}
	}
}

// pingTargets are the addresses to say hello to, with the server expected there.
func (m *Manager) pingTargets() map[string]string {
	to := map[string]string{}
	lost := false
	members := m.raft.GetConfiguration().Configuration().Servers
	m.peers.recordMembers(members)
	for _, s := range members {
		if string(s.ID) == m.serverID {
			continue
		}
		addr, _ := m.addresses.lookup(string(s.ID))
		to[addr] = string(s.ID)
		if alive, _ := m.peers.alive(string(s.ID)); !alive {
			lost = true
			if string(s.Address) != addr {
				to[string(s.Address)] = ""
			}
		}
	}
	if lost || m.identity.Record().Removed {
		for _, addr := range append(m.joinAddresses(), m.announced()...) {
			if _, ok := to[addr]; !ok && addr != m.self.Address {
				to[addr] = ""
			}
		}
	}
	if m.identity.Record().Removed {
		for _, p := range m.identity.Peers() {
			to[p.Address] = p.ServerID
		}
	}
	return to
}

// joinAddresses are the addresses given at the start, looked up anew.
func (m *Manager) joinAddresses() (all []string) {
	ctx, cancel := context.WithTimeout(m.ctx, time.Second)
	defer cancel()
	for _, addr := range m.cfg.Join {
		all = append(all, m.cfg.Resolve(ctx, addr)...)
	}
	return all
}

// announced are the addresses at which the machine's state has the members.
func (m *Manager) announced() []string {
	if m.cfg.Announced == nil {
		return nil
	}
	return m.cfg.Announced()
}

// resolve turns a name with several addresses, such as that of a headless
// service, into all of them. Anything else stays as it is: it is looked up at
// every dial.
func resolve(ctx context.Context, addr string) []string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil {
		return []string{addr}
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil || len(ips) < 2 {
		return []string{addr}
	}
	all := make([]string, len(ips))
	for i, ip := range ips {
		all[i] = net.JoinHostPort(ip, port)
	}
	return all
}
