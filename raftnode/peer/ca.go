package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// CA is a cluster's own certificate authority.
type CA struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewCA makes an authority for the cluster of that name, valid for life.
func NewCA(cluster string, life time.Duration) (*CA, error) {
	u := memberURI(cluster, RoleMember, "x")
	if again, err := url.Parse(u.String()); cluster == "" || err != nil || again.Host != cluster {
		return nil, fmt.Errorf("certificate authority: %q cannot stand in a certificate's name", cluster)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "folkmoot " + cluster},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: cluster}},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(life),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cluster: cluster, cert: cert, key: key}, nil
}

// LoadCA is the authority that PEM wrote.
func LoadCA(certPEM, keyPEM []byte) (*CA, error) {
	c, _ := pem.Decode(certPEM)
	k, _ := pem.Decode(keyPEM)
	if c == nil || k == nil {
		return nil, errors.New("certificate authority: no PEM block")
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA || len(cert.URIs) != 1 || !ec.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("certificate authority: the certificate and the key are not those of one authority")
	}
	return &CA{cluster: cert.URIs[0].Host, cert: cert, key: ec}, nil
}

// Cluster is the cluster that all certificates of the authority belong to.
func (ca *CA) Cluster() string { return ca.cluster }

// PEM is the authority's certificate, which is public, and its key, which
// is secret.
func (ca *CA) PEM() (cert, key []byte, err error) { return encodePEMPair(ca.cert.Raw, ca.key) }

// Issue makes a key and a certificate for one of the cluster, valid for life.
// On the peer port only RoleMember is let in.
func (ca *CA) Issue(role, id string, life time.Duration) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: id},
		URIs:         []*url.URL{memberURI(ca.cluster, role, id)},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, k.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	return encodePEMPair(der, k)
}

// WriteMember issues a member's certificate and writes ca.pem, cert.pem and
// key.pem to dir, replacing what was there. The files are for their owner only.
func (ca *CA) WriteMember(dir, id string, life time.Duration) (TLSFiles, error) {
	cert, key, err := ca.Issue(RoleMember, id, life)
	if err != nil {
		return TLSFiles{}, err
	}
	root, _, err := ca.PEM()
	if err != nil {
		return TLSFiles{}, err
	}
	f := TLSFiles{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, text := range map[string][]byte{f.CA: root, f.Cert: cert, f.Key: key} {
		if err := os.WriteFile(name+".new", text, 0o600); err != nil {
			return TLSFiles{}, err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return TLSFiles{}, err
		}
	}
	return f, nil
}

func encodePEMPair(der []byte, key *ecdsa.PrivateKey) (cert, keyText []byte, err error) {
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // not reached: the system's randomness never fails
	}
	return n
}
