package peer

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
)

// CheckOwn refuses a certificate that other members would refuse: the own one is checked by the rules of both sides.
// id is the own one, and "" any.
func CheckOwn(c *certfile.Content, id string) error {
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		name, err := verifyMember(c.Chain(), c.Roots, usage, "")
		if err != nil {
			return err
		}
		if id != "" && name.ID != id {
			return fmt.Errorf("certificate of %s, and this coordinator is %q", name, id)
		}
	}
	return nil
}

// server and client are the configuration of one handshake. Both sides verify
// the chain and the role themselves, by the same function: names in
// certificates are members, not hosts.
func serverTLS(c *certfile.Content) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.Certificate},
		ClientAuth:             tls.RequestClientCert, // that there is one says verifyMember
		SessionTicketsDisabled: true,
		VerifyConnection:       verifier(c, x509.ExtKeyUsageClientAuth),
	}
}

func clientTLS(c *certfile.Content) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.Certificate, nil
		},
		InsecureSkipVerify: true, // of the host name only: VerifyConnection verifies the chain
		VerifyConnection:   verifier(c, x509.ExtKeyUsageServerAuth),
	}
}

func verifier(own *certfile.Content, usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		name, err := authority.NameOf(own.Leaf)
		if err == nil {
			_, err = verifyMember(s.PeerCertificates, own.Roots, usage, name.Cluster)
		}
		return err
	}
}

// verifyMember checks a chain and that its leaf belongs to a member of the
// cluster ("" any). The error is a *RefusedError.
func verifyMember(certs []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, cluster string) (authority.Name, error) {
	if len(certs) == 0 {
		return authority.Name{}, refuse(ReasonNoCertificate, "no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return authority.Name{}, &RefusedError{chainReason(certs[0], err), err}
	}
	name, err := authority.NameOf(certs[0])
	switch {
	case err != nil:
		return name, &RefusedError{ReasonURIs, err}
	case name.Role != authority.RoleMember:
		return name, refuse(ReasonRole, "certificate of role %q, not %q", name.Role, authority.RoleMember)
	case cluster != "" && name.Cluster != cluster:
		return name, refuse(ReasonCluster, "certificate of cluster %q, not %q", name.Cluster, cluster)
	}
	return name, nil
}

// memberOf is the id in the verified certificate of the other side.
func memberOf(s tls.ConnectionState) string {
	name, err := authority.NameOf(s.PeerCertificates[0])
	if err != nil {
		return "" // not reached: the handshake verified it
	}
	return name.ID
}
