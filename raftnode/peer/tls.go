package peer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
)

// TLSFiles names the PEM files of mutual TLS: the authorities trusted (several
// while they are changed), the own certificate with its chain, and its key.
// They are read again when they change, so a rotation needs no restart.
type TLSFiles struct {
	CA, Cert, Key string
}

// RoleMember is the role a certificate needs on this port.
const RoleMember = "member"

// certificates is the newest usable content of the files.
type certificates struct {
	files TLSFiles
	log   *slog.Logger

	reloadLog rateLimitedLog

	mu      sync.Mutex
	raw     [3][]byte // what is in use
	cert    tls.Certificate
	roots   *x509.CertPool
	cluster string // of the own certificate
}

// loadCertificates reads the files for the first time: anything wrong is an error.
func loadCertificates(f TLSFiles, log *slog.Logger) (*certificates, error) {
	k := &certificates{files: f, log: log}
	if err := k.reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// reload takes the files' content into use if it changed and fits together. The
// caller holds k.mu, or is the only one to know k.
func (k *certificates) reload() error {
	var raw [3][]byte
	for i, name := range []string{k.files.CA, k.files.Cert, k.files.Key} {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		raw[i] = b
	}
	if k.roots != nil && bytes.Equal(raw[0], k.raw[0]) && bytes.Equal(raw[1], k.raw[1]) && bytes.Equal(raw[2], k.raw[2]) {
		return nil
	}
	roots, err := authorities(raw[0])
	if err != nil {
		return fmt.Errorf("tls: %s: %w", k.files.CA, err)
	}
	cert, err := tls.X509KeyPair(raw[1], raw[2])
	if err != nil {
		return fmt.Errorf("tls: %s and %s: %w", k.files.Cert, k.files.Key, err)
	}
	cluster, _, err := verifyMember(chain(cert), roots, x509.ExtKeyUsageAny, "")
	if err != nil {
		return fmt.Errorf("tls: %s: %w", k.files.Cert, err)
	}
	k.raw, k.cert, k.roots, k.cluster = raw, cert, roots, cluster
	return nil
}

// current is the newest usable content; a bad change is logged and the old
// content kept.
func (k *certificates) current() (tls.Certificate, *x509.CertPool, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.reload(); err != nil {
		k.reloadLog.warn(k.log, "changed tls files are not usable, the old ones stay in use", "error", err)
	}
	return k.cert, k.roots, k.cluster
}

// server and client are the configuration of one handshake. Both sides verify
// the chain and the role themselves, by the same function: names in
// certificates are members, not hosts.
func (k *certificates) server() *tls.Config {
	cert, roots, cluster := k.current()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{cert},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection:       verifier(roots, x509.ExtKeyUsageClientAuth, cluster),
	}
}

func (k *certificates) client() *tls.Config {
	cert, roots, cluster := k.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &cert, nil
		},
		InsecureSkipVerify: true, // of the host name only: VerifyConnection verifies the chain
		VerifyConnection:   verifier(roots, x509.ExtKeyUsageServerAuth, cluster),
	}
}

func verifier(roots *x509.CertPool, usage x509.ExtKeyUsage, cluster string) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		_, _, err := verifyMember(s.PeerCertificates, roots, usage, cluster)
		return err
	}
}

// verifyMember checks a chain and that its leaf belongs to a member of the
// cluster ("" any). It returns the cluster and the id of the member.
func verifyMember(certs []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, cluster string) (string, string, error) {
	if len(certs) == 0 {
		return "", "", errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return "", "", err
	}
	of, id, err := parseMemberURI(certs[0])
	if err != nil {
		return "", "", err
	}
	if cluster != "" && of != cluster {
		return "", "", fmt.Errorf("certificate of cluster %q, not %q", of, cluster)
	}
	return of, id, nil
}

// parseMemberURI reads the one name of a member's certificate,
// spiffe://<cluster>/member/<id>. A second URI would let a certificate pass as
// somebody else (CVE-2022-40716).
func parseMemberURI(c *x509.Certificate) (cluster, id string, err error) {
	if len(c.URIs) != 1 {
		return "", "", fmt.Errorf("certificate with %d URIs, one is needed", len(c.URIs))
	}
	u := c.URIs[0]
	role, id, found := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Scheme != "spiffe" || u.Host == "" || !found || id == "" || strings.Contains(id, "/") || u.String() != memberURI(u.Host, role, id).String() {
		return "", "", fmt.Errorf("certificate of %q, not of spiffe://<cluster>/%s/<id>", u, RoleMember)
	}
	if role != RoleMember {
		return "", "", fmt.Errorf("certificate of role %q, not %q", role, RoleMember)
	}
	return u.Host, id, nil
}

// memberURI is the URI that names somebody in a certificate.
func memberURI(cluster, role, id string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: cluster, Path: "/" + role + "/" + id}
}

// memberOf is the id in the verified certificate of the other side.
func memberOf(s tls.ConnectionState) string {
	_, id, err := parseMemberURI(s.PeerCertificates[0])
	if err != nil {
		return "" // not reached: the handshake verified it
	}
	return id
}

func authorities(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}

func chain(c tls.Certificate) []*x509.Certificate {
	out := []*x509.Certificate{c.Leaf}
	for _, der := range c.Certificate[1:] {
		if x, err := x509.ParseCertificate(der); err == nil {
			out = append(out, x)
		}
	}
	return out
}
