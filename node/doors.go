package node

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/ops"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// authenticator knows the tokens of --token-file and that of the own worker,
// which nobody else ever sees.
func (n *Node) authenticator() (*control.Authenticator, error) {
	tokens, err := readTokens(n.cfg.TokenFile)
	if err != nil {
		return nil, err
	}
	if len(tokens) > 0 {
		n.workerToken = rand.Text()
		tokens = append(tokens, control.HashToken(n.workerToken))
	}
	return control.NewAuthenticator(tokens)
}

// doors makes the two HTTP servers and the native doors; Run lets them serve.
func (n *Node) doors() (err error) {
	var secure *tls.Config
	if n.cfg.HTTPCert != "" {
		pair, err := tls.LoadX509KeyPair(n.cfg.HTTPCert, n.cfg.HTTPKey)
		if err != nil {
			return fmt.Errorf("--http-cert %s: %w", n.cfg.HTTPCert, err)
		}
		n.certificate = pair.Certificate[0]
		secure = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	n.openNative(secure)
	c := httpapi.Config{
		Control: httpapi.Over(n.control), Sessions: n.native.ws.Serve,
		Config: rest.Config{
			Logger: n.log, TLS: secure, MaxConns: connLimit(n.files, 2, httpapi.DefaultConns),
			AnyHost: secure != nil || n.cfg.TokenFile != "" || !isLoopback(n.listeners.http.Addr().String()), Hosts: n.httpHosts(),
		},
	}
	if n.api, err = httpapi.New(c); err != nil {
		return err
	}
	n.ops, err = ops.New(ops.Config{
		Live: n.raft.Live, Ready: n.ready, Started: n.raft.Started, Logger: n.log, MaxConns: connLimit(n.files, 8, ops.DefaultConns),
		Gatherers: []prometheus.Gatherer{n.metrics(), n.api.Metrics(), libraryMetrics()},
	})
	return err
}

// httpHosts are the names that this coordinator was given for itself.
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

// ready tells whether clients and disruption budgets may count on this node.
func (n *Node) ready() (bool, string) {
	if n.leaving.Load() {
		return false, "this coordinator is shutting down"
	}
	if ok, reason := n.raft.Health(); !ok {
		return false, reason
	}
	if !n.isAnnounced(n.self()) {
		return false, "this coordinator has not taken its place in the registry yet"
	}
	return true, ""
}

// Ready tells whether clients may count on this node: it is a member, hears a
// leader and has caught up.
func (n *Node) Ready() bool {
	ok, _ := n.ready()
	return ok
}

// describe completes an answer of Status with what only the node knows.
func (n *Node) describe(st *wire.Status) {
	st.Ready, st.ReadyReason = n.ready()
	st.HTTPAddress, st.PeerAddress = n.addrs.HTTP, n.addrs.Peer
	st.Version, st.StartedAt = n.cfg.Version, n.started
	st.DataDir, st.InsecureReason = n.cfg.DataDir, n.cfg.insecureReason()
	st.MessageCounts = n.router.Stats()
	st.SlowConsumers, st.Disk = n.slowConsumers(), n.disk.last.Load()
}
