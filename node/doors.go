package node

import (
	"context"
	"net"
	"slices"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

// A door gets one of so many shares of the files that are not reserved.
const (
	httpFiles = 2
	lecoFiles = 4
	opsFiles  = 8
)

// openHTTPDoors makes the two HTTP servers and the native doors; Run lets them
// serve.
func (o *opener) openHTTPDoors(context.Context) (err error) {
	tlsConfig := o.certs.doorTLS()
	o.openNative(tlsConfig)
	o.api, err = httpapi.New(httpapi.Config{
		Control: restControl{o.control}, Sessions: o.native.ws.Serve,
		Config: rest.Config{
			Audit: o.control.Record, AuditRefusals: o.trail == nil, Logger: o.log, TLS: tlsConfig, MaxConns: connLimit(o.files, httpFiles, httpapi.DefaultConns),
			AnyHost: tlsConfig != nil || o.cfg.TokenFile != "" || !isLoopback(o.listeners.http.Addr().String()), Hosts: o.httpHosts(),
		},
	})
	return err
}

// httpHosts are the configured names of this coordinator.
func (n *Node) httpHosts() []string {
	hosts := slices.Clone(n.cfg.HTTPHosts)
	for _, addr := range []string{n.cfg.HTTPAddr, n.cfg.Advertise} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
