package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
)

// lecoDoor is what a coordinator has for LECO; all of it is optional.
type lecoDoor struct {
	listener net.Listener // of the door, until the door is opened
	door     *leco.Door
	data     *zmtp.Proxy // data channel
	logs     *zmtp.Proxy // log channel
}

// listenLECO binds LECO's ports, so that the door's can be announced.
func (n *Node) listenLECO() (err error) {
	if n.cfg.LECOAddr != "" {
		if n.leco.listener, err = listen("--leco-addr", n.cfg.LECOAddr); err != nil {
			return err
		}
		n.addrs.LECO = n.announcedAddr("--leco-addr", n.cfg.LECOAddr, n.leco.listener)
	}
	if n.leco.data, n.addrs.LECOData, err = openProxy("--leco-data-addr", n.cfg.LECODataAddr); err == nil {
		n.leco.logs, n.addrs.LECOLogs, err = openProxy("--leco-log-addr", n.cfg.LECOLogAddr)
	}
	if err != nil {
		n.closeLECO()
	}
	return err
}

// openProxy joins publishers at addr and subscribers at the port below it, as
// LECO's ports are arranged; port 0 takes any two. It returns where both are.
func openProxy(flag, addr string) (*zmtp.Proxy, [2]string, error) {
	if addr == "" {
		return nil, [2]string{}, nil
	}
	in, err := listen(flag, addr)
	if err != nil {
		return nil, [2]string{}, err
	}
	out, err := listen(flag+" (subscribers)", portBelow(addr))
	if err != nil {
		in.Close()
		return nil, [2]string{}, err
	}
	return zmtp.NewProxy(in, out, zmtp.Config{}), [2]string{in.Addr().String(), out.Addr().String()}, nil
}

// portBelow returns the address with the port before this one; Validate has checked
// it.
func portBelow(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if n, _ := strconv.Atoi(port); n > 1 {
		port = strconv.Itoa(n - 1)
	}
	return net.JoinHostPort(host, port)
}

// maxLECOConns is how many connections the door has at most, and maxLECOPending
// how many of them that are no peers yet, and as many on which nobody is signed in.
const (
	maxLECOConns   = 20_000
	maxLECOPending = 1024
)

// openLECODoor opens the door, if there is one.
func (n *Node) openLECODoor(context.Context) (err error) {
	if n.leco.listener == nil {
		return nil
	}
	conns := connLimit(n.files, lecoFiles, maxLECOConns)
	c := leco.Config{
		Cluster: n.control, Egress: n.egress, Listener: n.leco.listener, Advertise: n.addrs.LECO, Peers: n.cfg.LECOPeers, Logger: n.log.With("door", "leco"),
		Strangers: min(maxLECOPending, max(1, conns/2)), Transport: zmtp.Config{Unfinished: n.unfinished, MaxConns: conns, MaxPending: min(maxLECOPending, conns)},
	}
	if n.cfg.LECOShutDown || isLoopback(n.cfg.LECOAddr) {
		c.ShutDown = func(string) { n.stop() }
	}
	if n.cfg.LogLevel != nil {
		c.SetLogLevel = func(level string) { n.cfg.LogLevel.Set(logLevels[level]) }
	}
	if n.leco.door, err = leco.Open(c); err != nil {
		return fmt.Errorf("--leco-addr %s: %w", n.cfg.LECOAddr, err)
	}
	return nil
}

// logLevels are LECO's names of levels. Nothing here is logged as CRITICAL.
var logLevels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "ERROR": slog.LevelError, "CRITICAL": slog.LevelError + 4,
}

// closeLECO ends what was opened. It may be called again.
func (n *Node) closeLECO() {
	if n.leco.listener != nil && n.leco.door == nil {
		n.leco.listener.Close()
	}
	for _, p := range []*zmtp.Proxy{n.leco.data, n.leco.logs} {
		if p != nil {
			p.Close()
		}
	}
}
