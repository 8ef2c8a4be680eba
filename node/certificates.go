package node

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// certificates is what the ports are encrypted with. The files are read before the data directory is touched, and
// watched from then on.
type certificates struct {
	peer    *certfile.Watcher // nil: plain text
	http    *certfile.Watcher // of REST and native sessions; nil: plain text
	clients *certfile.Watcher // --http-client-ca; nil: not given
	own     *ownCertificate   // --tls-dir; nil: not given
	issue   bool              // own has to make its first certificate

	renewNow  chan struct{} // wakes renewCertificate
	reconnect chan struct{} // wakes renewConnections
}

// watchers are all of them, each once.
func (c *certificates) watchers() (all []*certfile.Watcher) {
	for _, w := range []*certfile.Watcher{c.peer, c.http, c.clients} {
		if w != nil && (len(all) == 0 || w != all[0]) {
			all = append(all, w)
		}
	}
	return all
}

// readCertificates reads all files that the flags name, and makes nothing yet.
func (o *opener) readCertificates() error {
	c := &o.certs
	c.renewNow, c.reconnect = make(chan struct{}, 1), make(chan struct{}, 1)
	if o.cfg.TLSDir != "" {
		hosts, err := o.cfg.certificateHosts()
		if err != nil {
			return err
		}
		c.own = &ownCertificate{id: o.cfg.ID, dir: certfile.In(o.cfg.TLSDir), data: ownPair(o.cfg.DataDir), hosts: hosts, log: o.log}
		if c.issue, err = c.own.read(); err != nil {
			return fmt.Errorf("--tls-dir %s: %w", o.cfg.TLSDir, err)
		}
	}
	if o.cfg.PeerCA != "" {
		if _, err := o.peerSource().Load(); err != nil {
			return fmt.Errorf("--peer-ca, --peer-cert and --peer-key: %w", err)
		}
	}
	if o.cfg.HTTPCert != "" {
		if _, err := o.httpSource().Load(); err != nil {
			return fmt.Errorf("--http-cert and --http-key: %w", err)
		}
	}
	if o.cfg.HTTPClientCA != "" {
		if _, err := o.clientSource().Load(); err != nil {
			return fmt.Errorf("--http-client-ca: %w", err)
		}
	}
	return nil
}

func (o *opener) peerSource() certfile.Source {
	return certfile.Source{
		CA: o.cfg.PeerCA, Pairs: []certfile.Pair{{Cert: o.cfg.PeerCert, Key: o.cfg.PeerKey}}, Check: checkMember(o.cfg.ID),
	}
}

func (o *opener) httpSource() certfile.Source {
	return certfile.Source{Pairs: []certfile.Pair{{Cert: o.cfg.HTTPCert, Key: o.cfg.HTTPKey}}}
}

func (o *opener) clientSource() certfile.Source { return certfile.Source{CA: o.cfg.HTTPClientCA} }

// checkMember refuses what is no certificate of this coordinator, by the rules of the peer port, and one of another
// cluster than the first.
func checkMember(id string) func(*certfile.Content) error {
	var mu sync.Mutex
	cluster := ""
	return func(c *certfile.Content) error {
		if err := peer.CheckOwn(c, id); err != nil {
			return err
		}
		name, err := authority.NameOf(c.Leaf)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if cluster != "" && name.Cluster != cluster {
			return fmt.Errorf("certificate of cluster %q, and this coordinator runs with those of %q", name.Cluster, cluster)
		}
		cluster = name.Cluster
		return nil
	}
}

// openCertificates makes what is missing and begins to watch. The data directory is open.
func (o *opener) openCertificates() (err error) {
	c := &o.certs
	if c.issue {
		if err := c.own.makeFirst(); err != nil {
			return fmt.Errorf("--tls-dir %s: %w", o.cfg.TLSDir, err)
		}
	}
	if c.own != nil {
		if c.own.watcher, err = certfile.Open("tls-dir", c.own.source(), o.log); err != nil {
			return &ConfigError{fmt.Errorf("--tls-dir %s: %w", o.cfg.TLSDir, err)}
		}
		c.peer, c.http = c.own.watcher, c.own.watcher
	}
	open := func(into **certfile.Watcher, given, name string, s certfile.Source) {
		if given == "" || err != nil {
			return
		}
		if *into, err = certfile.Open(name, s, o.log); err != nil {
			err = &ConfigError{fmt.Errorf("--%s: %w", name, err)}
		}
	}
	open(&c.peer, o.cfg.PeerCA, "peer-cert", o.peerSource())
	open(&c.http, o.cfg.HTTPCert, "http-cert", o.httpSource())
	open(&c.clients, o.cfg.HTTPClientCA, "http-client-ca", o.clientSource())
	if len(c.watchers()) > 0 {
		o.OnReload("certificates", c.reload)
	}
	return err
}

// peerInfo is what the peer port shows and trusts; nil without TLS.
func (c *certificates) peerInfo() *wire.MemberCertificate {
	if c.peer == nil {
		return nil
	}
	now := c.peer.Current()
	info := &wire.MemberCertificate{Expires: now.Leaf.NotAfter.UTC()}
	if issuer := now.Issuer(); issuer != nil {
		info.Issuer = authority.Fingerprint(issuer)
	}
	for _, a := range now.Authorities {
		info.Trusts = append(info.Trusts, authority.Fingerprint(a))
	}
	return info
}

// certificateHosts are the names and addresses in a certificate that this coordinator makes or asks for.
func (c Config) certificateHosts() (authority.Hosts, error) {
	list := slices.Clone(c.TLSHosts)
	for _, addr := range []string{c.Advertise, c.HTTPAddr, c.PeerAddr} {
		if host, _, err := net.SplitHostPort(addr); err == nil && !listensEverywhere(addr) {
			list = append(list, host)
		}
	}
	h, err := authority.MemberHosts(list)
	if err != nil {
		return h, fmt.Errorf("--tls-hosts: %w", err)
	}
	return h, nil
}

// doorTLS is what REST and native sessions are encrypted with; nil without a certificate. Every handshake has the
// newest one.
func (c *certificates) doorTLS() *tls.Config {
	if c.http == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			own := c.http.Current()
			config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{withIssuer(own)}}
			if c.clients != nil {
				config.ClientAuth = tls.RequireAnyClientCert
				config.VerifyConnection = c.verifyClient(own)
			}
			return config, nil
		},
	}
}

// withIssuer is a certificate with the cluster's authority that signed it in its chain: whoever has a join token knows
// that by its SHA-256 alone.
func withIssuer(c *certfile.Content) tls.Certificate {
	pair := c.Certificate
	if issuer := c.Issuer(); issuer != nil && len(pair.Certificate) == 1 {
		pair.Certificate = [][]byte{pair.Certificate[0], issuer.Raw}
	}
	return pair
}

// verifyClient is the second lock, --http-client-ca. A certificate opens it and is never a name: chains are verified
// here, so that nobody above sees them as verified. The own worker shows the door's own certificate.
func (c *certificates) verifyClient(own *certfile.Content) func(tls.ConnectionState) error {
	roots := c.clients.Current().Roots
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("a client certificate is needed (--http-client-ca)")
		}
		leaf := s.PeerCertificates[0]
		if bytes.Equal(leaf.Raw, own.Leaf.Raw) {
			return nil
		}
		between := x509.NewCertPool()
		for _, b := range s.PeerCertificates[1:] {
			between.AddCert(b)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
}

// ownDoorTLS trusts the certificate of the own door, whatever name is in it, and shows it.
func (c *certificates) ownDoorTLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection is stricter: this very certificate
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.http.Current().Certificate, nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 || !bytes.Equal(cs.PeerCertificates[0].Raw, c.http.Current().Leaf.Raw) {
				return errors.New("this is not the own door")
			}
			return nil
		},
	}
}

// ownCertificate is that of --tls-dir: from there, or from DATA/tls, where this coordinator keeps what it made or was
// given.
type ownCertificate struct {
	id      string
	dir     certfile.Files
	data    certfile.Pair
	hosts   authority.Hosts
	log     *slog.Logger
	watcher *certfile.Watcher
}

// ownPair is one file, so that a certificate and its key are replaced together.
func ownPair(dataDir string) certfile.Pair {
	name := filepath.Join(dataDir, "tls", "own.pem")
	return certfile.Pair{Cert: name, Key: name}
}

// source prefers neither place: the certificate that ends later is used.
func (o *ownCertificate) source() certfile.Source {
	return certfile.Source{CA: o.dir.CA, Pairs: []certfile.Pair{o.dir.Pair, o.data}, Check: checkMember(o.id)}
}

// authority reads the authority's key; nil without one.
func (o *ownCertificate) authority() (*authority.CA, error) {
	dir := filepath.Dir(o.dir.CA)
	if _, err := os.Stat(filepath.Join(dir, certfile.CAKeyFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	ca, _, err := certfile.Authority{Dir: dir}.Load()
	return ca, err
}

// given reports whether the directory has a certificate of its own.
func (o *ownCertificate) given() bool {
	_, err := os.Stat(o.dir.Cert)
	return err == nil
}

// read checks all files. issue says that a certificate has to be made before anything is opened.
func (o *ownCertificate) read() (issue bool, err error) {
	ca, err := o.authority()
	if err != nil {
		return false, err
	}
	c, err := o.source().Load()
	var expired *certfile.ExpiredError
	switch {
	case err == nil:
		return ca != nil && o.stale(c, ca), nil
	case ca != nil && (!o.given() || errors.As(err, &expired)):
		return true, nil
	case errors.Is(err, certfile.ErrNoPair):
		return false, fmt.Errorf("%w: make them by raftctl ca issue, or put %s there and this coordinator makes its own", err, certfile.CAKeyFile)
	}
	return false, err
}

// stale reports whether an authority should replace a certificate now: it is at two thirds of its life, or it was made
// here and says other hosts, or is of another key.
func (o *ownCertificate) stale(c *certfile.Content, ca *authority.CA) bool {
	if !time.Now().Before(renewAt(c.Leaf)) {
		return true
	}
	if o.given() {
		return false
	}
	issuer := c.Issuer()
	return issuer == nil || !issuer.Equal(ca.Certificate()) || !hasHosts(c.Leaf, o.hosts)
}

// renewAt is two thirds of a certificate's life.
func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
}

func hasHosts(leaf *x509.Certificate, h authority.Hosts) bool {
	for _, name := range h.DNS {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range h.IPs {
		if leaf.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// makeFirst makes a certificate with the own authority.
func (o *ownCertificate) makeFirst() error {
	ca, err := o.authority()
	if err == nil && ca == nil {
		err = errors.New("the authority's key is gone")
	}
	if err != nil {
		return err
	}
	return o.issueBy(ca)
}

// issueBy makes a certificate and keeps it in the data directory.
func (o *ownCertificate) issueBy(ca *authority.CA) error {
	cert, key, err := ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: o.id, Hosts: o.hosts, Life: certfile.LeafLife})
	if err != nil {
		return err
	}
	if err := o.keep(cert, key); err != nil {
		return err
	}
	o.log.Info("made a certificate for this coordinator", "file", o.data.Cert, "authority", authority.Fingerprint(ca.Certificate()))
	return nil
}

// keep writes a certificate to the data directory, in place of the one before, if this
// coordinator could use it now.
func (o *ownCertificate) keep(cert, key []byte) error {
	if err := os.MkdirAll(filepath.Dir(o.data.Cert), 0o700); err != nil {
		return err
	}
	try := certfile.Pair{Cert: o.data.Cert + ".try", Key: o.data.Key + ".try"}
	if err := try.Write(cert, key); err != nil {
		return err
	}
	source := o.source()
	source.Pairs = []certfile.Pair{try}
	if _, err := source.Load(); err != nil {
		return errors.Join(fmt.Errorf("the new certificate is not used: %w", err), os.Remove(try.Cert))
	}
	return errors.Join(o.data.Write(cert, key), os.Remove(try.Cert))
}
