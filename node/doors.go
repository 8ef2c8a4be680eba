package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
func (o *opener) openHTTPDoors(context.Context) error {
	tlsConfig, err := o.httpTLS()
	if err != nil {
		return err
	}
	o.openNative(tlsConfig)
	o.api, err = httpapi.New(httpapi.Config{
		Control: restControl{o.control}, Sessions: o.native.ws.Serve,
		Config: rest.Config{
			Logger: o.log, TLS: tlsConfig, MaxConns: connLimit(o.files, httpFiles, httpapi.DefaultConns),
			AnyHost: tlsConfig != nil || o.cfg.TokenFile != "" || !isLoopback(o.listeners.http.Addr().String()), Hosts: o.httpHosts(),
		},
	})
	return err
}

// httpTLS returns what REST and native sessions are encrypted with; nil without a
// certificate.
func (n *Node) httpTLS() (*tls.Config, error) {
	if n.cfg.HTTPCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(n.cfg.HTTPCert, n.cfg.HTTPKey)
	if err != nil {
		return nil, fmt.Errorf("--http-cert %s: %w", n.cfg.HTTPCert, err)
	}
	n.certificate = pair.Certificate[0]
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
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

// ownDoorTLS trusts the certificate of the own door, whatever name is in it.
func (n *Node) ownDoorTLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection is stricter: this very certificate
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 || !bytes.Equal(cs.PeerCertificates[0].Raw, n.certificate) {
				return errors.New("this is not the own door")
			}
			return nil
		},
	}
}
